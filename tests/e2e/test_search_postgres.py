"""The search on a PostgreSQL that sorts text as people do: there a range of names is not one of bytes by itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from certs.domain.envelope import KeyRing
from tests.harness.need import need
from tests.harness.portal import Portal
from tests.harness.postgres import Postgres

pytestmark = pytest.mark.e2e

COMPARE = """
from tests.harness import store
result = [store.compare_many(seed=few, rounds=12, few=few) for few in (10_000, 12, 0)]
"""


BARE = """
from certs.services.search_index import substring_index
from tests.harness import store
result = [substring_index(), store.compare_many(seed=1, rounds=5)]
"""


def run(place: Path, url: str, code: str) -> Any:
    """In a new portal on that database."""
    secrets = {"BINDERY_SECRET_KEY": "x" * 50, "BINDERY_KEY_RING": KeyRing("test", {"test": b"0" * 32}).to_json()}
    portal = Portal(home=place, environment={"DATABASE_URL": url, **secrets})
    portal.manage("migrate", "--verbosity", "0")
    try:
        return portal.run(code)
    finally:
        portal._close_shell()


@pytest.fixture
def server() -> Iterator[Postgres]:
    need("postgresql")
    with Postgres() as running:
        yield running


def test_the_search_finds_what_reading_every_row_would_find(server: Postgres, tmp_path: Path) -> None:
    with psycopg.connect(server.url, autocommit=True) as database:
        database.execute(
            "CREATE DATABASE lists TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'"
        )
    assert min(run(tmp_path, server.url.replace("/postgres", "/lists"), COMPARE)) > 0


@pytest.mark.proof
def test_where_the_extension_is_refused_all_names_are_read(server: Postgres, tmp_path: Path) -> None:
    with psycopg.connect(server.url, autocommit=True) as database:
        database.execute("CREATE ROLE plain LOGIN PASSWORD 'only-for-this-test'")
        database.execute("GRANT CREATE ON SCHEMA public TO plain")
    is_indexed, found = run(tmp_path, server.url.replace("bindery:", "plain:"), BARE)
    assert not is_indexed
    assert found > 0
