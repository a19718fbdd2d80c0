"""The portal on PostgreSQL, with serving and working on two nodes: secrets given from outside, nothing made on disk."""

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from certs.domain.envelope import KeyRing
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import free_port, wait_until
from tests.harness.postgres import Postgres
from tests.harness.tls import served

pytestmark = pytest.mark.e2e

NAME = "portal.test"


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, str]:
    """As compose.yaml gives them: the paths of mounted files."""
    secret_key, ring = tmp_path / "secret_key", tmp_path / "key_ring.json"
    secret_key.write_text("a-secret-key-of-this-test-" + "y" * 40 + "\n")
    ring.write_text(KeyRing.generate().to_json())
    return {"BINDERY_SECRET_KEY_FILE": str(secret_key), "BINDERY_KEY_RING_FILE": str(ring)}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[dict[str, str]]:
    need("postgresql", "pebble")
    with Postgres() as server:
        file = tmp_path / "database_url"
        file.write_text(server.url)
        yield {"DATABASE_URL_FILE": str(file)}


LAST_ORDER = """
from certs.models import JobEvent, Order
order = Order.objects.order_by("-created_at").first()
result = [order.state, order.served, order.error_code, list(
    JobEvent.objects.filter(job=order.pk).order_by("pk").values_list("message", flat=True))[-1]]
"""


ORDER_ELSEWHERE = """
from certs.models import Certificate
from certs.services.issuing import order_ask
order_ask(Certificate.objects.get(name="portal.test"), actor="test", bind=True, bind_port={port})
"""
CONFIRM = """
from certs.models import Rebind
from certs.services.rebinds import rebind_confirm
result = rebind_confirm(Rebind.objects.get(), actor="test").node
"""
SERVED = """
from certs.models import Certificate
from certs.services.served import served_now
seen = served_now(Certificate.objects.get(name="portal.test"))
result = [bool(seen.ok), seen.detail]
"""


def test_a_web_node_and_a_worker_node_issue_serve_and_prove_it(
    database: dict[str, str], secrets: dict[str, str]
) -> None:
    given = {**database, **secrets}
    with (
        Portal(own_secrets=True, environment={**given, "BINDERY_NODE": "web"}, arguments=["--role", "web"]) as web,
        Portal(
            own_secrets=True,
            environment={**given, "BINDERY_NODE": "worker"},
            arguments=["--role", "worker"],
            settings="tests.harness.short_served",
        ) as worker,
        Pebble(http_port=web.http_port, authz_reuse=100) as pebble,
    ):
        made = sorted(path.name for path in [*web.home.iterdir(), *worker.home.iterdir()])
        assert not [name for name in made if "secret" in name or "keyring" in name or "sqlite" in name]
        assert web.setup_link()

        web.manage(
            "issue", NAME, "--directory", pebble.directory_url, "--ca-bundle", str(pebble.ca_bundle_file),
            "--allow-private-ca", "--accept-terms", "--email", "alice@example.com", "--bind", "--json",
        )  # fmt: skip
        first = served(web.https_port, NAME, roots_pem=pebble.root_pem()).serial_number
        assert pebble.issued() == 1
        state, is_served, code, said = worker.run(LAST_ORDER)
        assert (state, is_served, code) == ("done", True, "")
        assert said.startswith(f"Done: web: 127.0.0.1:{web.https_port} ")
        assert json.loads(web.get("/readyz").text)["status"] == "ok"

        # A renewal is proven in the same way.
        worker.manage("renew", NAME, "--force")
        assert served(web.https_port, NAME, roots_pem=pebble.root_pem()).serial_number != first
        assert worker.run(LAST_ORDER)[:3] == ["done", True, ""]

        # Where nobody serves, nobody can say that it is served, nor that it is not.
        web.stop()
        renewed = worker.manage("renew", NAME, "--force", check=False)
        assert renewed.returncode == 3, renewed.stdout + renewed.stderr
        state, is_served, code, said = worker.run(LAST_ORDER)
        assert (state, is_served, code) == ("done", None, "not-checked")
        assert "could not be checked: No serving process has reported" in said


