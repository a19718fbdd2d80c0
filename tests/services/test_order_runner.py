"""A runner takes on what is due, side by side, keeps its leases, and leaves when there is nothing left."""

import threading
import time
from typing import Any
from uuid import UUID

import pytest
from django_q.models import OrmQ, Schedule

from certs.models import AcmeAccount, Order, QueueTicket
from certs.schedule import schedules_ensure
from certs.services import order_runner
from certs.services.accounts import account_get_or_create
from certs.services.certificates import certificate_new
from certs.services.order_runner import orders_run
from certs.services.orders import RUNNER, order_create
from certs.services.queue import queue_enqueue
from portal import clock

transactional = pytest.mark.django_db(transaction=True, serialized_rollback=True)


def make_orders(count: int) -> list[UUID]:
    account: AcmeAccount = account_get_or_create(directory_url="https://ca.example/directory", email="", actor="test")
    return [
        order_create(
            certificate_new(name="", names=[f"n{number}.example.test"], account=account, actor="test"),
            reason="asked",
            actor="test",
        ).pk
        for number in range(count)
    ]


def finish(pk: UUID) -> None:
    Order.objects.filter(pk=pk).update(finished_at=clock.now(), lease_owner=None, lease_until=None)


@transactional
def test_every_due_order_is_advanced_once_and_the_runner_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_orders(20)
    seen: list[UUID] = []

    def advance(pk: UUID, owner: UUID) -> None:
        seen.append(pk)
        finish(pk)

    monkeypatch.setattr(order_runner, "order_advance", advance)
    assert orders_run(lanes=4) == 20
    assert sorted(seen) == sorted(made)


@transactional
def test_flows_go_side_by_side_and_a_stall_holds_one_lane_only(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_orders(9)
    others, order = threading.Event(), []

    def advance(pk: UUID, owner: UUID) -> None:
        if pk == made[0]:
            assert others.wait(10)
        order.append(pk)
        finish(pk)
        if len(order) == 8:
            others.set()

    monkeypatch.setattr(order_runner, "order_advance", advance)
    orders_run(lanes=3)
    assert order[-1] == made[0]


@transactional
def test_leases_are_kept_while_a_flow_takes_long(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.LEASE_SECONDS, settings.LEASE_RENEW_SECONDS = 1.5, 0.1
    make_orders(1)
    lapsed = []

    def advance(pk: UUID, owner: UUID) -> None:
        for _ in range(20):
            time.sleep(0.1)
            row = Order.objects.get(pk=pk)
            lapsed.append(row.lease_owner != owner or not row.lease_until or row.lease_until.timestamp() < time.time())
        finish(pk)

    monkeypatch.setattr(order_runner, "order_advance", advance)
    orders_run(lanes=1)
    assert not any(lapsed)


@transactional
def test_a_flow_that_raises_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    made = make_orders(4)

    def advance(pk: UUID, owner: UUID) -> None:
        finish(pk)
        if pk == made[1]:
            raise RuntimeError("the database went away")

    monkeypatch.setattr(order_runner, "order_advance", advance)
    assert orders_run(lanes=2) == 4
    assert "the database went away" in caplog.text


@transactional
def test_work_that_is_left_when_its_time_is_over_brings_another_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    make_orders(3)
    OrmQ.objects.all().delete()
    QueueTicket.objects.all().delete()
    monkeypatch.setattr(order_runner, "order_advance", lambda pk, owner: finish(pk))
    assert orders_run(lanes=1, claim_seconds=0) == 0
    assert OrmQ.objects.count() == 1


@transactional
def test_more_than_fits_brings_another_worker_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    make_orders(5)
    OrmQ.objects.all().delete()
    queued = []

    def advance(pk: UUID, owner: UUID) -> None:
        queued.append(OrmQ.objects.count())
        time.sleep(0.2)
        finish(pk)

    monkeypatch.setattr(order_runner, "order_advance", advance)
    orders_run(lanes=2)
    assert max(queued) == 1


@transactional
def test_no_thread_outlives_its_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    make_orders(2)
    monkeypatch.setattr(order_runner, "order_advance", lambda pk, owner: finish(pk))
    before = threading.active_count()
    orders_run()
    assert threading.active_count() == before


@pytest.mark.django_db
def test_a_runner_with_nothing_to_do_ends_at_once_and_frees_its_ticket() -> None:
    queue_enqueue(RUNNER)
    began = time.monotonic()
    assert orders_run() == 0
    assert time.monotonic() - began < 1
    assert not QueueTicket.objects.exists()


@pytest.mark.django_db
def test_the_schedule_is_made_once_and_follows_its_table(settings: Any) -> None:
    schedules_ensure()
    next_runs = dict(Schedule.objects.values_list("name", "next_run"))
    settings.TICK_MINUTES = 7
    Schedule.objects.create(name="old", func="certs.tasks.gone", schedule_type=Schedule.MINUTES, minutes=1)
    Schedule.objects.create(name="theirs", func="somewhere.else", schedule_type=Schedule.MINUTES, minutes=1)
    schedules_ensure()
    rows = {row.name: row for row in Schedule.objects.all()}
    assert set(rows) == {"tick", "prune", "theirs"}
    assert rows["tick"].minutes == 7
    assert rows["tick"].next_run == next_runs["tick"]


@pytest.mark.django_db
def test_every_scheduled_function_is_there() -> None:
    from pydoc import locate

    from certs.schedule import jobs

    assert all(callable(locate(job.function)) for job in jobs())
    assert callable(locate(RUNNER))
