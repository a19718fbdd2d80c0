from datetime import timedelta

import pytest

from certs import tasks
from certs.services.portal_state import state_get
from portal import clock
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
