"""kill -9 at random moments of a running portal: worker, queue, web process, arbiter, supervisor.

Whatever dies, the order under way completes with exactly one certificate, the portal answers again by itself (the
supervisor is what `manage.py up` is: it is started again as a service manager would), and nothing is damaged.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
import requests

from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.portal_data import PortalData
from tests.harness.ports import wait_until
from tests.harness.rounds import rounds
from tests.harness.tls import served_fingerprint

pytestmark = pytest.mark.e2e


@pytest.fixture
def portal() -> Iterator[Portal]:
    need("pebble")
    with Portal() as running:
        yield running


@pytest.fixture
def data(portal: Portal) -> Iterator[PortalData]:
    with PortalData(portal.home) as data:
        yield data


def family(portal: Portal, name: str) -> tuple[list[int], list[int]]:
    """The pids of the supervisor's child of that name, and of all that it forked."""
    children = [each for each in psutil.Process(portal.process.pid).children() if named(each) == f"bindery-{name}"]
    return [each.pid for each in children], [each.pid for child in children for each in child.children(recursive=True)]


def named(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/comm").read_text().strip() if psutil.pid_exists(process.pid) else ""


# What dies, how often among a hundred, and which pids that may be.
VICTIMS: dict[str, tuple[int, Callable[[Portal], list[int]]]] = {
    "worker": (40, lambda portal: family(portal, "queue")[1]),
    "web process": (20, lambda portal: family(portal, "web")[1]),
    "supervisor": (24, lambda portal: [portal.process.pid]),
    "queue": (8, lambda portal: family(portal, "queue")[0]),
    "arbiter": (8, lambda portal: family(portal, "web")[0]),
}


def kill_one(portal: Portal, dice: random.Random) -> str:
    """Returns what died."""
    what = dice.choices(list(VICTIMS), [weight for weight, _ in VICTIMS.values()])[0]
    pids = VICTIMS[what][1](portal)
    if not pids:
        return "nothing: it was starting anew"
    try:
        os.kill(dice.choice(pids), signal.SIGKILL)
    except ProcessLookupError:
        return "nothing: it had just ended"
    if what == "supervisor":
        portal.process.popen.wait(10)
        portal.start()
    return what


def answers(portal: Portal) -> bool:
    try:
        return portal.get("/readyz").status_code == portal.get("/readyz", scheme="https").status_code == 200
    except requests.RequestException:
        return False


def done(portal: Portal, order: str) -> bool:
    (row,) = portal.rows("SELECT state, error_message FROM certs_order WHERE id = ?", order)
    assert row["state"] not in {"failed", "cancelled"}, row
    return bool(row["state"] == "done")


@rounds("count", 5, 100)
def test_whatever_is_killed_the_order_completes_once(portal: Portal, data: PortalData, count: int) -> None:
    seed = int(os.environ.get("BINDERY_TEST_SEED") or random.randrange(10**6))
    print(f"BINDERY_TEST_SEED={seed}")
    dice = random.Random(seed)
    killed: Counter[str] = Counter()
    seconds: list[float] = []
    with Pebble(http_port=portal.http_port, retry_after=0) as ca:
        for number in range(count):
            order = data.call("order", ca.directory_url, str(ca.ca_bundle_file), f"{uuid4().hex[:8]}.example.test")
            time.sleep(dice.uniform(0, 0.8))
            started = time.monotonic()
            killed[kill_one(portal, dice)] += 1
            wait_until(lambda order=order: done(portal, order), timeout=90, what=f"order {number} of seed {seed}")
            wait_until(lambda: answers(portal), timeout=70, what=f"both ports after round {number} of seed {seed}")
            seconds.append(time.monotonic() - started)
            assert ca.issued() == number + 1, f"seed {seed}"
        serving = served_fingerprint(portal.https_port, "portal.test")
    nothing_is_left_or_damaged(portal, count, serving)
    print(
        f"{dict(killed)}; back after {sorted(seconds)[len(seconds) // 2]:.1f} s (median), {max(seconds):.1f} s at most"
    )


def nothing_is_left_or_damaged(portal: Portal, count: int, serving: str) -> None:
    assert portal.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    assert portal.rows("PRAGMA foreign_key_check") == []
    assert portal.count("certs_order") == count
    assert portal.count("certs_challenge") == 0
    assert portal.rows("SELECT id FROM certs_order WHERE attempts > 20 OR restarts > 0") == []
    versions = portal.rows("SELECT count(DISTINCT v.serial) AS n FROM certs_certificateversion v"
                           " JOIN certs_certificate c ON c.id = v.certificate_id WHERE c.source = 'acme'")  # fmt: skip
    assert versions == [{"n": count}]
    wait_until(lambda: portal.run(BALANCED) == [], timeout=30, what="process rows that match the living")
    assert "Traceback" not in portal.log
    placeholder = portal.rows("SELECT fingerprint_sha256 AS it FROM certs_certificateversion v"
                              " JOIN certs_portalstate s ON s.placeholder_id = v.certificate_id")  # fmt: skip
    assert serving in {row["it"] for row in placeholder}
    assert portal.stop() == 0


BALANCED = """
import psutil
from certs.models import NodeProcess
result = [row.pid for row in NodeProcess.objects.all() if not psutil.pid_exists(row.pid)]
"""
