"""No request, whatever it holds, makes the API fail, and every answer fits its OpenAPI document."""

from pathlib import Path
from types import ModuleType

import pytest

from certs.domain.envelope import KeyRing
from tests.harness.need import need
from tests.harness.portal import Portal
from tests.harness.postgres import Postgres

pytestmark = pytest.mark.e2e
EXAMPLES_ON_POSTGRESQL = 10


@pytest.fixture
def api_fuzz() -> ModuleType:
    """Imported where it is used: the library takes a second of each process."""
    from tests.e2e import api_fuzz

    return api_fuzz


def test_every_operation_answers_as_its_document_says(api_fuzz: ModuleType) -> None:
    with Portal(environment=api_fuzz.ENVIRONMENT) as portal:
        found = api_fuzz.fuzz(portal)
        found.run_quickly()
        assert len(list(found.operations())) > 110
        assert found.asked > len(list(found.operations()))
        assert len(found.done) >= 100, sorted(found.statuses.items())


@pytest.mark.proof
def test_many_thousand_requests_find_no_failure(api_fuzz: ModuleType) -> None:
    with Portal(environment=api_fuzz.ENVIRONMENT) as portal:
        found = api_fuzz.fuzz(portal)
        found.run(examples=40, seed=1)
        print(f"\nschemathesis: {found.asked} requests, answers {dict(sorted(found.statuses.items()))}")
        assert found.asked > 8000


@pytest.mark.proof
def test_postgresql_takes_the_same_requests(api_fuzz: ModuleType, tmp_path: Path) -> None:
    """It refuses what SQLite stores: NUL in a text, half surrogates, numbers that do not fit."""
    need("postgresql")
    secrets = {"BINDERY_SECRET_KEY": "x" * 50, "BINDERY_KEY_RING": KeyRing("test", {"test": b"0" * 32}).to_json()}
    with Postgres() as server:
        portal = Portal(home=tmp_path, environment={**api_fuzz.ENVIRONMENT, **secrets, "DATABASE_URL": server.url})
        portal.manage("migrate", "--verbosity", "0")
        portal.manage("createcachetable", "--verbosity", "0")
        with portal:
            found = api_fuzz.fuzz(portal)
            found.run(examples=EXAMPLES_ON_POSTGRESQL, seed=2)
            print(f"\nPostgreSQL: {found.asked} requests, answers {dict(sorted(found.statuses.items()))}")
