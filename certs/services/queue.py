"""The queue: putting tasks in without repeating them, and telling a dead cluster from a busy or an idle one.

Liveness is progress, not a heartbeat in the same queue, which would wait behind everything else: each queue process
notes when it begins and ends a task (`beat_*`, called by django-q's own signals, see certs/apps.py).
"""

import os
from datetime import datetime, timedelta
from typing import Any

import psutil
from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.tasks import async_task

from certs.models import QueueTicket, WorkerBeat
from certs.services.nodes import node_name
from portal import clock

RECENT = timedelta(seconds=10)


def queue_enqueue(function_path: str, *args: Any) -> bool:
    """Put a task into the queue unless the same one waits there unbegun; False where it does. `args` are ids only.

    Task and ticket are written together. A ticket counts for one lease: a task lost with its worker is queued anew.
    """
    now = clock.real()
    key = _ticket_key(function_path, args)
    with transaction.atomic():
        _, created = QueueTicket.objects.get_or_create(function=key, defaults={"queued_at": now})
        stale = now - timedelta(seconds=settings.LEASE_SECONDS)
        if not created and not QueueTicket.objects.filter(function=key, queued_at__lt=stale).update(queued_at=now):
            return False
        async_task(function_path, *args)
    return True


def queue_begun(function_path: str, *args: Any) -> None:
    """Called first of all, before a task looks for work: what comes after this needs another task."""
    QueueTicket.objects.filter(function=_ticket_key(function_path, args)).delete()


def worker_alive() -> bool:
    """Whether a queue task put in now would be carried out: some cluster runs, and what waits is moving."""
    return (_cluster_reported() or _moved_since(clock.real() - RECENT)) and not _stalled("")


def queue_stalled() -> bool:
    """Whether the cluster of this node is dead: runnable work waits, and nothing has moved for WATCHDOG_SECONDS.

    A cluster just started counts as moving, and so does one with a worker inside its time limit: five hundred slow
    tasks are no reason to restart anything.
    """
    return _stalled(node_name())


def _stalled(node: str) -> bool:
    """Of one node, or of all where `node` is empty. Whose cluster took a task is not known, so that one is all's."""
    limit = clock.real() - timedelta(seconds=settings.WATCHDOG_SECONDS)
    if _untaken_since(limit) and not _moving(limit, node):
        return True
    return _taken_since(limit) and not _moving(limit, "")


def beat_started() -> None:
    """A queue process has come up."""
    _beat("", None)
    _forget_the_dead()


def beat_begun(task: str) -> None:
    _beat(task, clock.real() + timedelta(seconds=Conf.TIMEOUT or settings.WATCHDOG_SECONDS))


def beat_ended() -> None:
    _beat("", None)


def _beat(task: str, busy_until: datetime | None) -> None:
    WorkerBeat.objects.update_or_create(
        node=node_name(),
        pid=os.getpid(),
        defaults={"moved_at": clock.real(), "busy_until": busy_until, "task": task[:200]},
    )


def _forget_the_dead() -> None:
    for beat in WorkerBeat.objects.filter(node=node_name()):
        if not psutil.pid_exists(beat.pid):
            beat.delete()


def _untaken_since(limit: datetime) -> bool:
    """The ORM broker writes the time of queueing into `lock`, and the end of its own lease when it takes the task."""
    return bool(OrmQ.objects.filter(lock__lt=limit).exists())


def _taken_since(limit: datetime) -> bool:
    taken_before = limit + timedelta(seconds=Conf.RETRY or 0)
    return bool(OrmQ.objects.filter(lock__gt=clock.real(), lock__lt=taken_before).exists())


def _moving(limit: datetime, node: str) -> bool:
    return _moved_since(limit, node) or _busy(node)


def _moved_since(limit: datetime, node: str = "") -> bool:
    beats = WorkerBeat.objects.filter(moved_at__gte=limit)
    return (beats.filter(node=node) if node else beats).exists()


def _busy(node: str) -> bool:
    """Whether a worker is inside its time limit; one of this machine that was killed is not."""
    beats = WorkerBeat.objects.filter(busy_until__gt=clock.real())
    own = node_name()
    return any(beat.node != own or psutil.pid_exists(beat.pid) for beat in (beats.filter(node=node) if node else beats))


def _cluster_reported() -> bool:
    """django-q's own sign of life: an entry of the cache that its sentinel renews twice a second, for 3 s each."""
    keys = cache.get(Conf.Q_STAT) or []
    return bool(cache.get_many(keys))


def _ticket_key(function_path: str, args: tuple[Any, ...]) -> str:
    return ":".join([function_path, *map(str, args)])[:200]
