"""The steps of an order at the CA. Each: look again where this run does not know yet, act once, save behind the fence.

What must survive a kill is saved before it is acted on: key and CSR before newOrder, the order's URL as soon as it is
known, answers before the CA is told of them. A lost answer to newOrder costs an order that nobody finalizes; a lost
answer to finalize is read from the order.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from http import HTTPStatus
from typing import Any, TypeVar

from django.db import transaction

from certs.acme.client import AuthorizationView, OrderView
from certs.acme.directories import is_test_directory
from certs.acme.problems import Problem, advice_for, failure
from certs.domain import states
from certs.domain.certinfo import CertInfo, certificate_info
from certs.domain.csr import csr_make
from certs.domain.errors import AcmeFailure, AcmeRefused, AcmeRetry, CertificateRefused, Unavailable
from certs.domain.names import is_address
from certs.domain.pem import Chain, certificates_read, chain_order, chain_prefer
from certs.models import AcmeAccount, Certificate, Challenge, Order, PrivateKey
from certs.services.accounts import account_missing, account_register
from certs.services.alarms import alarm_account_lost
from certs.services.certificates import version_add
from certs.services.challenges import (
    challenge_evidence,
    challenge_present,
    challenge_task,
    challenges_clear,
    challenges_store,
    solver_make,
)
from certs.services.keys import key_create, key_is_here, key_open
from certs.services.ledger import ledger_account, ledger_failure, ledger_issued, ledger_order, order_budget_check
from certs.services.order_flow import POLL_FIRST_SECONDS, Flow
from certs.services.rehearsals import rehearsal_follow
from certs.solvers.base import Solver
from portal import clock

T = TypeVar("T")
RESTARTS = 2
PRESENT_SECONDS = 240.0
AWAITED_SECONDS = 3.0  # what takes longer takes minutes or days, and must not hold one of the few places
AUTHORIZATION_ENDED = {"invalid", "deactivated", "expired", "revoked"}  # RFC 8555 §7.1.6
COMPROMISED = "keyCompromise"  # RFC 5280 §5.3.1


class ChallengeFailed(AcmeRefused):
    """`evidence` is what this server sees where the CA looked."""

    def __init__(self, message: str, *, evidence: list[dict[str, Any]], **rest: Any) -> None:
        super().__init__(message, **rest)
        self.evidence = evidence


def step_register(flow: Flow) -> None:
    """new → registered: an account at the CA, and the key and the request of the certificate to come."""
    order = flow.order
    if not order.account.account_url:
        _register(flow)
        flow.note(f"Registered at {flow.ca}.")
    key = order.key or _key(order)
    csr = order.csr_pem or csr_make(key_open(key), order.names)
    flow.move(states.REGISTERED, f"The account at {flow.ca} is ready.", key=key, csr_pem=csr)


def _register(flow: Flow) -> None:
    account_register(flow.client, flow.order.account)
    flow.keep(lambda: ledger_account(flow.order.account))


def _key(order: Order) -> PrivateKey:
    """A new one, unless the certificate is to keep its key and that is still here and good."""
    certificate = order.certificate
    version = certificate.current
    kept = version.key if version is not None and certificate.reuse_key and not order.rehearsal else None
    if kept is None or kept.compromised_at is not None or (version and version.revocation_reason == COMPROMISED):
        return key_create(certificate.key_type)
    if kept.key_type == certificate.key_type and key_is_here(kept):
        return kept
    return key_create(certificate.key_type)


def step_order(flow: Flow) -> None:
    """registered → ordered."""
    order_budget_check(flow.order)
    view = at_account(flow, lambda: _order_new(flow))
    flow.view = view
    flow.move(
        states.ORDERED,
        f"Ordered a certificate for {', '.join(flow.order.names)}.",
        also=lambda: ledger_order(flow.order),
        order_url=view.url,
        finalize_url=view.finalize,
        replaces=flow.order.replaces,
    )


def step_prepare(flow: Flow) -> None:
    """ordered → challenged: the answers are in place, and the CA can see them, before it is told of them."""
    view = _look(flow)
    if _moved_on(flow, view):
        return
    flow.authorizations = [_read(flow, url) for url in view.authorizations]
    solver = order_solver(flow.order)
    pending = [one for one in flow.authorizations if one.status == "pending"]
    wanted = [_challenge_row(flow, one, solver) for one in pending]
    said = "The answers to the challenges are in place."
    if solver.by_portal:  # stored is in place
        flow.move(states.CHALLENGED, said, also=lambda: challenges_store(wanted))
        return
    flow.keep(lambda: challenges_store(wanted))
    rows = list(flow.order.challenges.filter(clean_at=None).select_related("order__account"))
    _present(rows, solver)
    _await_visible(flow, solver, rows)
    flow.move(states.CHALLENGED, said)


def _present(rows: list[Challenge], solver: Solver) -> None:
    """Raises AcmeRetry where something is not there now: a DNS provider out of reach must not end an order. Many names
    at a slow provider take several turns, none so long that the queue would end its process."""
    until = time.monotonic() + PRESENT_SECONDS
    for row in rows:
        if row.presented_at is None and time.monotonic() > until:
            raise AcmeRetry(f"The answer for {row.name} and others are still to be put in place.", code="acme-waiting")
        try:
            challenge_present(row, solver, challenge_task(row))
        except Unavailable as error:
            raise AcmeRetry(error.message, advice=error.advice, code=error.code) from error


def order_solver(order: Order) -> Solver:
    method = order.certificate.challenge_method
    return solver_make(order.challenge_kind, method if method and method.kind == order.challenge_kind else None)


def _challenge_row(flow: Flow, authorization: AuthorizationView, solver: Solver) -> Challenge:
    """What is to be answered for one name. Raises AcmeRefused where CA and method have nothing in common for it."""
    shown = f"*.{authorization.name}" if authorization.wildcard else authorization.name
    if (authorization.wildcard and not solver.wildcards) or (is_address(authorization.name) and not solver.addresses):
        raise AcmeRefused(
            f"The {solver.label} challenge cannot prove {shown}.",
            advice="Choose another challenge for this certificate: a wildcard needs DNS, an address HTTP or TLS.",
            code="acme-no-challenge",
        )
    challenge = next((one for kind in solver.challenge_types if (one := authorization.challenge(kind))), None)
    if challenge is None:
        offered = ", ".join(one.type for one in authorization.challenges) or "none"
        raise AcmeRefused(
            f"{flow.ca} does not offer the {solver.label} challenge for {shown}; it offers {offered}.",
            advice="Choose another challenge for this certificate, or ask another CA for this name.",
            code="acme-no-challenge",
        )
    order = flow.order
    method = order.certificate.challenge_method
    return Challenge(
        # dns-persist-01 has no token; the row needs a name of its own all the same.
        token=challenge.token or f"none-{sha256(challenge.url.encode()).hexdigest()}",
        order=order,
        name=authorization.name,
        wildcard=authorization.wildcard,
        issuers=list(challenge.issuers),
        authorization_url=authorization.url,
        challenge_url=challenge.url,
        key_authorization=flow.client.key_authorization(challenge.token) if challenge.token else "",
        kind=order.challenge_kind,
        method=method if method and method.kind == order.challenge_kind else None,
        type=challenge.type,
    )


def _await_visible(flow: Flow, solver: Solver, rows: list[Challenge]) -> None:
    """Until the CA can see every answer. Raises AcmeRetry (code "acme-waiting") where that takes its time."""
    waiting = list(rows)

    def look() -> str:
        while waiting:
            if sentence := solver.awaited(challenge_task(waiting[0])):
                return sentence
            waiting.pop(0)
        return ""

    flow.poll(look, lambda sentence: not sentence, lambda _: None, lambda sentence: sentence, AWAITED_SECONDS)


def step_validate(flow: Flow) -> None:
    """challenged → ready: tell the CA, and await its judgement of every name."""
    if flow.authorizations is None:
        view = _look(flow)
        if _moved_on(flow, view):
            return
        flow.authorizations = [_read(flow, url) for url in view.authorizations]
    told = _answer(flow, flow.authorizations)
    # The order first: where the CA was quick, that is all there is to ask, however many names there are.
    flow.view = flow.client.order_read(flow.order.order_url) if told else None
    if flow.view is None or flow.view.status in {"pending", "invalid"}:
        _await_names(flow, flow.authorizations, again=told)
    view = _await_order(flow, {"ready", "processing", "valid", "invalid"})
    if not _moved_on(flow, view):
        raise AcmeRefused(f"{flow.ca} has the order in the state {view.status!r}.", code="acme-order")


def step_finalize(flow: Flow) -> None:
    """ready → finalized."""
    order = flow.order
    view = _look(flow)
    if view.status != "ready" and _moved_on(flow, view):
        return
    try:
        flow.view = flow.client.order_finalize(order.order_url, order.finalize_url, order.csr_pem)
    except AcmeFailure as error:
        if error.code != "acme-orderNotReady":
            raise
        flow.view = None  # an earlier request may have arrived: the order tells
    flow.move(states.FINALIZED, f"Asked {flow.ca} to issue.")


def step_download(flow: Flow) -> None:
    """finalized → issued: the certificate is proven to be what was asked for, then kept for good."""
    order = flow.order
    view = _await_order(flow, {"ready", "valid", "invalid"})
    if view.status == "ready":
        # The request to issue did not arrive.
        flow.view = flow.client.order_finalize(order.order_url, order.finalize_url, order.csr_pem)
        view = _await_order(flow, {"valid", "invalid"})
    if view.status != "valid" or not view.certificate:
        _refused(flow, view)
    chain = _chain_wanted(flow, view.certificate)
    info = certificate_info(chain.leaf)
    if order.rehearsal:
        _rehearsed(flow, info)
        return
    certificate = Certificate.objects.get(pk=order.certificate_id)
    with transaction.atomic():
        version = version_add(
            certificate,
            leaf=chain.leaf,
            chain=chain.intermediates,
            key=order.key,
            is_test=is_test_directory(order.account.directory_url),
        )
        flow.move(
            states.ISSUED,
            f"Issued by {info.issuer}, valid until {info.not_after:%Y-%m-%d %H:%M} UTC.",
            also=lambda: ledger_issued(order),
            certificate_url=view.certificate,
            version=version,
        )
    order.certificate = certificate
    flow.client_return()


def _rehearsed(flow: Flow, info: CertInfo) -> None:
    def follow() -> None:
        ledger_issued(flow.order)
        rehearsal_follow(flow.order)

    flow.move(
        states.DONE,
        f"The rehearsal succeeded: {info.issuer} issued until {info.not_after:%Y-%m-%d %H:%M} UTC. "
        "That certificate is dropped.",
        also=follow,
        key=None,
        csr_pem="",
    )


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
    _register(flow)
    flow.reregistered = True
    alarm_account_lost(flow.order.account)
    return ask()


def _order_new(flow: Flow) -> OrderView:
    replaces = flow.order.replaces
    try:
        return flow.client.order_new(flow.order.names, replaces=replaces, profile=flow.order.profile)
    except AcmeFailure as error:
        if not replaces or not _is_about_replaces(flow.order, error):
            raise
        flow.note(f"{error.message} Ordering without naming the certificate it replaces.")
        flow.order.replaces = ""
        order_budget_check(flow.order)  # what it was free of as a renewal counts now
        return flow.client.order_new(flow.order.names, profile=flow.order.profile)


def _is_about_replaces(order: Order, error: AcmeFailure) -> bool:
    """A CA may refuse what we say it replaces (RFC 9773 §5): done already, another account's, unknown to it. Some fail
    over it with a mere 500, each time."""
    status = error.problem.get("status")
    if isinstance(error, AcmeRetry):
        return status == HTTPStatus.INTERNAL_SERVER_ERROR and order.attempts > 0
    named = error.code in {"acme-alreadyReplaced", "acme-malformed"} or "replace" in error.message.lower()
    return named or status == HTTPStatus.CONFLICT


def _look(flow: Flow) -> OrderView:
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


class OrderGone(AcmeRefused):
    """The order at the CA cannot be gone on with, through no failure of a challenge."""

    code = "acme-order-gone"


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


def _moved_on(flow: Flow, view: OrderView) -> bool:
    """Take the order to where the CA already has it; False while its names are still to be proven."""
    if view.status == "pending":
        return False
    if view.status == "ready":
        flow.move(states.READY, f"{flow.ca} has validated every name.")
        return True
    if view.status in {"processing", "valid"}:
        flow.move(states.FINALIZED, f"{flow.ca} is issuing already.")
        return True
    if view.status != "invalid":
        raise AcmeRetry(f"{flow.ca} has the order in the state {view.status!r}.", code="acme-waiting")
    _refused(flow, view)
    return False


def _refused(flow: Flow, view: OrderView) -> None:
    """A challenge that failed before we were killed is told as such: another one may do, whatever the order says."""
    proving = flow.order.state in {states.ORDERED, states.CHALLENGED}
    if view.error is not None and not proving:
        raise failure(view.error, flow.ca)
    for url in view.authorizations:
        authorization = _read(flow, url)
        if authorization.failed_challenge or (authorization.status != "valid" and view.error is None):
            _failures_keep(flow, [authorization])
            raise _challenge_failed(flow, authorization)
    if view.error is not None:
        raise failure(view.error, flow.ca)
    raise AcmeRefused(f"{flow.ca} ended the order with status {view.status!r} and no reason.", code="acme-order")


def _has_reason(flow: Flow, view: OrderView) -> bool:
    """Whether an invalid order is so for a reason of ours: a problem of its own, or a challenge that failed."""
    return view.error is not None or any(_read(flow, url).failed_challenge for url in view.authorizations)


def _read(flow: Flow, url: str) -> AuthorizationView:
    return flow.client.authorization_read(url)


def _answer(flow: Flow, authorizations: list[AuthorizationView]) -> bool:
    """Tell the CA of every answer it does not know of yet; False where it was told of all before, as on a resume."""
    stored = flow.order.challenges.filter(clean_at=None).only("challenge_url", "name")
    rows = {row.challenge_url: row for row in stored}
    told: list[Challenge] = []
    for authorization in authorizations:
        challenge = next((one for one in authorization.challenges if one.url in rows), None)
        if authorization.status != "pending" or challenge is None or challenge.status != "pending":
            continue
        flow.client.challenge_answer(challenge.url)
        told.append(rows[challenge.url])
    if told:
        Challenge.objects.filter(pk__in=[row.pk for row in told]).update(answered_at=clock.now())
        flow.note(f"Told {flow.ca} to look: {', '.join(row.name for row in told)}.")
        time.sleep(POLL_FIRST_SECONDS)
    return bool(told)


def _await_names(flow: Flow, authorizations: list[AuthorizationView], *, again: bool) -> None:
    """All in a round; the first that failed for good ends it, and the others are given up. `again`: what is known
    of them is out of date; otherwise the first round is with that, or a Retry-After beside it would be disregarded.

    Raises OrderGone where no challenge failed: it expired, or was deactivated or revoked meanwhile.
    """
    waiting = [item.url for item in authorizations if item.status != "valid"]
    known = {} if again else {item.url: item for item in authorizations}
    answered = set(flow.order.challenges.filter(clean_at=None).values_list("challenge_url", flat=True))

    def round_() -> list[AuthorizationView]:
        views = [known.pop(url) if url in known else _read(flow, url) for url in waiting]
        ended = [view for view in views if view.status in AUTHORIZATION_ENDED]
        pending = [view for view in views if view.status not in AUTHORIZATION_ENDED | {"valid"}]
        waiting[:] = [view.url for view in pending]
        if ended:
            failed = [view for view in ended if view.status == "invalid" or view.failed_challenge]
            _failures_keep(flow, failed)
            _give_up(flow, waiting)
            if not failed:
                raise OrderGone(f"The authorization of {ended[0].name} at {flow.ca} is {ended[0].status}.")
            raise _challenge_failed(flow, failed[0])
        lost = next((view for view in pending if not any(one.url in answered for one in view.challenges)), None)
        if lost is not None:
            raise OrderGone(f"{flow.ca} waits for an answer for {lost.name} that is not here any more.")
        return pending

    flow.poll(
        round_,
        lambda views: not views,
        lambda views: max((view.retry_at for view in views if view.retry_at), default=None),
    )
    flow.view = None


def _failures_keep(flow: Flow, views: list[AuthorizationView]) -> None:
    def write() -> None:
        for view in views:
            ledger_failure(flow.order, view.name)

    flow.keep(write)


def _give_up(flow: Flow, urls: list[str]) -> None:
    """Pending authorizations count against the CA's limits. Best effort: the order has failed in any case."""
    for url in urls:
        try:
            flow.client.authorization_deactivate(url)
        except AcmeFailure as error:
            flow.note(f"A pending authorization could not be given up: {error.message}")


