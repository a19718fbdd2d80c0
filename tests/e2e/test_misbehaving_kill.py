"""kill -9 of a worker whose CA has just said 503, or says nothing: the next process obeys, and loses nothing."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.harness.acme_server import AcmeServer, Fault
from tests.harness.misbehaving import spki
from tests.harness.ports import wait_until
from tests.harness.prepared import database_copy

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]
Worker = Callable[..., subprocess.Popen[str]]
WITHIN = 240  # seconds, for a step of one process on a busy machine


@pytest.fixture
def ca() -> Iterator[AcmeServer]:
    with AcmeServer() as running:
        yield running


@pytest.fixture
def worker(ca: AcmeServer, tmp_path: Path) -> Iterator[Worker]:
    """Starts one on the database in `tmp_path`; all that are left are ended with the test."""
    started: list[subprocess.Popen[str]] = []
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(ca.ca_bundle_pem)
    database_copy(tmp_path / "bindery.sqlite3")

    def start(what: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.order_worker", what, ca.directory_url, str(bundle)],
            cwd=ROOT,
            env={**os.environ, "BINDERY_HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def is_put_off(home: Path) -> bool:
    """Whether the order is stored as one to go on with later."""
    with closing(sqlite3.connect(home / "bindery.sqlite3")) as connection:
        ((moment,),) = connection.execute("SELECT next_attempt_at FROM certs_order").fetchall()
    return datetime.fromisoformat(moment).replace(tzinfo=UTC) > datetime.now(UTC) + timedelta(seconds=1)


@pytest.mark.parametrize("resource", ["newOrder", "finalize"])
def test_a_killed_worker_s_successors_wait_as_the_ca_said(
    ca: AcmeServer, worker: Worker, tmp_path: Path, resource: str
) -> None:
    assert worker("make").wait(WITHIN) == 0
    planned = ca.fault(resource, Fault.UNAVAILABLE, retry_after=6)
    first = worker("run")
    wait_until(lambda: planned.used, timeout=30, what="the 503")
    wait_until(lambda: is_put_off(tmp_path), timeout=2, what="what came back to be stored")
    first.kill()
    second = worker("run")
    time.sleep(1.5)  # up and waiting
    second.kill()
    assert not ca.early, "asked again before the time"
    ended_well(ca, worker)


@pytest.mark.parametrize("resource", ["finalize", "certificate"])
def test_a_worker_killed_while_its_ca_is_silent_costs_nothing(ca: AcmeServer, worker: Worker, resource: str) -> None:
    assert worker("make").wait(WITHIN) == 0
    planned = ca.fault(resource, Fault.STALL_AFTER, seconds=60)
    first = worker("run")
    wait_until(lambda: planned.used, timeout=30, what="the silence")
    first.kill()
    time.sleep(3.1)  # until its lease has lapsed
    ended_well(ca, worker)


def ended_well(ca: AcmeServer, worker: Worker) -> None:
    assert worker("run").wait(WITHIN) == 0
    found: dict[str, Any] = json.loads(worker("show").communicate(timeout=WITHIN)[0])
    assert found["state"] == "done", found["error"]
    assert not ca.early
    assert (len(ca.orders), len(ca.issued)) == (1, 1)
    assert spki(ca.issued[0]) in found["keys"]
