"""On demand, as a visitor meets it: the placeholder at once, the real certificate next, and one order however many."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from certs.domain.envelope import KeyRing
from tests.harness.load import Load, seen
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import LOOPBACK, free_port, wait_until
from tests.harness.postgres import Postgres
from tests.harness.rounds import rounds
from tests.harness.tls import served
from tests.harness.web import ROOT, make_home, python_env

pytestmark = pytest.mark.e2e

NAME, WILD = "shop.example.test", "*.shops.example.test"


def up(ca: Pebble, *more: str) -> Sequence[str]:
    return ["--on-demand", "--directory", ca.directory_url, "--ca-bundle", str(ca.ca_bundle_file),
            "--allow-private-ca", "--email", "alice@example.com", *more]  # fmt: skip


@pytest.fixture
def ca() -> Iterator[Pebble]:
    need("pebble")
    with Pebble(http_port=free_port(), tls_port=free_port()) as running:
        yield running


def is_issued(portal: Portal, ca: Pebble, name: str) -> bool:
    try:
        served(portal.https_port, name, roots_pem=ca.root_pem())
    except OSError:  # ssl.SSLError is one
        return False
    return True


def test_the_first_visitor_starts_it_and_the_next_has_it(ca: Pebble) -> None:
    hosts = ["--on-demand-host", NAME, "--on-demand-host", WILD, "--accept-terms"]
    with Portal(https_port=ca.tls_port, arguments=up(ca, *hosts)) as portal:
        assert f"first visit to {WILD}, {NAME}" in portal.log
        address = (LOOPBACK, portal.https_port)
        placeholder = seen(address)
        # Nothing is ordered by visits of others: no name, an address, a name that is not listed, a grandchild.
        for name in (None, "other.example.test", "a.b.shops.example.test", "shops.example.test"):
            assert seen(address, name) == placeholder
        assert (portal.count("certs_order"), ca.issued()) == (0, 0)

        with Load(address, kept=2, fresh=2, path="/healthz", name="other.example.test") as load:
            crowd = [threading.Thread(target=lambda: seen(address, NAME)) for _ in range(40)]
            first = seen(address, NAME)
            for each in crowd:
                each.start()
            for each in crowd:
                each.join()
            assert first == placeholder
            wait_until(lambda: is_issued(portal, ca, NAME), timeout=60, what="the real certificate")
        assert load.failures == []
        assert seen(address) == placeholder, "a visitor's certificate became the default"

        child = "a.shops.example.test"
        seen(address, child)
        wait_until(lambda: is_issued(portal, ca, child), timeout=60, what="the certificate of the child")
        wait_until(lambda: orders_ended(portal, 2), timeout=30, what="the end of both orders")
        assert ca.issued() == 2
        kinds = portal.rows("SELECT challenge_kind, reason, state FROM certs_order")
        assert kinds == [{"challenge_kind": "tlsalpn01", "reason": "on-demand", "state": "done"}] * 2
        # A start with the same words changes nothing, and what is there is renewed as all others are.
        portal.restart()
        assert is_issued(portal, ca, NAME)
        assert portal.rows("SELECT auto_renew FROM certs_certificate WHERE on_demand") == [{"auto_renew": 1}] * 2
        assert portal.rows("SELECT count(*) AS n FROM certs_auditevent WHERE action = 'on-demand.change'") == [{"n": 1}]


def orders_ended(portal: Portal, count: int) -> bool:
    return portal.rows("SELECT count(*) AS n FROM certs_order WHERE finished_at IS NOT NULL") == [{"n": count}]


def test_where_only_plain_http_is_reached_that_answers() -> None:
    """The CA's handshake meets nobody: one failure, then the HTTP challenge, for all names to come."""
    need("pebble")
    port = free_port()
    with (
        Pebble(http_port=port, tls_port=free_port()) as ca,
        Portal(http_port=port, arguments=up(ca, "--hostnames", f"{NAME},b.example.test", "--accept-le-sa")) as portal,
    ):
        assert portal.count("certs_order") == 0, "--on-demand orders nothing at once"
        for name in (NAME, "b.example.test"):
            seen((LOOPBACK, portal.https_port), name)
            wait_until(lambda name=name: is_issued(portal, ca, name), timeout=60, what=f"the certificate of {name}")
        tried = portal.rows("SELECT challenge_kind, tried FROM certs_order ORDER BY created_at")
        assert [row["challenge_kind"] for row in tried] == ["http01", "http01"]
        assert ["tlsalpn01" in row["tried"] for row in tried] == [True, False]


