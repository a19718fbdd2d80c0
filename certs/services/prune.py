"""Keeping tables within their retention. Runs once a day; every step may run twice."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from django.db.models import Model, ProtectedError, QuerySet

from certs.models import AuditEvent, Certificate, JobEvent, OneTimeLink, Order
from certs.services.keys import keys_prune
from portal import clock

# How long each thing is kept after it ended.
AUDIT = timedelta(days=730)
JOBS = timedelta(days=90)
LINKS = timedelta(days=7)
DELETED = timedelta(days=30)
_BATCH = 500

M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Pruned:
    certificates: int
    orders: int
    job_events: int
    audit_events: int
    links: int
    keys: int


def prune_run() -> Pruned:
    """One pass over everything; returns how many rows went."""
    moment = clock.now()
    ended = Order.objects.filter(finished_at__lt=moment - JOBS)
    return Pruned(
        certificates=_deleted_certificates(moment),
        # An order that brought a current version stays: the brake of the renewal counts from it.
        orders=_remove(ended.filter(version=None)) + _remove(ended.filter(version__current_of=None)),
        job_events=_remove(JobEvent.objects.filter(at__lt=moment - JOBS)),
        audit_events=_remove(AuditEvent.objects.filter(at__lt=moment - AUDIT)),
        links=_remove(OneTimeLink.objects.filter(expires_at__lt=moment - LINKS)),
        keys=keys_prune(),
    )


def _deleted_certificates(moment: datetime) -> int:
    count = 0
    for row in Certificate.objects.filter(deleted_at__lt=moment - DELETED):
        try:
            row.delete()
        except ProtectedError:
            continue  # bound since by hand in the database; it is served, so it stays
        count += 1
    return count


def _remove(rows: QuerySet[M]) -> int:
    """In short transactions, so that nobody waits long for SQLite's one write lock."""
    count = 0
    while batch := list(rows.order_by("pk").values_list("pk", flat=True)[:_BATCH]):
        count += rows.model._default_manager.filter(pk__in=batch).delete()[0]
    return count
