"""Caddy's ACME server, as pebble in test_many_pebble.py: orders and renewals through the real queue, each once."""

from pathlib import Path

import pytest

from tests.harness.namespace import run_inside
from tests.harness.need import need
from tests.harness.rounds import rounds

pytestmark = pytest.mark.e2e
SHORT, LONG = 12, 200


def names_of(count: int) -> list[str]:
    """Each is issued, and renewed."""
    return [f"www.many{number}.test" for number in range(count // 2)]


@rounds("count", SHORT, LONG)
def test_all_are_issued_once_and_renewed_once(count: int) -> None:
    need("caddy", "unshare", "ip")
    long = ["-m", "proof"] if count == LONG else []
    run_inside(
        Path(__file__).parent / "inside_caddy_many.py", names=names_of(count), arguments=["-rP", *long], timeout=300
    )
