"""Queueing without repeating, and telling a dead cluster from a busy or an idle one."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signals import post_execute_in_worker, post_spawn, pre_execute

from certs.models import QueueTicket, WorkerBeat
from certs.services.nodes import node_name
from certs.services.queue import queue_begun, queue_enqueue, queue_stalled, worker_alive

pytestmark = pytest.mark.django_db
TASK = "certs.tasks.run_orders"


@pytest.fixture(autouse=True)
def periods(settings: Any) -> None:
    settings.WATCHDOG_SECONDS, settings.LEASE_SECONDS = 180, 60
    cache.clear()


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def waiting(seconds: float, count: int = 1) -> None:
    OrmQ.objects.bulk_create(OrmQ(key=Conf.CLUSTER_NAME, payload="x", lock=ago(seconds)) for _ in range(count))


def taken(seconds: float) -> None:
    """A task that a cluster took so long ago, and that nobody has acknowledged."""
    OrmQ.objects.create(key=Conf.CLUSTER_NAME, payload="x", lock=ago(seconds - Conf.RETRY))


def beat(seconds: float, *, node: str = "", pid: int = 0, busy_for: float | None = None) -> None:
    WorkerBeat.objects.create(
        node=node or node_name(),
        pid=pid or os.getpid(),
        moved_at=ago(seconds),
        busy_until=ago(-busy_for) if busy_for is not None else None,
    )


def cluster_reports() -> None:
    cache.set(Conf.Q_STAT, ["q:one"], None)
    cache.set("q:one", "packed", 3)


# -- putting in --------------------------------------------------------------------------------------------------


def test_a_hundred_wishes_make_one_task() -> None:
    assert [queue_enqueue(TASK) for _ in range(100)].count(True) == 1
    assert OrmQ.objects.count() == 1


def test_once_it_has_begun_the_next_wish_makes_another() -> None:
    queue_enqueue(TASK)
    queue_begun(TASK)
    assert queue_enqueue(TASK)
    assert OrmQ.objects.count() == 2


def test_other_arguments_are_another_task() -> None:
    assert queue_enqueue(TASK, 1)
    assert queue_enqueue(TASK, 2)
    assert not queue_enqueue(TASK, 1)
    queue_begun(TASK, 1)
    assert queue_enqueue(TASK, 1)


def test_a_task_lost_with_its_worker_is_queued_anew_after_a_lease() -> None:
    queue_enqueue(TASK)
    QueueTicket.objects.update(queued_at=ago(59))
    assert not queue_enqueue(TASK)
    QueueTicket.objects.update(queued_at=ago(61))
    assert queue_enqueue(TASK)
    assert not queue_enqueue(TASK)


def test_a_wish_rolled_back_leaves_neither_task_nor_ticket() -> None:
    with transaction.atomic():
        queue_enqueue(TASK)
        transaction.set_rollback(True)
    assert not OrmQ.objects.exists()
    assert queue_enqueue(TASK)


# -- dead, busy or idle ------------------------------------------------------------------------------------------


def test_an_empty_queue_is_not_stalled() -> None:
    assert not queue_stalled()


def test_work_that_waits_for_nobody_is_stalled() -> None:
    waiting(200)
    assert queue_stalled()


def test_a_short_wait_is_not_stalled() -> None:
    waiting(170)
    assert not queue_stalled()


def test_five_hundred_slow_tasks_are_no_reason_to_restart() -> None:
    waiting(3600, 500)
    beat(500, busy_for=100)
    assert not queue_stalled()
    WorkerBeat.objects.update(busy_until=None, moved_at=ago(10))
    assert not queue_stalled()


def test_a_worker_beyond_its_time_limit_is_no_progress() -> None:
    waiting(3600)
    beat(700, busy_for=-100)
    assert queue_stalled()


def test_a_worker_that_was_killed_inside_its_time_limit_is_no_progress() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    waiting(3600)
    beat(300, pid=gone.pid, busy_for=300)
    assert queue_stalled()


def test_progress_of_another_node_does_not_hide_a_dead_cluster_here() -> None:
    waiting(3600)
    beat(5, node="elsewhere")
    assert queue_stalled()


def test_a_task_taken_by_another_node_is_not_ours_to_restart_for() -> None:
    taken(400)
    beat(400, node="elsewhere", busy_for=200)
    assert not queue_stalled()


def test_a_task_taken_and_never_begun_anywhere_is_stalled() -> None:
    taken(170)
    assert not queue_stalled()
    taken(200)
    assert queue_stalled()


def test_a_worker_is_alive_when_idle_busy_or_just_moved() -> None:
    assert not worker_alive()
    cluster_reports()
    assert worker_alive()
    cache.clear()
    beat(2)
    assert worker_alive()
    WorkerBeat.objects.update(moved_at=ago(60))
    assert not worker_alive()


def test_a_cluster_that_reports_but_moves_nothing_is_not_alive() -> None:
    cluster_reports()
    waiting(3600)
    assert not worker_alive()


def test_the_queues_own_signals_write_the_beats() -> None:
    queue_enqueue(TASK)
    post_spawn.send(sender="django_q", proc_name="worker")
    mine = WorkerBeat.objects.get(pid=os.getpid())
    assert mine.busy_until is None
    pre_execute.send(sender="django_q", func=None, task={"func": TASK, "args": ()})
    assert not QueueTicket.objects.exists()
    mine.refresh_from_db()
    assert mine.task == TASK
    assert mine.busy_until is not None
    assert mine.busy_until > datetime.now(UTC) + timedelta(seconds=500)
    post_execute_in_worker.send(sender="django_q", func=None, task={"func": TASK})
    mine.refresh_from_db()
    assert mine.busy_until is None
    assert mine.task == ""


def test_a_new_worker_forgets_those_that_are_gone() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    beat(5, pid=gone.pid)
    beat(5, node="elsewhere", pid=gone.pid)
    post_spawn.send(sender="django_q", proc_name="worker")
    assert not WorkerBeat.objects.filter(node=node_name(), pid=gone.pid).exists()
    assert WorkerBeat.objects.filter(node="elsewhere").exists()
