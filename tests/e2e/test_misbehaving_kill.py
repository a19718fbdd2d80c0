"""kill -9 of a worker whose CA has just said 503, or says nothing: the next process obeys, and loses nothing."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.acme_server import AcmeServer, Fault
from tests.harness.misbehaving import spki
from tests.harness.ports import wait_until

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]
Worker = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def ca() -> Iterator[AcmeServer]:
    with AcmeServer() as running:
        yield running


@pytest.fixture
def worker(ca: AcmeServer) -> Iterator[Worker]:
    """Starts one; all that are left are ended with the test."""
    started: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory(prefix="bindery-kill-") as home:
        bundle = Path(home) / "bundle.pem"
        bundle.write_text(ca.ca_bundle_pem)

        def start(what: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.order_worker", what, ca.directory_url, str(bundle)],
                cwd=ROOT,
                env={**os.environ, "BINDERY_HOME": home},
                stdout=subprocess.PIPE,
                text=True,
            )
            started.append(process)
            return process

        yield start
        for process in started:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("resource", ["newOrder", "finalize"])
def test_a_killed_worker_s_successors_wait_as_the_ca_said(ca: AcmeServer, worker: Worker, resource: str) -> None:
    assert worker("make").wait(60) == 0
    planned = ca.fault(resource, Fault.UNAVAILABLE, retry_after=6)
    first = worker("run")
    wait_until(lambda: planned.used, timeout=30, what="the 503")
    time.sleep(0.3)  # what came back is stored
    first.kill()
    second = worker("run")
    time.sleep(1.5)  # up and waiting
    second.kill()
    assert ca.count(resource) == 1, "asked again before the time"
    ended_well(ca, worker)


@pytest.mark.parametrize("resource", ["finalize", "certificate"])
def test_a_worker_killed_while_its_ca_is_silent_costs_nothing(ca: AcmeServer, worker: Worker, resource: str) -> None:
    assert worker("make").wait(60) == 0
    planned = ca.fault(resource, Fault.STALL_AFTER, seconds=60)
    first = worker("run")
    wait_until(lambda: planned.used, timeout=30, what="the silence")
    first.kill()
    time.sleep(3.1)  # until its lease has lapsed
    ended_well(ca, worker)


def ended_well(ca: AcmeServer, worker: Worker) -> None:
    assert worker("run").wait(60) == 0
    found: dict[str, Any] = json.loads(worker("show").communicate(timeout=30)[0])
    assert found["state"] == "done", found["error"]
    assert not ca.early
    assert (len(ca.orders), len(ca.issued)) == (1, 1)
    assert spki(ca.issued[0]) in found["keys"]
