"""The queue under a running portal: killed workers, a dead cluster, and a long line of slow tasks."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import wait_until

pytestmark = pytest.mark.e2e
ALIVE = "from certs.services.queue import worker_alive; result = worker_alive()"


@pytest.fixture
def portal() -> Iterator[Portal]:
    with Portal(settings="tests.harness.short_watchdog") as running:
        wait_until(lambda: running.run(ALIVE), timeout=30, what="a live worker")
        yield running


@pytest.fixture
def ca(portal: Portal) -> Iterator[Pebble]:
    need("pebble")
    with Pebble(http_port=portal.http_port, sleep=True, environment={"PEBBLE_VA_SLEEPTIME": "4"}) as running:
        yield running


def order(portal: Portal, ca: Pebble, name: str) -> str:
    code = f"""
from pathlib import Path
from certs.services.accounts import account_get_or_create
from certs.services.certificates import certificate_new
from certs.services.orders import order_create
account = account_get_or_create(directory_url={ca.directory_url!r}, email="", allow_private=True,
    terms_url="data:text/plain,Do%20what%20thou%20wilt",
    ca_bundle=Path({str(ca.ca_bundle_file)!r}).read_text(), actor="test")
certificate = certificate_new(name="", names=[{name!r}], account=account, actor="test")
result = order_create(certificate, reason="asked", actor="test").pk.hex
"""
    return str(portal.run(code))


def state(portal: Portal, pk: str) -> str:
    return str(portal.rows("SELECT state FROM certs_order WHERE id = ?", pk)[0]["state"])


def workers(portal: Portal) -> set[int]:
    return {int(row["pid"]) for row in portal.rows("SELECT pid FROM certs_workerbeat")}


def busy_workers(portal: Portal) -> list[int]:
    return [row["pid"] for row in portal.rows("SELECT pid FROM certs_workerbeat WHERE busy_until IS NOT NULL")]


def test_a_killed_worker_delays_an_order_and_costs_nothing_else(portal: Portal, ca: Pebble) -> None:
    pk = order(portal, ca, "killed.example.test")
    victims: list[int] = []

    def is_challenged() -> bool:
        victims[:] = busy_workers(portal)
        return bool(victims) and state(portal, pk) not in {"new", "registered", "ordered"}

    wait_until(is_challenged, timeout=20, what="the challenge")
    os.kill(victims[0], signal.SIGKILL)
    wait_until(lambda: state(portal, pk) == "done", timeout=60, what="the order")
    assert ca.issued() == 1
    assert portal.count("certs_challenge") == 0


def test_a_dead_cluster_is_started_anew_by_the_watchdog(portal: Portal, ca: Pebble) -> None:
    before = workers(portal)
    for pid in before:
        os.kill(pid, signal.SIGSTOP)  # alive to the eye, as those that wait for a lock lost with a killed worker
    pk = order(portal, ca, "stopped.example.test")
    wait_until(lambda: state(portal, pk) == "done", timeout=90, what="the order")
    assert "makes no progress" in portal.log
    assert not before & workers(portal)


def test_five_hundred_slow_tasks_restart_nothing(portal: Portal) -> None:
    before = workers(portal)
    portal.run("from certs.services.queue import async_task\nfor _ in range(500): async_task('time.sleep', 1.5)")
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        assert portal.run(ALIVE)
        time.sleep(1)
    assert workers(portal) == before
    assert "makes no progress" not in portal.log
    assert portal.count("django_q_ormq") > 450
