import threading
from datetime import timedelta

import pytest
from django.db import connection

from certs import tasks
from certs.services.certificate_changes import certificate_update
from certs.services.channels import channel_create
from certs.services.portal_state import state_get
from portal import clock
from tests.harness.hook import HookServer
from tests.harness.ports import wait_until
from tests.stock import issued

pytestmark = pytest.mark.django_db


def test_one_step_in_trouble_keeps_no_other_from_its_turn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done = []

    def fail() -> None:
        raise OSError("no network")

    def succeed() -> None:
        done.append(True)

    monkeypatch.setattr(tasks, "TICK", (fail, succeed))
    tasks.tick()
    assert done == [True]
    assert "fail failed" in caplog.text


# Each is done within a minute, whatever its network does, or has none.
BOUNDED = {
    "crl_sweep",
    "renewal_info_refresh",
    "revocation_check_run",
    "sweep_run",
    "installations_follow",
    "alarms_sweep",
    "alarms_deliver",
}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize("run", ["tick", "run_orders"])
def test_people_are_told_while_a_step_hangs_in_its_network(monkeypatch: pytest.MonkeyPatch, run: str) -> None:
    over = threading.Event()

    def hang() -> None:
        over.wait(300)  # longer than the message is waited for

    def work() -> None:
        getattr(tasks, run)()
        connection.close()

    for name in ("TICK", "AFTER_ORDERS"):
        steps = [step if step.__name__ in BOUNDED else hang for step in getattr(tasks, name)]
        monkeypatch.setattr(tasks, name, steps)
    monkeypatch.setattr(tasks, "orders_run", lambda: 1)
    certificate_update(issued("a.example", age=89.9), actor="test", auto_renew=False)
    thread = threading.Thread(target=work)
    with HookServer() as hook:
        channel_create("webhook", name="Chat", values={"url": hook.url}, allow_private=True, actor="test")
        thread.start()
        try:
            wait_until(lambda: bool(hook.received), timeout=20, what="the message")
            assert thread.is_alive()
        finally:
            over.set()
            thread.join()


def test_a_tick_leaves_word_that_it_was_there() -> None:
    tasks.tick()
    finished = state_get().sweep_finished_at
    assert finished is not None
    assert clock.now() - finished < timedelta(minutes=1)


def test_what_was_just_issued_learns_its_next_check_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    row = issued("a.example")
    assert row.next_check_at is not None
    assert row.next_check_at <= clock.now()
    monkeypatch.setattr(tasks, "orders_run", lambda: 1)
    tasks.run_orders()
    row.refresh_from_db()
    assert row.last_decision == "not-due"
    assert row.next_check_at > clock.now() + timedelta(hours=12)


def test_a_runner_that_found_nothing_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    row = issued("a.example")
    monkeypatch.setattr(tasks, "orders_run", lambda: 0)
    tasks.run_orders()
    row.refresh_from_db()
    assert row.last_decision == ""