def _await_order(flow: Flow, settled: set[str]) -> OrderView:
    """Until it is in one of these states; one that nobody knows is waited out."""

    def read() -> OrderView:
        view, flow.view = flow.view or _look(flow), None
        return view

    flow.view = flow.poll(read, lambda view: view.status in settled, lambda view: view.retry_at)
    return flow.view


def _challenge_failed(flow: Flow, authorization: AuthorizationView) -> ChallengeFailed:
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


def _chain_wanted(flow: Flow, url: str) -> Chain:
    """With the chain that is preferred, where the CA offers it; every other case is the CA's default."""
    preferred = flow.order.certificate.preferred_chain
    sent = flow.client.certificate_read(url, alternates=bool(preferred))
    chains = [_chain(flow, sent.default)]
    for pem in sent.alternates:
        with suppress(CertificateRefused):  # what does not fit is no choice; the default is
            chains.append(_chain(flow, pem))
    return chain_prefer(chains, preferred)


def _chain(flow: Flow, pem: bytes) -> Chain:
    """Leaf and intermediates as the CA sent them. Raises CertificateRefused when they are not what was asked for."""
    order = flow.order
    if order.key is None:
        raise CertificateRefused("The order has lost its key.", code="pair")
    sent = certificates_read(pem)
    chain = chain_order(sent, key_open(order.key).public_key())
    if len(sent) > 1 and not chain.intermediates and chain.root is None:
        raise CertificateRefused(
            f"None of the certificates that {flow.ca} sent beside the one issued is its issuer.",
            advice="It was not taken: browsers would not trust it. Report this to the CA.",
            code="chain",
        )
    names = certificate_info(chain.leaf).names
    if sorted(names) != sorted(order.names):
        raise CertificateRefused(
            f"{flow.ca} issued for {', '.join(names) or 'no name'}, not for {', '.join(order.names)}.",
            advice="It was not taken; report this to the CA.",
            code="names",
        )
    return chain
