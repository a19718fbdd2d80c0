"""What the CA has of an order: looked at before a run goes on, and followed to where it is by now.

What must survive a kill is saved before it is acted on: key and CSR before newOrder, the order's URL as soon as it is
known, answers before the CA is told of them. So each step looks again where this run does not know yet, acts once, and
saves behind the fence. A lost answer to newOrder costs an order that nobody finalizes; a lost answer to finalize is
read from the order.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

from certs.acme.client import AuthorizationView, OrderView
from certs.acme.problems import Problem, advice_for, failure
from certs.domain import states
from certs.domain.errors import AcmeRefused, AcmeRetry
from certs.models import AcmeAccount, Challenge, Order
from certs.services.accounts import account_missing, account_register
from certs.services.alarms import alarm_account_lost
from certs.services.challenges import challenge_evidence, challenges_clear, solver_make
from certs.services.ledger import ledger_account, ledger_failure
from certs.services.order_flow import Flow
from certs.solvers.base import Solver

T = TypeVar("T")
RESTARTS = 2


class ChallengeFailed(AcmeRefused):
    """`evidence` is what this server sees where the CA looked."""

    def __init__(self, message: str, *, evidence: list[dict[str, Any]], **rest: Any) -> None:
        super().__init__(message, **rest)
        self.evidence = evidence


class OrderGone(AcmeRefused):
    """The order at the CA cannot be gone on with, through no failure of a challenge."""

    code = "acme-order-gone"


def at_account(flow: Flow, ask: Callable[[], T]) -> T:
    """Ask; where the CA has forgotten the account, register again, once, and say so."""
    try:
        return ask()
    except (AcmeRefused, AcmeRetry) as error:
        if not account_missing(error) or flow.reregistered:
            raise
    account = flow.order.account
    flow.note(f"{flow.ca} does not know our account any more; registering again.", level="warning")
    AcmeAccount.objects.filter(pk=account.pk, account_url=account.account_url).update(account_url="")
    register(flow)
    flow.reregistered = True
    alarm_account_lost(flow.order.account)
    return ask()


def register(flow: Flow) -> None:
    account_register(flow.client, flow.order.account)
    flow.keep(lambda: ledger_account(flow.order.account))


def order_solver(order: Order) -> Solver:
    method = order.certificate.challenge_method
    return solver_make(order.challenge_kind, method if method and method.kind == order.challenge_kind else None)


def order_look(flow: Flow) -> OrderView:
    """The order as the CA has it. One it lost, or made invalid while we were away, is ordered anew, a bounded
    number of times: nothing was issued on it, or it could not be fetched any more."""
    if flow.view is None:
        try:
            flow.view = at_account(flow, lambda: flow.client.order_read(flow.order.order_url))
        except AcmeRefused as error:
            if error.problem.get("status") not in {403, 404} and error.code != "acme-malformed":
                raise
            raise OrderGone(f"{flow.ca} does not have the order any more.", problem=error.problem) from error
        if flow.view.status == "invalid" and not _has_reason(flow, flow.view):
            raise OrderGone(f"{flow.ca} has let the order lapse.")
    return flow.view


def order_await(flow: Flow, settled: set[str]) -> OrderView:
    """Until it is in one of these states; one that nobody knows is waited out."""

    def read() -> OrderView:
        view, flow.view = flow.view or order_look(flow), None
        return view

    flow.view = flow.poll(read, lambda view: view.status in settled, lambda view: view.retry_at)
    return flow.view


def order_follow(flow: Flow, view: OrderView) -> bool:
    """Take the order to where the CA already has it; False while its names are still to be proven."""
    if view.status == "pending":
        return False
    if view.status == "ready":
        flow.move(states.READY, f"{flow.ca} has validated every name.", at_once=False)
        return True
    if view.status in {"processing", "valid"}:
        flow.move(states.FINALIZED, f"{flow.ca} is issuing already.")
        return True
    if view.status != "invalid":
        raise AcmeRetry(f"{flow.ca} has the order in the state {view.status!r}.", code="acme-waiting")
    order_refused(flow, view)
    return False


def order_refused(flow: Flow, view: OrderView) -> None:
    """A challenge that failed before we were killed is told as such: another one may do, whatever the order says."""
    proving = flow.order.state in {states.ORDERED, states.CHALLENGED}
    if view.error is not None and not proving:
        raise failure(view.error, flow.ca)
    for url in view.authorizations:
        authorization = flow.client.authorization_read(url)
        if authorization.failed_challenge or (authorization.status != "valid" and view.error is None):
            failures_keep(flow, [authorization])
            raise challenge_failed(flow, authorization)
    if view.error is not None:
        raise failure(view.error, flow.ca)
    raise AcmeRefused(f"{flow.ca} ended the order with status {view.status!r} and no reason.", code="acme-order")


def _has_reason(flow: Flow, view: OrderView) -> bool:
    """Whether an invalid order is so for a reason of ours: a problem of its own, or a challenge that failed."""
    return view.error is not None or any(
        flow.client.authorization_read(url).failed_challenge for url in view.authorizations
    )


def challenge_failed(flow: Flow, authorization: AuthorizationView) -> ChallengeFailed:
    solver = order_solver(flow.order)
    failed = authorization.failed_challenge
    problem = (failed.error if failed else None) or Problem(detail="no reason was given")
    message = (
        f"The {flow.ca} {solver.label} challenge failed with status '{authorization.status}' "
        f"for {authorization.name}: {problem.sentence}"
    )
    rows = Challenge.objects.select_related("method", "order__account")
    row = rows.filter(authorization_url=authorization.url, order=flow.order).first()
    return ChallengeFailed(
        message,
        advice=advice_for(problem.code) or "Look at what this server sees there, below; then try again.",
        code=f"acme-{problem.code}" if problem.code else "acme-challenge",
        problem=problem.document,
        evidence=[challenge_evidence(row, failed.asked if failed else ())] if row else [],
    )


def failures_keep(flow: Flow, views: list[AuthorizationView]) -> None:
    def write() -> None:
        for view in views:
            ledger_failure(flow.order, view.name)

    flow.keep(write)


def step_look_again(flow: Flow, error: AcmeRefused) -> None:
    """After a refusal: where the CA says that it does not know what the step asked for (one of its machines may be
    behind, the account or the order may be lost), the order itself is looked at, and tells. Raises any other refusal.

    Known again and still without what belongs to it: it is ordered anew, or waited for where it has been issued.
    """
    order = flow.order
    unknown = account_missing(error) or error.problem.get("status") == HTTPStatus.NOT_FOUND
    if not unknown or not order.order_url or isinstance(error, ChallengeFailed):
        raise error
    if flow.looked_again != order.state:
        flow.looked_again = order.state
        flow.view = flow.authorizations = None
        return
    if order.state == states.FINALIZED:
        raise AcmeRetry(error.message, advice=error.advice, code=error.code, problem=error.problem)
    step_restart(flow, OrderGone(f"{flow.ca} does not have all of the order any more.", problem=error.problem))


def step_restart(flow: Flow, error: OrderGone) -> None:
    """Back to registered. Raises the error itself where that was done often enough."""
    if flow.order.restarts >= RESTARTS:
        raise error
    flow.view = flow.authorizations = None
    flow.move(
        states.REGISTERED,
        f"{error.message} Ordering again.",
        level="warning",
        also=lambda: challenges_clear(flow.order.pk),
        restarts=flow.order.restarts + 1,
        order_url="",
        finalize_url="",
        certificate_url="",
    )
