"""kill -9 at random moments of a running portal: worker, queue, web process, arbiter, supervisor.

Each round is an issue, a renewal, a rehearsal with its order, or an order whose first CA refuses; by HTTP, TLS, DNS or
webroot. Whatever dies, the order under way completes with exactly one certificate, the portal answers again by itself
(the supervisor is what `manage.py up` is: it is started again as a service manager would), and nothing is damaged.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import psutil
import pytest
import requests

from tests.harness.bind import KEY, SECRET, Bind
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.portal_data import PortalData
from tests.harness.ports import LOOPBACK, wait_until
from tests.harness.rounds import rounds
from tests.harness.tls import served_fingerprint

pytestmark = pytest.mark.e2e
OPEN, REFUSED = "one.test", "refused.test"


@pytest.fixture
def bind() -> Iterator[Bind]:
    need("pebble", "named")
    with Bind(zones=(OPEN, REFUSED), records={zone: ["* A 127.0.0.1"] for zone in (OPEN, REFUSED)}) as running:
        yield running


@pytest.fixture
def portal(bind: Bind) -> Iterator[Portal]:
    with Portal(
        environment={"BINDERY_DNS_RESOLVERS": bind.address, "BINDERY_DNS_AUTHORITIES": bind.address}
    ) as running:
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


@dataclass
class Cas:
    """`ca` takes everything and reaches the portal; `strict` refuses one zone and asks another web server."""

    ca: Pebble
    strict: Pebble
    webroot: Path

    def issued(self) -> int:
        return self.ca.issued() + self.strict.issued()


@pytest.fixture
def cas(portal: Portal, bind: Bind, tmp_path: Path) -> Iterator[Cas]:
    with (
        webserver(tmp_path) as port,
        Pebble(http_port=portal.http_port, tls_port=portal.https_port, dns=bind, retry_after=0) as ca,
        Pebble(http_port=port, dns=bind, retry_after=0, blocked=(REFUSED,)) as strict,
    ):
        yield Cas(ca, strict, tmp_path)


@contextmanager
def webserver(root: Path) -> Iterator[int]:
    """A web server that is no part of the portal; yields its port."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer((LOOPBACK, 0), partial(Handler, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class Plan:
    """What the rounds ask for, drawn with the dice, and what is to come of all of it."""

    KINDS: ClassVar[dict[str, int]] = {"issue": 40, "renewal": 24, "rehearsal": 16, "fallback": 20}
    CHALLENGES: ClassVar[dict[str, int]] = {"http-01": 30, "tls-alpn-01": 25, "dns-01": 30, "webroot": 15}

    def __init__(self, data: PortalData, cas: Cas, bind: Bind, dice: random.Random) -> None:
        self.data, self.cas, self.dice = data, cas, dice
        dns = {"server": LOOPBACK, "port": bind.port, "key": KEY, "secret": SECRET, "timeout": 3}
        self.methods: dict[str, tuple[str, dict[str, Any]]] = {
            "http-01": ("", {}),
            "tls-alpn-01": ("tlsalpn01", {}),
            "dns-01": ("dns01_rfc2136", dns),
            "webroot": ("http01_webroot", {"webroot": str(cas.webroot)}),
        }
        self.orders: Counter[str] = Counter()  # certificate -> how many are to end well
        self.drawn: Counter[str] = Counter()
        self.versions = self.issued = 0

    def ask(self) -> str:
        """Returns the certificate."""
        kind = self._draw(self.KINDS)
        if kind == "renewal" and self.orders:
            certificate = self.data.call("plan", {"certificate": self.dice.choice(list(self.orders))})
        else:
            certificate = self.data.call("plan", self._wanted(kind))
        self.orders[certificate] += 2 if kind == "rehearsal" else 1
        self.issued += 2 if kind == "rehearsal" else 1
        self.versions += 1
        return str(certificate)

    def _wanted(self, kind: str) -> dict[str, Any]:
        challenge = self._draw(self.CHALLENGES)
        ca, strict = ((each.directory_url, str(each.ca_bundle_file)) for each in (self.cas.ca, self.cas.strict))
        if challenge == "webroot" and kind in {"rehearsal", "fallback"}:
            challenge = "dns-01"
        name = f"{uuid4().hex[:8]}.{REFUSED if kind == 'fallback' else OPEN}"
        return {
            "names": [name, f"*.{name}"] if challenge == "dns-01" else [name],
            "at": strict if kind == "fallback" or challenge == "webroot" else ca,
            "fallbacks": [ca] if kind == "fallback" else [],
            "method": self.methods[challenge],
            # The same CA under another address is another directory, with accounts and orders of its own.
            "rehearse_at": ca[0].replace("localhost", LOOPBACK) if kind == "rehearsal" else "",
        }

    def _draw(self, weights: dict[str, int]) -> str:
        drawn = self.dice.choices(list(weights), list(weights.values()))[0]
        self.drawn[drawn] += 1
        return drawn

    def done(self, portal: Portal, certificate: str) -> bool:
        rows = portal.rows("SELECT state, error_message, challenge_kind FROM certs_order WHERE certificate_id = ?",
                           certificate)  # fmt: skip
        assert all(row["state"] not in {"failed", "cancelled"} for row in rows), rows
        return [row["state"] for row in rows] == ["done"] * self.orders[certificate]


