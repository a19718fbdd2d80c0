"""The portal on PostgreSQL, with serving and working on two nodes: secrets given from outside, nothing made on disk."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from certs.domain.envelope import KeyRing
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import wait_until
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


def test_a_web_node_and_a_worker_node_issue_and_serve(database: dict[str, str], secrets: dict[str, str]) -> None:
    given = {**database, **secrets}
    with (
        Portal(own_secrets=True, environment={**given, "BINDERY_NODE": "web"}, arguments=["--role", "web"]) as web,
        Portal(
            own_secrets=True, environment={**given, "BINDERY_NODE": "worker"}, arguments=["--role", "worker"]
        ) as worker,
        Pebble(http_port=web.http_port) as pebble,
    ):
        made = sorted(path.name for path in [*web.home.iterdir(), *worker.home.iterdir()])
        assert not [name for name in made if "secret" in name or "keyring" in name or "sqlite" in name]
        assert web.setup_link()

        issued = web.manage(
            "issue", NAME, "--directory", pebble.directory_url, "--ca-bundle", str(pebble.ca_bundle_file),
            "--allow-private-ca", "--accept-terms", "--email", "alice@example.com", "--bind", "--json", check=False,
        )  # fmt: skip
        assert issued.returncode in {0, 3}, issued.stdout + issued.stderr
        wait_until(
            lambda: _serves(web, pebble), timeout=20, what="the certificate on the web node, issued by the worker node"
        )
        assert pebble.issued() == 1
        assert json.loads(web.get("/readyz").text)["status"] == "ok"


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


def _serves(web: Portal, pebble: Pebble) -> bool:
    try:
        served(web.https_port, NAME, roots_pem=pebble.root_pem())
    except OSError:  # ssl.SSLError is one: the placeholder still answers
        return False
    return True