@pytest.mark.proof
def test_a_port_wished_for_is_opened_and_proven_by_the_node_that_has_the_listener(
    database: dict[str, str], secrets: dict[str, str]
) -> None:
    given = {**database, **secrets}
    with (
        Portal(own_secrets=True, environment={**given, "BINDERY_NODE": "web"}, arguments=["--role", "web"]) as web,
        Portal(
            own_secrets=True, environment={**given, "BINDERY_NODE": "worker"}, arguments=["--role", "worker"]
        ) as worker,
        Pebble(http_port=web.http_port, authz_reuse=100) as pebble,
    ):
        web.manage(
            "issue", NAME, "--directory", pebble.directory_url, "--ca-bundle", str(pebble.ca_bundle_file),
            "--allow-private-ca", "--accept-terms", "--email", "alice@example.com", "--bind",
        )  # fmt: skip
        port = free_port()
        web.run(ORDER_ELSEWHERE.format(port=port))
        wait_until(lambda: worker.run(LAST_ORDER)[0] == "done", timeout=40, what="the order with a wish for a port")
        assert web.run(CONFIRM) == "web"
        wait_until(lambda: worker.run(SERVED)[0], timeout=20, what="the proof of the new port")
        assert f":{port} " in worker.run(SERVED)[1]
        assert served(port, NAME, roots_pem=pebble.root_pem())


@pytest.mark.proof
def test_of_two_web_nodes_each_proves_it_and_one_that_is_gone_does_not_count(
    database: dict[str, str], secrets: dict[str, str]
) -> None:
    given = {**database, **secrets}
    with (
        Portal(own_secrets=True, environment={**given, "BINDERY_NODE": "web-1"}, arguments=["--role", "web"]) as web,
        Portal(own_secrets=True, environment={**given, "BINDERY_NODE": "web-2"}, arguments=["--role", "web"]) as other,
        Portal(
            own_secrets=True, environment={**given, "BINDERY_NODE": "worker"}, arguments=["--role", "worker"]
        ) as worker,
        Pebble(http_port=web.http_port, authz_reuse=100) as pebble,
    ):
        worker.manage(
            "issue", NAME, "--directory", pebble.directory_url, "--ca-bundle", str(pebble.ca_bundle_file),
            "--allow-private-ca", "--accept-terms", "--email", "alice@example.com", "--bind",
        )  # fmt: skip
        assert worker.run(LAST_ORDER)[3] == "Done: web-1, web-2 serve it, each seen there."
        for node in (web, other):
            assert served(node.https_port, NAME, roots_pem=pebble.root_pem())

        # One is killed, and its children with it: it does not count any more.
        other.process.kill()
        wait_until(lambda: worker.run(SERVED)[1].startswith("web-1: "), timeout=30, what="the end of the other node")
        assert worker.run(SERVED)[0]


def test_without_the_secrets_it_does_not_start_and_makes_none(database: dict[str, str], tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    portal = Portal(home=home, own_secrets=True, environment=database)
    try:
        portal.start(wait=False)
        wait_until(lambda: not portal.process.is_alive(), timeout=30, what="the end of a start that cannot succeed")
        assert portal.process.returncode == 4
        assert "BINDERY_KEY_RING" in portal.log
        assert "Traceback" not in portal.log
        assert [path.name for path in home.iterdir()] == ["up.log"]
    finally:
        portal.stop()


def test_a_node_that_keeps_the_tables_is_waited_for_but_not_for_ever(
    database: dict[str, str], secrets: dict[str, str]
) -> None:
    url = Path(database["DATABASE_URL_FILE"]).read_text()
    portal = Portal(own_secrets=True, environment={**database, **secrets}, settings="tests.harness.short_served")
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [0x42494E44])
        try:
            portal.start(wait=False)
            wait_until(lambda: not portal.process.is_alive(), timeout=30, what="the end of a start that waits in vain")
            assert portal.process.returncode == 4
            assert "Another node is bringing the database up to date" in portal.log
            assert "for 1 s: a connection from 127.0.0.1 (process" in portal.log
        finally:
            portal.stop()