@rounds("count", 5, 100)
def test_whatever_is_killed_the_order_completes_once(
    portal: Portal, data: PortalData, bind: Bind, cas: Cas, count: int
) -> None:
    seed = int(os.environ.get("BINDERY_TEST_SEED") or random.randrange(10**6))
    print(f"BINDERY_TEST_SEED={seed}")
    dice = random.Random(seed)
    killed: Counter[str] = Counter()
    seconds: list[float] = []
    plan = Plan(data, cas, bind, dice)
    for number in range(count):
        certificate = plan.ask()
        started = time.monotonic()
        for _ in range(dice.choice((1, 1, 1, 2))):
            time.sleep(dice.uniform(0, 1))
            killed[kill_one(portal, dice)] += 1
        words = f"round {number} of seed {seed}"
        wait_until(lambda certificate=certificate: plan.done(portal, certificate), timeout=90, what=words)
        wait_until(lambda: answers(portal), timeout=70, what=f"both ports after {words}")
        seconds.append(time.monotonic() - started)
        assert cas.issued() == plan.issued, words
    serving = served_fingerprint(portal.https_port, "portal.test")
    assert portal.run(CLEANED) == 0
    assert not bind.names(OPEN) | bind.names(REFUSED)
    assert not list(cas.webroot.iterdir())
    nothing_is_left_or_damaged(portal, plan, serving)
    middle = sorted(seconds)[len(seconds) // 2]
    print(f"{dict(plan.drawn)}; {dict(killed)}; back after {middle:.1f} s (median), {max(seconds):.1f} s at most")


# What a killed process was about to take away has its turn a minute later: now.
CLEANED = """
import time
from certs.models import Challenge
from certs.services.challenges import challenges_clean
from portal import clock
for _ in range(20):
    Challenge.objects.exclude(clean_at=None).update(clean_at=clock.now())
    challenges_clean()
    if not Challenge.objects.exists():
        break
    time.sleep(0.2)
result = Challenge.objects.count()
"""

# Each version has a key of its own that fits it; nobody's key is lost, and none of a rehearsal is kept in use.
KEYS = """
from certs.domain.keys import spki_sha256
from certs.domain.pem import certificates_read
from certs.models import CertificateVersion
from certs.services.keys import key_open
rows = list(CertificateVersion.objects.filter(certificate__source="acme").select_related("key"))
fits = [spki_sha256(key_open(row.key).public_key())
        == spki_sha256(certificates_read(row.leaf_pem.encode())[0].public_key()) for row in rows]
result = [len(rows), len({row.key_id for row in rows}), all(fits)]
"""


def nothing_is_left_or_damaged(portal: Portal, plan: Plan, serving: str) -> None:
    assert portal.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    assert portal.rows("PRAGMA foreign_key_check") == []
    assert portal.count("certs_order") == plan.orders.total()
    assert portal.run(KEYS) == [plan.versions, plan.versions, True]
    assert portal.rows("SELECT id FROM certs_order WHERE attempts > 20") == []
    # Ordered anew only where the CA asked a portal that had just been killed.
    again = portal.rows(
        "SELECT count(*) AS n FROM certs_jobevent WHERE message LIKE '%started anew when the CA looked%'"
    )
    assert portal.rows("SELECT sum(restarts) AS n FROM certs_order") == again
    versions = portal.rows("SELECT count(DISTINCT v.serial) AS n FROM certs_certificateversion v"
                           " JOIN certs_certificate c ON c.id = v.certificate_id WHERE c.source = 'acme'")  # fmt: skip
    assert versions == [{"n": plan.versions}]
    wait_until(lambda: portal.run(BALANCED) == [], timeout=30, what="process rows that match the living")
    _, fault, words = portal.log.partition("Traceback")
    assert not fault, words[:6000]
    placeholder = portal.rows("SELECT fingerprint_sha256 AS it FROM certs_certificateversion v"
                              " JOIN certs_portalstate s ON s.placeholder_id = v.certificate_id")  # fmt: skip
    assert serving in {row["it"] for row in placeholder}
    assert portal.stop() == 0


BALANCED = """
import psutil
from certs.models import NodeProcess
result = [row.pid for row in NodeProcess.objects.all() if not psutil.pid_exists(row.pid)]
"""
