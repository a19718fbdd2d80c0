"""Keeping tables within their retention. Runs once a day; every step may run twice."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from django.contrib.sessions.models import Session
from django.db.models import Model, QuerySet

from certs.domain import states
from certs.models import (
    Alarm,
    AuditEvent,
    BulkJob,
    Installation,
    JobEvent,
    LedgerEntry,
    Listener,
    NodeDiagnosis,
    NodeProcess,
    OneTimeLink,
    Order,
    Rebind,
    WorkerBeat,
)
from certs.services.crls import register_prune
from certs.services.deletion import certificates_prune
from certs.services.idempotency import idempotency_prune
from certs.services.intake import intakes_prune
from certs.services.keys import keys_prune
from certs.services.ledger import ledger_retention
from portal import clock

# How long each thing is kept after it ended.
AUDIT = timedelta(days=730)
JOBS = timedelta(days=90)
ALARMS = timedelta(days=90)
LINKS = timedelta(days=7)
SILENT = timedelta(days=7)  # processes of a node that is no more; a living one writes every few seconds or at a tick
_BATCH = 500

M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Pruned:
    certificates: int
    orders: int
    rebinds: int
    job_events: int
    audit_events: int
    alarms: int
    links: int
    sessions: int
    processes: int
    keys: int
    ledger: int
    register: int
    bulk_jobs: int
    idempotency_keys: int
    intakes: int
    installations: int


def prune_run() -> Pruned:
    """One pass over everything; returns how many rows went."""
    moment = clock.now()
    # One whose answers could not be taken away again stays until they are.
    ended = Order.objects.filter(finished_at__lt=moment - JOBS, challenges=None)
    return Pruned(
        certificates=certificates_prune(moment),
        # An order that brought a current version stays: the brake of the renewal counts from it.
        orders=_remove(ended.filter(version=None)) + _remove(ended.filter(version__current_of=None)),
        rebinds=_remove(Rebind.objects.filter(finished_at__lt=moment - JOBS)),
        job_events=_remove(JobEvent.objects.filter(at__lt=moment - JOBS)),
        audit_events=_remove(AuditEvent.objects.filter(at__lt=moment - AUDIT)),
        alarms=_remove(Alarm.objects.filter(cleared_at__lt=moment - ALARMS)),
        links=_remove(OneTimeLink.objects.filter(expires_at__lt=moment - LINKS)),
        sessions=_remove(Session.objects.filter(expire_date__lt=clock.real())),
        processes=_silent_processes(clock.real() - SILENT),
        keys=keys_prune(),
        register=register_prune(moment),
        ledger=_remove(LedgerEntry.objects.filter(at__lt=ledger_retention(moment))),
        bulk_jobs=_remove(BulkJob.objects.filter(finished_at__lt=moment - JOBS)),
        idempotency_keys=idempotency_prune(),
        intakes=intakes_prune(),
        # What was there before is the way back, so it is known for longer than what has failed.
        installations=_remove(Installation.objects.filter(finished_at__lt=moment - AUDIT))
        + _remove(Installation.objects.filter(finished_at__lt=moment - JOBS).exclude(state=states.INSTALLED)),
    )


def _silent_processes(limit: datetime) -> int:
    """All of them say in real time when they were last heard of."""
    rows = (
        NodeProcess.objects.filter(seen_at__lt=limit),
        NodeDiagnosis.objects.filter(seen_at__lt=limit),
        WorkerBeat.objects.filter(moved_at__lt=limit),
        _listeners_left(limit),
    )
    return sum(map(_remove, rows))


def _listeners_left(limit: datetime) -> QuerySet[Listener]:
    """Of pods that are no more. An address that a person chose stays; a start makes the others anew."""
    gone = Listener.objects.filter(proven_at__lt=limit).exclude(source=Listener.Source.PAGE)
    return gone.exclude(node__in=NodeProcess.objects.filter(seen_at__gte=limit).values("node"))


def _remove(rows: QuerySet[M]) -> int:
    """In short transactions, so that nobody waits long for SQLite's one write lock."""
    count = 0
    while batch := list(rows.order_by("pk").values_list("pk", flat=True)[:_BATCH]):
        count += rows.model._default_manager.filter(pk__in=batch).delete()[0]
    return count
