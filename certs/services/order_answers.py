"""The answers to the challenges: put in place, told to the CA, and its judgement of every name awaited."""

import time
from datetime import timedelta
from hashlib import sha256

from certs.acme.client import AuthorizationView
from certs.domain import states
from certs.domain.errors import AcmeFailure, AcmeRefused, AcmeRetry, Unavailable
from certs.domain.names import is_address
from certs.models import Challenge, JobEvent
from certs.services.challenges import challenge_present, challenge_task, challenges_store
from certs.services.events import job_event
from certs.services.order_flow import POLL_FIRST_SECONDS, STEP_OF_STATE, Flow
from certs.services.order_views import (
    OrderGone,
    challenge_failed,
    failures_keep,
    order_await,
    order_follow,
    order_look,
    order_solver,
)
from certs.solvers.base import Solver
from portal import clock

PRESENT_SECONDS = 240.0
AWAITED_SECONDS = 3.0  # what takes longer takes minutes or days, and must not hold one of the few places
BLIND_PATIENCE = timedelta(minutes=5)  # for a record in DNS where no server of the zone can be asked from here
TOLD = {"records": "in place"}  # data of the line with which a person says so
AUTHORIZATION_ENDED = {"invalid", "deactivated", "expired", "revoked"}  # RFC 8555 §7.1.6


def step_prepare(flow: Flow) -> None:
    """ordered → challenged: the answers are in place, and the CA can see them, before it is told of them."""
    view = order_look(flow)
    if order_follow(flow, view):
        return
    flow.authorizations = [flow.client.authorization_read(url) for url in view.authorizations]
    solver = order_solver(flow.order)
    pending = [one for one in flow.authorizations if one.status == "pending"]
    wanted = [_challenge_row(flow, one, solver) for one in pending]
    said = "The answers to the challenges are in place."
    if solver.by_portal:  # stored is in place
        flow.move(states.CHALLENGED, said, also=lambda: challenges_store(wanted))
        flow.answers = wanted
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
            if sentence := _awaited(flow, solver, waiting[0]):
                return sentence
            waiting.pop(0)
        return ""

    flow.poll(look, lambda sentence: not sentence, lambda _: None, lambda sentence: sentence, AWAITED_SECONDS)


def _awaited(flow: Flow, solver: Solver, row: Challenge) -> str:
    """As the solver says, but not for ever where it can see nothing: the CA may well see what this server cannot."""
    task = challenge_task(row)
    sentence = solver.awaited(task)
    if not sentence or not solver.is_blind(task):
        return sentence
    if solver.by_hand:
        if not JobEvent.objects.filter(job=flow.order.pk, data__records=TOLD["records"]).exists():
            return f"{sentence} Say on the page of the order when it is in place, since this server cannot see it."
    else:
        since = Challenge.objects.filter(pk=row.pk).values_list("presented_at", flat=True).first() or clock.now()
        if clock.now() < (until := since + BLIND_PATIENCE):
            return f"{sentence} If it cannot be seen by {until:%H:%M} UTC, {flow.ca} is asked to look all the same."
    flow.note(
        f"{sentence} {flow.ca} is asked to look all the same: it may see what this server cannot.", level="warning"
    )
    return ""


def step_validate(flow: Flow) -> None:
    """challenged → ready: tell the CA, and await its judgement of every name."""
    if flow.authorizations is None:
        view = order_look(flow)
        if order_follow(flow, view):
            return
        flow.authorizations = [flow.client.authorization_read(url) for url in view.authorizations]
    told = _answer(flow, flow.authorizations)
    # The order first: where the CA was quick, that is all there is to ask, however many names there are.
    flow.view = flow.client.order_read(flow.order.order_url) if told else None
    if flow.view is None or flow.view.status in {"pending", "invalid"}:
        if told:
            flow.keep()
        _await_names(flow, flow.authorizations, again=told)
    view = order_await(flow, {"ready", "processing", "valid", "invalid"})
    if not order_follow(flow, view):
        raise AcmeRefused(f"{flow.ca} has the order in the state {view.status!r}.", code="acme-order")


def _answer(flow: Flow, authorizations: list[AuthorizationView]) -> bool:
    """Tell the CA of every answer it does not know of yet; False where it was told of all before, as on a resume."""
    stored, flow.answers = flow.answers, None
    rows = {row.challenge_url: row for row in stored or flow.order.challenges.filter(clean_at=None)}
    told: list[str] = []
    for authorization in authorizations:
        challenge = next((one for one in authorization.challenges if one.url in rows), None)
        if authorization.status != "pending" or challenge is None or challenge.status != "pending":
            continue
        try:
            flow.client.challenge_answer(challenge.url)
        except AcmeRefused:
            if not _is_told(flow, authorization.url, challenge.url):
                raise
        told.append(rows[challenge.url].name)
    if told:

        def write() -> None:
            said = f"Told {flow.ca} to look: {', '.join(told)}."
            job_event(flow.order.pk, said, step=STEP_OF_STATE[states.CHALLENGED])

        flow.later(write)
        time.sleep(POLL_FIRST_SECONDS)
    return bool(told)


def _is_told(flow: Flow, authorization_url: str, challenge_url: str) -> bool:
    """Some CAs refuse to be told twice: a request whose answer was lost, or another worker's, has arrived."""
    authorization = flow.client.authorization_read(authorization_url)
    waiting = any(one.url == challenge_url and one.status == "pending" for one in authorization.challenges)
    return authorization.status != "pending" or not waiting


def _await_names(flow: Flow, authorizations: list[AuthorizationView], *, again: bool) -> None:
    """All in a round; the first that failed for good ends it, and the others are given up. `again`: what is known
    of them is out of date; otherwise the first round is with that, or a Retry-After beside it would be disregarded.

    Raises OrderGone where no challenge failed: it expired, or was deactivated or revoked meanwhile.
    """
    waiting = [item.url for item in authorizations if item.status != "valid"]
    known = {} if again else {item.url: item for item in authorizations}
    answered = set(flow.order.challenges.filter(clean_at=None).values_list("challenge_url", flat=True))

    def round_() -> list[AuthorizationView]:
        views = [known.pop(url) if url in known else flow.client.authorization_read(url) for url in waiting]
        ended = [view for view in views if view.status in AUTHORIZATION_ENDED]
        pending = [view for view in views if view.status not in AUTHORIZATION_ENDED | {"valid"}]
        waiting[:] = [view.url for view in pending]
        if ended:
            failed = [view for view in ended if view.status == "invalid" or view.failed_challenge]
            failures_keep(flow, failed)
            _give_up(flow, waiting)
            if not failed:
                raise OrderGone(f"The authorization of {ended[0].name} at {flow.ca} is {ended[0].status}.")
            raise challenge_failed(flow, failed[0])
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


def _give_up(flow: Flow, urls: list[str]) -> None:
    """Pending authorizations count against the CA's limits. Best effort: the order has failed in any case."""
    for url in urls:
        try:
            flow.client.authorization_deactivate(url)
        except AcmeFailure as error:
            flow.note(f"A pending authorization could not be given up: {error.message}")