def test_terms_must_be_accepted(ca: Pebble) -> None:
    portal = Portal(arguments=up(ca, "--on-demand-host", NAME))
    try:
        portal.start(wait=False)
        wait_until(lambda: not portal.process.is_alive(), timeout=30, what="the end of the start")
        assert portal.process.returncode == 4
        assert "terms" in portal.log
        assert "--accept-terms" in portal.log
        assert "Traceback" not in portal.log
    finally:
        portal.stop()


def test_hosts_without_the_switch_are_a_slip(tmp_path: Path) -> None:
    portal = Portal(home=tmp_path, arguments=["--on-demand-host", NAME])
    portal.start(wait=False)
    wait_until(lambda: not portal.process.is_alive(), timeout=30, what="the end of the start")
    assert "--on-demand, which is missing" in portal.log


ASK = """
import django
django.setup()
import sys
from certs.services.on_demand import on_demand_ask
print("ready", flush=True)
for line in sys.stdin:
    print(on_demand_ask(line.strip()).code, flush=True)
"""
PREPARE = """
from certs.models import AcmeAccount
from certs.services.keys import key_create
from certs.services.on_demand import on_demand_change
from portal import clock
account = AcmeAccount.objects.create(
    directory_url="https://ca.test/dir", key=key_create("ec-p256"), terms_agreed_at=clock.now())
on_demand_change(on=True, hosts=[{names}], account=account, actor="test")
"""


COUNT = """
from certs.models import Certificate, Order
print(Certificate.objects.count(), Order.objects.count())
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of processes on one database that is ready for use."""
    if request.param == "sqlite":
        yield python_env(make_home(tmp_path))
        return
    need("postgresql")
    with Postgres() as server:
        environment = python_env(tmp_path, DATABASE_URL=server.url)
        shell(environment, "migrate", "-v", "0")
        shell(environment, "createcachetable")
        yield environment


def shell(environment: dict[str, str], *words: str) -> str:
    command = [sys.executable, "manage.py", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


@rounds("names", 2, 8)
def test_processes_that_ask_at_once_make_one_certificate_and_one_order(database: dict[str, str], names: int) -> None:
    every = [f"n{number}.example.com" for number in range(names)]
    shell(database, "shell", "-v", "0", "-c", PREPARE.format(names=", ".join(map(repr, every))))
    with contextlib.ExitStack() as stack:
        asking = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", ASK],
                    cwd=ROOT,
                    env=database,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(6)
        ]
        for each in asking:
            assert said(each) == "ready"
        for name in every:
            ask_together(asking, name)
            assert sorted(said(each) for each in asking) == ["busy"] * 5 + ["ordered"]
    assert shell(database, "shell", "-v", "0", "-c", COUNT).split() == [str(names)] * 2


def test_any_node_answers_and_serves_what_another_has_ordered(ca: Pebble) -> None:
    """The visitor and the CA come to the node that serves; the worker is another one."""
    need("postgresql")
    with Postgres() as server:
        given = {
            "DATABASE_URL": server.url,
            "BINDERY_SECRET_KEY": "a-secret-key-of-this-test-" + "y" * 40,
            "BINDERY_KEY_RING": KeyRing.generate().to_json(),
        }
        web = Portal(
            https_port=ca.tls_port,
            environment={**given, "BINDERY_NODE": "web"},
            arguments=[*up(ca, "--on-demand-host", NAME, "--accept-terms"), "--role", "web"],
        )
        worker = Portal(environment={**given, "BINDERY_NODE": "worker"}, arguments=["--role", "worker"])
        with web, worker:
            seen((LOOPBACK, web.https_port), NAME)
            wait_until(lambda: is_issued(web, ca, NAME), timeout=60, what="the certificate")
            assert ca.issued() == 1
            assert "A CA validates" in web.log
            assert "A CA validates" not in worker.log


def ask_together(asking: list["subprocess.Popen[str]"], name: str) -> None:
    """Within a millisecond; what they say is read afterwards."""
    for each in asking:
        assert each.stdin is not None
        each.stdin.write(f"{name}\n")
        each.stdin.flush()


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_name_nobody_may_have_is_no_work(tmp_path: Path) -> None:
    """Without a list a handshake for an unknown name writes nothing and wakes nobody."""
    with Portal(home=tmp_path) as portal:
        before = portal.rows("SELECT count(*) AS n FROM certs_auditevent")
        for number in range(50):
            with contextlib.suppress(OSError):
                seen((LOOPBACK, portal.https_port), f"n{number}.example.test")
        assert portal.rows("SELECT count(*) AS n FROM certs_auditevent") == before
        assert portal.count("certs_order") == 0
