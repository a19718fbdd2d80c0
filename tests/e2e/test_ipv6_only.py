"""A machine that has IPv6 only, not even 127.0.0.1; and one where IPv6 is switched off."""

from pathlib import Path

import pytest

from tests.harness.namespace import run_inside
from tests.harness.need import need

pytestmark = pytest.mark.e2e


def test_a_certificate_where_there_is_no_ipv4() -> None:
    need("pebble", "chromium", "unshare", "ip")
    run_inside(Path(__file__).parent / "inside_ipv6_only.py", names=["portal.test"], ipv4=False)


@pytest.mark.proof
def test_a_certificate_on_another_port_where_ipv6_is_switched_off() -> None:
    need("pebble", "chromium", "unshare", "ip")
    run_inside(Path(__file__).parent / "inside_ipv4_only.py", names=["portal.test"])
