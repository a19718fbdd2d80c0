"""One order, taken as far as it goes now: from step to step, and what becomes of it where a step goes wrong.

What goes wrong ends the order (FAILED), takes it another way (`order_turns`) or brings it back later (AcmeRetry, a
crash).
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from certs.domain import states
from certs.domain.errors import AcmeFailure, AcmeRefused, AcmeRetry, BinderyError
from certs.domain.renewal import backoff, order_life
from certs.models import Certificate, Order
from certs.services.challenges import challenges_clean, solver_kinds
from certs.services.events import job_said
from certs.services.explanations import order_findings
from certs.services.holds import directory_obey
from certs.services.order_answers import step_prepare, step_validate
from certs.services.order_download import step_download, step_finalize
from certs.services.order_finish import step_bind, step_prove
from certs.services.order_flow import Flow, LeaseLost
from certs.services.order_leftovers import leftover_keep
from certs.services.order_start import step_order, step_register
from certs.services.order_turns import issuer_turn_take, turn_once_more, turn_take
from certs.services.order_views import ChallengeFailed, OrderGone, step_look_again, step_restart
from certs.services.orders import order_wait
from certs.services.rehearsals import AFTER_FAILURE, rehearsal_follow
from portal import clock, logs

log = logging.getLogger("bindery.order")

STEPS: dict[str, Callable[[Flow], None]] = {
    states.NEW: step_register,
    states.REGISTERED: step_order,
    states.ORDERED: step_prepare,
    states.CHALLENGED: step_validate,
    states.READY: step_finalize,
    states.FINALIZED: step_download,
    states.ISSUED: step_bind,
    states.BOUND: step_prove,
}
MOST_ATTEMPTS = 40
# Failures that what this server finds out about the names may explain.
_ABOUT_NAMES = {f"acme-{code}" for code in ("connection", "unauthorized", "incorrectResponse", "dns", "tls", "caa")}
# When a CA that cannot do it now is left for the next issuer, and a rehearsal given up.
_LONG_WAIT, _FEW_ATTEMPTS = timedelta(minutes=10), 3
LONGEST_LIFE, LONGEST_LIFE_BY_HAND = timedelta(days=1), timedelta(days=7)
LONGEST_LIFE_REHEARSAL = timedelta(hours=1)  # every renewal waits behind it
LONGEST_LIFE_ISSUED = timedelta(days=2)  # what may be issued already is fetched even after a day-long Retry-After
PATIENCE_LOW, PATIENCE_HIGH = timedelta(seconds=1), timedelta(seconds=30)


def order_advance(order_id: UUID, owner: UUID) -> None:
    """Take a claimed order as far as it goes now. Every error ends here; the row tells what became of it."""
    order = (
        Order.objects.select_related("certificate", "account")  # the others are seldom asked for, or not there yet
        .filter(pk=order_id, lease_owner=owner, finished_at=None)
        .first()
    )
    if order is None:
        return
    flow = Flow(order, owner)
    with logs.job(order_id):
        try:
            _advance(flow)
            flow.client_return()
            challenges_clean(order_id)
        except LeaseLost:
            log.warning("The order is not ours any more; left alone.")
            if flow.view is not None:
                leftover_keep(order_id, flow.view.url)
        finally:
            flow.client_drop()


def _advance(flow: Flow) -> None:
    try:
        if flow.order.attempts > MOST_ATTEMPTS:  # nobody was left to count them: each ended its worker, or in a fault
            raise AcmeRefused("This step was begun too often and never came to its end.", code="fault")
        while not states.ORDER.is_final(flow.order.state):
            try:
                STEPS[flow.order.state](flow)
            except OrderGone as error:
                step_restart(flow, error)
            except AcmeRefused as error:
                step_look_again(flow, error)
    except AcmeRetry as error:
        _postpone(flow, error)
    except BinderyError as error:
        _fail(flow, error)
    except LeaseLost:
        raise
    except Exception:  # the outermost frame of a flow: a fault here must not take its neighbours down
        log.exception("The step %s ended with a fault", flow.order.state)
        _postpone(flow, AcmeRetry("An unexpected fault stopped this step.", code="fault", advice="The log tells more."))


def _postpone(flow: Flow, error: AcmeRetry) -> None:
    """Come back later: as the CA says, else ever later. An order that makes no way for too long is given up."""
    order = flow.order
    flow.client_drop()
    waiting = error.code == "acme-waiting"
    wait = _patience(order) if waiting else order_wait(order.attempts - 1)
    if error.retry_at is not None:
        wait = max(wait, error.retry_at - clock.real())
        directory_obey(order.account.directory_url, error, limits=order.state == states.NEW)
    long = wait >= _LONG_WAIT or order.attempts >= _FEW_ATTEMPTS
    if long and not waiting and issuer_turn_take(flow, error, _told(error)):
        _advance(flow)
        return
    lapsed = clock.now() + wait - order.created_at > _longest_life(order)
    if lapsed or order.attempts >= MOST_ATTEMPTS or (long and order.rehearsal and not waiting):
        _fail(flow, error, retry_at=clock.now() + wait if error.retry_at else None)
        return
    if not waiting:
        flow.note(f"{error.message} Trying again in {_span(wait)}.", level="warning")
        flow.release(next_attempt_at=clock.now() + wait, **_told(error))
        return
    # Nothing went wrong: no try is counted, and the same sentence is not written again and again.
    if job_said(order.pk) != error.message:
        flow.note(error.message)
    flow.release(next_attempt_at=clock.now() + wait, attempts=0)


def _patience(order: Order) -> timedelta:
    """How long to wait for what is on its way: the longer it takes, the more seldom it is looked at."""
    return max(PATIENCE_LOW, min(PATIENCE_HIGH, (clock.now() - order.created_at) / 6))


def _longest_life(order: Order) -> timedelta:
    """From when it was made. What a person was waited for is not taken from the time of what comes after."""
    longest = LONGEST_LIFE_ISSUED if order.state == states.FINALIZED else LONGEST_LIFE
    current = order.certificate.current
    left = current.not_after - order.created_at if current else None
    life = order_life(LONGEST_LIFE_REHEARSAL if order.rehearsal else longest, left)
    kind = solver_kinds().get(order.challenge_kind)
    if kind is None or not kind.by_hand or order.state in {states.NEW, states.REGISTERED}:
        return life
    return LONGEST_LIFE_BY_HAND if order.state == states.ORDERED else LONGEST_LIFE_BY_HAND + life


def _fail(flow: Flow, error: BinderyError, retry_at: datetime | None = None) -> None:
    order = flow.order
    if order.state in {states.ISSUED, states.BOUND}:
        # The certificate is ours: a trouble with binding or checking never loses it.
        flow.move(states.DONE, f"Issued, but: {error}", level="warning", served=False, **_told(error))
        return
    evidence = list(error.evidence) if isinstance(error, ChallengeFailed) else []
    for seen in evidence:
        flow.note(f"{seen['curl']} — {seen['seen']}", level="error")
    if error.code in _ABOUT_NAMES:
        evidence += order_findings(order, [str(seen["name"]) for seen in evidence] or order.names)
    if again := turn_once_more(flow, error):
        _postpone(flow, again)
        return
    if turn_take(flow, error, {**_told(error), "evidence": evidence}):
        _advance(flow)
        return
    flow.move(
        states.FAILED,
        str(error),
        level="error",
        also=lambda: _failed(order, error, retry_at),
        **_told(error),
        evidence=evidence,
        **_let_go(order, error),
    )


def _let_go(order: Order, error: BinderyError) -> dict[str, Any]:
    """What may have been issued keeps its key, and its request where it may still come: the next order looks there."""
    if order.state != states.FINALIZED or order.rehearsal:
        return {"key": None, "csr_pem": ""}
    return {} if isinstance(error, AcmeRetry) else {"csr_pem": ""}


def _failed(order: Order, error: BinderyError, retry_at: datetime | None) -> None:
    """A rehearsal that failed through its staging directory says nothing of the names: the real order follows."""
    if order.rehearsal and not isinstance(error, ChallengeFailed):
        rehearsal_follow(order)
        return
    if not order.rehearsal or order.reason == AFTER_FAILURE:
        _count_failure(order, retry_at)


def _count_failure(order: Order, retry_at: datetime | None) -> None:
    certificate = Certificate.objects.select_related("current").get(pk=order.certificate_id)
    left = certificate.current.not_after - clock.now() if certificate.current else timedelta(days=365)
    failures = certificate.failures + 1
    Certificate.objects.filter(pk=certificate.pk).update(
        failures=failures,
        next_attempt_at=max(clock.now() + backoff(failures, left), retry_at or clock.now()),
        retry_after_at=retry_at,
        next_check_at=clock.now() + backoff(failures, left),
    )


def _told(error: BinderyError) -> dict[str, Any]:
    return {
        "error_code": error.code[:80],
        "error_message": error.message,
        "error_advice": error.advice,
        "problem": error.problem if isinstance(error, AcmeFailure) else {},
    }


def _span(wait: timedelta) -> str:
    seconds = wait.total_seconds()
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
