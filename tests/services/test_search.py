import pytest

from tests.harness import store

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("few", [10_000, 12, 0])
def test_the_search_finds_what_reading_every_row_would_find(few: int) -> None:
    assert store.compare_many(seed=few, rounds=8, few=few) > 20
