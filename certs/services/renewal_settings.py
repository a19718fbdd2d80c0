"""Configuration ➜ Renewal: the two upper bounds that a person sets, for all certificates or for one."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django_q.models import Schedule

from certs.domain.errors import InputError
from certs.domain.roles import Right
from certs.models import Certificate, PortalState
from certs.services.access import PORTAL, Actor, needs
from certs.services.certificate_changes import certificate_update
from certs.services.events import audit_record
from certs.services.portal_state import state_get, state_lock, state_update
from certs.services.queue import queue_enqueue
from portal import clock

DAYS = (1, 180)  # a CA's longest life is 200 days now; half of a life is never exceeded anyway
HOURS = (1, 24 * 7)
TICK = "certs.tasks.tick"


@dataclass(frozen=True)
class ScheduleState:
    """`next_run` and `last_run` of the periodic look; None where the portal has not been started yet."""

    next_run: datetime | None
    minutes: int | None
    sweep_started_at: datetime | None
    sweep_finished_at: datetime | None
    summary: dict[str, int]


def schedule_state() -> ScheduleState:
    row = Schedule.objects.filter(func=TICK).first()
    state = state_get()
    return ScheduleState(
        row.next_run if row else None,
        row.minutes if row else None,
        state.sweep_started_at,
        state.sweep_finished_at,
        state.sweep_summary,
    )


@needs(Right.SETTING)
def renewal_change(*, renew_before_days: int, check_hours: int, actor: Actor) -> None:
    """For every certificate without numbers of its own; all are looked at again at once. Raises InputError."""
    _check(renew_before_days, check_hours)
    after = {"renew_before_days": renew_before_days, "check_hours": check_hours}
    with transaction.atomic():
        before = _shown(state_lock())
        if after == before:
            return
        _look_again()
        state_update(**after)
        audit_record(actor, "renewal.change", before=before, after=after)


@needs(Right.CERTIFICATE_CHANGE)
def renewal_override(
    certificate: Certificate, *, renew_before_days: int | None, check_hours: int | None, actor: Actor
) -> None:
    """Numbers of its own for one certificate; None goes back to those of all. Raises InputError."""
    _check(renew_before_days, check_hours)
    certificate_update(certificate, actor=actor, renew_before_days=renew_before_days, check_hours=check_hours)


@needs(Right.CERTIFICATE_CHANGE, of=PORTAL)
def check_now(*, actor: Actor) -> bool:
    """Have every certificate looked at by the next free worker; False where that is queued already."""
    with transaction.atomic():
        _look_again()
        audit_record(actor, "renewal.check-now")
        return queue_enqueue(TICK)


def _look_again() -> None:
    Certificate.objects.filter(deleted_at=None, auto_renew=True).update(next_check_at=clock.now())


def _check(days: int | None, hours: int | None) -> None:
    for value, (low, high), what, code in (
        (days, DAYS, "days", "renew_before_days"),
        (hours, HOURS, "hours", "check_hours"),
    ):
        if value is not None and not low <= value <= high:
            raise InputError(f"{value} {what} is out of range.", advice=f"Type {low} to {high}.", code=code)


def _shown(state: PortalState) -> dict[str, int]:
    return {"renew_before_days": state.renew_before_days, "check_hours": state.check_hours}
