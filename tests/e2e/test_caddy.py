"""A second ACME server, Caddy's, in a private network with the real ports 80 and 443."""

from pathlib import Path

import pytest

from tests.harness.namespace import run_inside
from tests.harness.need import need

pytestmark = pytest.mark.e2e


def test_certificates_of_twelve_hours_from_another_ca_on_the_real_ports() -> None:
    need("caddy", "chromium", "unshare", "ip")
    run_inside(Path(__file__).parent / "inside_caddy.py", names=["portal.test"])
