"""No request, whatever it holds, makes the API fail, and every answer fits its OpenAPI document."""

import pytest

from tests.e2e.api_fuzz import ENVIRONMENT, fuzz
from tests.harness.portal import Portal

pytestmark = pytest.mark.e2e


def test_every_operation_answers_as_its_document_says() -> None:
    with Portal(environment=ENVIRONMENT) as portal:
        found = fuzz(portal)
        found.run_quickly()
        assert len(list(found.operations())) > 60
        assert found.asked >= 60
        assert {200, 400} <= found.statuses.keys()


@pytest.mark.proof
def test_many_thousand_requests_find_no_failure() -> None:
    with Portal(environment=ENVIRONMENT) as portal:
        found = fuzz(portal)
        found.run(examples=40, seed=1)
        print(f"\nschemathesis: {found.asked} requests, answers {dict(sorted(found.statuses.items()))}")
        assert found.asked > 4000
