"""Which portal it is, on a real PostgreSQL: nodes are one portal, a restored dump is another."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from certs.domain.envelope import KeyRing
from certs.services.identity import ELSEWHERE, OLDER
from tests.harness import counterparts
from tests.harness.need import need
from tests.harness.portal import Portal
from tests.harness.postgres import Postgres

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

START = "from certs.services.identity import identity_settle\nresult = identity_settle()"
LOOK = "from certs.services.asking import asking_held\nresult = asking_held()"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    need("postgresql")
    with Postgres() as running:
        yield running


def node(place: Path, url: str) -> Portal:
    place.mkdir(exist_ok=True)
    secrets = {"BINDERY_SECRET_KEY": "x" * 50, "BINDERY_KEY_RING": KeyRing("test", {"test": b"0" * 32}).to_json()}
    return Portal(home=place, environment={"DATABASE_URL": url, **secrets})


def test_nodes_are_one_portal_and_a_dump_elsewhere_is_another(server: Postgres, tmp_path: Path) -> None:
    first, second = node(tmp_path / "first", server.url), node(tmp_path / "second", server.url)
    assert first.manage("migrate", "--verbosity", "0").stdout == ""  # nothing to save yet
    assert [first.run(START), second.run(START), first.run(START)] == ["", "", ""]
    (tmp_path / "second" / "identity").unlink()  # a container made anew, without a volume
    assert second.run(START) == ""

    with psycopg.connect(server.url, autocommit=True) as database:
        database.execute("CREATE ROLE app LOGIN PASSWORD 'only-for-this-test' IN ROLE bindery")
        database.execute("CREATE DATABASE elsewhere")
    dumped = subprocess.run(
        [counterparts.find("postgresql").parent / "pg_dump", server.url], capture_output=True, check=True
    )
    url = server.url.replace("/postgres", "/elsewhere")
    subprocess.run(
        [counterparts.find("postgresql").parent / "psql", "--quiet", url],
        input=dumped.stdout, check=True, capture_output=True,
    )  # fmt: skip
    restored = node(tmp_path / "third", url)
    assert restored.run(LOOK) == ELSEWHERE  # a command, before anything was started
    assert restored.run(START) == ELSEWHERE
    assert "from now on" in restored.manage("take_over").stdout
    assert restored.run(START) == ""
    assert first.run(START) == ""

    with psycopg.connect(server.url, autocommit=True) as database:
        database.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    unprivileged = node(tmp_path / "second", server.url.replace("bindery:", "app:"))
    assert unprivileged.run(LOOK) == ""  # by the oid alone

    with psycopg.connect(server.url, autocommit=True) as database:
        database.execute("UPDATE certs_portalidentity SET count = 1")  # an older dump, put back into this database
    assert first.run(START) == OLDER
    assert second.run(LOOK) == OLDER  # every node keeps to it
    assert "pg_dump" in first.manage("migrate", "certs", "0003_engine").stdout
    for each in (first, second, restored, unprivileged):
        each._close_shell()
