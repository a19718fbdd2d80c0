"""Force SSL and HSTS as browsers live them: a private network where the portal has the real ports 80 and 443."""

from pathlib import Path

import pytest

from tests.harness.namespace import run_inside
from tests.harness.need import need

pytestmark = pytest.mark.e2e


def test_force_ssl_and_hsts_on_the_real_ports() -> None:
    need("pebble", "chromium", "unshare", "ip")
    run_inside(Path(__file__).parent / "inside_real_ports.py", names=["portal.test"])
