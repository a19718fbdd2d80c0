"""Orders: made, claimed, advanced, cancelled, and put back into the queue when their worker was lost.

Obtain and renew are the same flow. A claim takes the lease and writes the attempt before the work; `order_advance` goes
from step to step; what goes wrong either ends the order (FAILED) or brings it back later (AcmeRetry, a crash).
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet

from certs.domain import states
from certs.domain.certinfo import certificate_info
from certs.domain.errors import AcmeFailure, AcmeRefused, AcmeRetry, BinderyError, ConflictError, InputError
from certs.domain.pem import certificates_read
from certs.domain.renewal import backoff
from certs.models import Certificate, Order, User
from certs.services.challenges import challenges_clean, challenges_clear, solver_kinds
from certs.services.events import audit_record, job_event, job_said
from certs.services.order_finish import step_bind, step_prove
from certs.services.order_flow import Flow, LeaseLost
from certs.services.order_steps import (
    ChallengeFailed,
    OrderGone,
    step_download,
    step_finalize,
    step_order,
    step_prepare,
    step_register,
    step_restart,
    step_validate,
)
from certs.services.queue import queue_enqueue
from portal import clock, logs

log = logging.getLogger("bindery.order")

RUNNER = "certs.tasks.run_orders"
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
# Tries of one step that made no way. The wait grows; a flow that kills its worker backs off by itself, too.
_WAITS = tuple(timedelta(seconds=seconds) for seconds in (1, 5, 15, 60, 300, 900))
FREE_CLAIMS = 3  # a worker lost through no fault of the flow must not delay it
MOST_ATTEMPTS = 40
LONGEST_LIFE, LONGEST_LIFE_BY_HAND = timedelta(days=1), timedelta(days=7)
PATIENCE_LOW, PATIENCE_HIGH = timedelta(seconds=1), timedelta(seconds=30)
_CANCELLABLE = (states.NEW, states.REGISTERED, states.ORDERED, states.CHALLENGED, states.READY)


def order_create(
    certificate: Certificate,
    *,
    reason: str,
    actor: User | str | None,
    bind: bool = False,
    bind_address: str = "",
    bind_port: int | None = None,
) -> Order:
    """A new order for the certificate's names; a runner is queued when the caller's transaction commits.

    Raises ConflictError when one is under way, InputError for a certificate that no CA gives.
    """
    account = certificate.account
    if account is None or certificate.source != Certificate.Source.ACME or certificate.deleted_at is not None:
        raise InputError(
            f"{certificate.name} does not come from a CA, so it cannot be ordered.",
            advice="Import its successor, or request one from a CA.",
        )
    if not certificate.names:
        raise InputError(f"{certificate.name} has no names to ask for.", advice="Give it at least one DNS name.")
    try:
        with transaction.atomic():
            order = Order.objects.create(
                certificate=certificate,
                account=account,
                requested_by=actor if isinstance(actor, User) else None,
                reason=reason[:40],
                names=sorted(certificate.names),
                bind=bind,
                bind_address=bind_address,
                bind_port=bind_port,
                replaces=_replaces(certificate),
            )
            audit_record(actor, "order.create", certificate, after={"order": str(order.pk), "reason": reason})
            job_event(order.pk, f"Asked for: {', '.join(order.names)} ({reason}).", step="account")
    except IntegrityError as error:
        raise ConflictError(
            f"An order for {certificate.name} is under way.", advice="Wait for it, or cancel it first.", code="busy"
        ) from error
    transaction.on_commit(lambda: queue_enqueue(RUNNER))
    return order


def orders_due(within: timedelta = timedelta(0)) -> QuerySet[Order]:
    """Open orders that nobody works on and somebody should, now or `within` that time; the longest waiting first."""
    unleased = Q(lease_until=None) | Q(lease_until__lt=_real_now())
    due = Order.objects.filter(unleased, finished_at=None, next_attempt_at__lte=clock.now() + within)
    return due.order_by("next_attempt_at")


def orders_claim(limit: int, owner: UUID) -> list[UUID]:
    """Take up to `limit` due orders under a lease; each is one compare-and-swap, so of two claimers one wins.

    The attempt is counted and the next one set before any work, so that a flow that kills its worker backs off.
    """
    claimed: list[UUID] = []
    for pk, attempts in list(orders_due().values_list("pk", "attempts")[: limit * 4]):
        if len(claimed) == limit:
            break
        taken = (
            orders_due()
            .filter(pk=pk)
            .update(
                lease_owner=owner,
                lease_until=_lease_end(),
                attempts=F("attempts") + 1,
                next_attempt_at=clock.now() + (timedelta(0) if attempts < FREE_CLAIMS else _wait(attempts)),
            )
        )
        if taken:
            claimed.append(pk)
    return claimed


def leases_renew(owner: UUID) -> int:
    """The heartbeat of a runner: one statement for all the orders it holds; returns how many these are."""
    return Order.objects.filter(lease_owner=owner, finished_at=None).update(lease_until=_lease_end())


def order_advance(order_id: UUID, owner: UUID) -> None:
    """Take a claimed order as far as it goes now. Every error ends here; the row tells what became of it."""
    order = (
        Order.objects.select_related("certificate", "account__key", "key", "version", "requested_by")
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
    except AcmeRetry as error:
        _postpone(flow, error)
    except BinderyError as error:
        _fail(flow, error)
    except LeaseLost:
        raise
    except Exception:  # the outermost frame of a flow: a fault here must not take its neighbours down
        log.exception("The step %s ended with a fault", flow.order.state)
        _postpone(flow, AcmeRetry("An unexpected fault stopped this step.", code="fault", advice="The log tells more."))


def order_cancel(order: Order, *, actor: User | str | None) -> None:
    """End an order that has not asked for issuing yet. Raises ConflictError when it is too late."""
    with transaction.atomic():
        taken = Order.objects.filter(pk=order.pk, state__in=_CANCELLABLE, finished_at=None).update(
            state=states.CANCELLED,
            finished_at=clock.now(),
            updated_at=clock.now(),
            lease_owner=None,
            lease_until=None,
        )
        if taken:
            challenges_clear(order.pk)
            job_event(order.pk, f"Cancelled by {actor or 'nobody'}.", level="warning")
            audit_record(actor, "order.cancel", order)
    order.refresh_from_db()
    if not taken:
        raise ConflictError(f"The order is {order.get_state_display()}, so it cannot be cancelled any more.")


def orders_requeue_lapsed() -> int:
    """Queue a runner when a due order has nobody working on it; returns how many such orders there are."""
    waiting = orders_due().count()
    if waiting:
        queue_enqueue(RUNNER)
    return waiting


def _postpone(flow: Flow, error: AcmeRetry) -> None:
    """Come back later: as the CA says, else ever later. An order that makes no way for a day is given up."""
    order = flow.order
    flow.client_drop()
    waiting = error.code == "acme-waiting"
    wait = _patience(order) if waiting else _wait(order.attempts - 1)
    if error.retry_at is not None:
        wait = max(wait, error.retry_at - _real_now())
    lapsed = clock.now() + wait - order.created_at > _longest_life(order)
    if lapsed or order.attempts >= MOST_ATTEMPTS:
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
    kind = solver_kinds().get(order.challenge_kind)
    by_hand = order.state == states.ORDERED and kind is not None and kind.by_hand
    return LONGEST_LIFE_BY_HAND if by_hand else LONGEST_LIFE


def _fail(flow: Flow, error: BinderyError, retry_at: datetime | None = None) -> None:
    order = flow.order
    if order.state in {states.ISSUED, states.BOUND}:
        # The certificate is ours: a trouble with binding or checking never loses it.
        flow.move(states.DONE, f"Issued, but: {error}", level="warning", served=False, **_told(error))
        return
    evidence = error.evidence if isinstance(error, ChallengeFailed) else []
    flow.move(
        states.FAILED,
        str(error),
        level="error",
        also=lambda: _count_failure(order, retry_at),
        **_told(error),
        evidence=evidence,
        **({} if order.state == states.FINALIZED else {"key": None, "csr_pem": ""}),
    )
    for seen in evidence:
        flow.note(f"{seen['curl']} — {seen['seen']}", level="error")


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


def _replaces(certificate: Certificate) -> str:
    """The ARI id of what a renewal replaces (RFC 9773 §5); only for the same account that issued it."""
    current = certificate.current
    if current is None or current.self_signed:
        return ""
    issued_by_us = current.orders.filter(account=certificate.account).exists()
    return certificate_info(certificates_read(current.leaf_pem.encode())[0]).ari_id if issued_by_us else ""


def _wait(attempts: int) -> timedelta:
    return _WAITS[min(max(attempts, 0), len(_WAITS) - 1)]


def _span(wait: timedelta) -> str:
    seconds = wait.total_seconds()
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _lease_end() -> datetime:
    return _real_now() + timedelta(seconds=settings.LEASE_SECONDS)


def _real_now() -> datetime:
    """Leases are real time: a moved test clock must not end them."""
    return datetime.now(UTC)
