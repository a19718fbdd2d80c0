"""Orders: made, claimed, cancelled, and put back into the queue when their worker was lost.

Obtain and renew are the same flow. A claim takes the lease and writes the attempt before the work that
`certs/services/order_advance.py` does.
"""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet

from certs.domain import states
from certs.domain.certinfo import certificate_info
from certs.domain.errors import ConflictError, InputError
from certs.domain.roles import Right
from certs.models import AcmeAccount, Certificate, Order
from certs.services.access import Actor, needs, person_of
from certs.services.asking import asking_held, asking_require
from certs.services.challenges import challenge_kind_first, challenges_clear
from certs.services.events import audit_record, job_event
from certs.services.identity import identity_count
from certs.services.queue import queue_enqueue
from portal import clock

RUNNER = "certs.tasks.run_orders"
LEFTOVERS = "certs.tasks.give_up_leftovers"
# Tries of one step that made no way. The wait grows; a flow that kills its worker backs off by itself, too.
_WAITS = tuple(timedelta(seconds=seconds) for seconds in (1, 5, 15, 60, 300, 900))
FREE_CLAIMS = 3  # a worker lost through no fault of the flow must not delay it
CANCELLABLE = (states.NEW, states.REGISTERED, states.ORDERED, states.CHALLENGED, states.READY)


@needs(Right.CERTIFICATE_CHANGE)
def order_create(
    certificate: Certificate,
    *,
    reason: str,
    actor: Actor,
    bind: bool = False,
    bind_address: str = "",
    bind_port: int | None = None,
    rehearsal: AcmeAccount | None = None,
) -> Order:
    """A new order for the certificate's names; a runner is queued when the caller's transaction commits.

    With `rehearsal` it goes to that account instead, at a staging directory, and what it brings is dropped.

    Raises ConflictError when one is under way, InputError for a certificate that no CA gives, NotAllowed while nothing
    may be asked of a CA (`services/asking.py`).
    """
    asking_require()
    account = rehearsal or certificate.account
    if account is None or certificate.source != Certificate.Source.ACME or certificate.deleted_at is not None:
        raise InputError(
            f"{certificate.name} does not come from a CA, so it cannot be ordered.",
            advice="Import its successor, or request one from a CA.",
        )
    if not certificate.names:
        raise InputError(f"{certificate.name} has no names to ask for.", advice="Give it at least one DNS name.")
    try:
        with transaction.atomic():
            locked = Certificate.objects.select_for_update().get(pk=certificate.pk)
            if locked.deleted_at is not None:
                raise ConflictError(f"{certificate.name} was deleted.", advice="Ask for a new certificate.")
            order = Order.objects.create(
                certificate=certificate,
                account=account,
                requested_by=person_of(actor),
                reason=reason[:40],
                names=sorted(locked.names),
                bind=bind,
                bind_address=bind_address,
                bind_port=bind_port,
                replaces="" if rehearsal else _replaces(certificate),
                rehearsal=rehearsal is not None,
                profile=certificate.profile,
                challenge_kind=challenge_kind_first(certificate, certificate.account or account),
            )
            audit_record(actor, "order.create", certificate, after={"order": str(order.pk), "reason": reason})
            what = "Rehearsing" if rehearsal else "Asked for"
            job_event(order.pk, f"{what}: {', '.join(order.names)} ({reason}).", step="account")
    except IntegrityError as error:
        raise ConflictError(
            f"An order for {certificate.name} is under way.", advice="Wait for it, or cancel it first.", code="busy"
        ) from error
    transaction.on_commit(lambda: queue_enqueue(RUNNER))
    transaction.on_commit(identity_count)
    return order


def orders_due(within: timedelta = timedelta(0)) -> QuerySet[Order]:
    """Open orders that nobody works on and somebody should, now or `within` that time; the longest waiting first. None
    while nothing may be asked of a CA."""
    return _due(within) if not asking_held() else Order.objects.none()


def _due(within: timedelta = timedelta(0)) -> QuerySet[Order]:
    unleased = Q(lease_until=None) | Q(lease_until__lt=clock.real())
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
            _due()
            .filter(pk=pk)
            .update(
                lease_owner=owner,
                lease_until=_lease_end(),
                attempts=F("attempts") + 1,
                next_attempt_at=clock.now() + (timedelta(0) if attempts < FREE_CLAIMS else order_wait(attempts)),
            )
        )
        if taken:
            claimed.append(pk)
    return claimed


def leases_renew(owner: UUID) -> int:
    """The heartbeat of a runner: one statement for all the orders it holds; returns how many these are."""
    return Order.objects.filter(lease_owner=owner, finished_at=None).update(lease_until=_lease_end())


@needs(Right.CERTIFICATE_CHANGE)
def order_cancel(order: Order, *, actor: Actor) -> None:
    """End an order that has not asked for issuing yet. Raises ConflictError when it is too late."""
    with transaction.atomic():
        taken = Order.objects.filter(pk=order.pk, state__in=CANCELLABLE, finished_at=None).update(
            state=states.CANCELLED,
            finished_at=clock.now(),
            updated_at=clock.now(),
            lease_owner=None,
            lease_until=None,
            attempts=0,
            next_attempt_at=clock.now(),
        )
        if taken:
            transaction.on_commit(lambda: queue_enqueue(LEFTOVERS))
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


def _replaces(certificate: Certificate) -> str:
    """The ARI id of what a renewal replaces (RFC 9773 §5); only for the same account that issued it."""
    current = certificate.current
    if current is None or current.self_signed:
        return ""
    issued_by_us = current.orders.filter(account=certificate.account).exists()
    return certificate_info(current.leaf).ari_id if issued_by_us else ""


def order_wait(attempts: int) -> timedelta:
    """Before the next try of a step that made no way so often."""
    return _WAITS[min(max(attempts, 0), len(_WAITS) - 1)]


def _lease_end() -> datetime:
    return clock.real() + timedelta(seconds=settings.LEASE_SECONDS)
