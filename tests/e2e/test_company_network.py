"""A company's network: out only by a proxy with a log-in that opens TLS, and no DNS but that of a resolver."""

from pathlib import Path

import pytest

from tests.harness.namespace import run_inside
from tests.harness.need import need

pytestmark = pytest.mark.e2e


def test_a_certificate_through_a_proxy_that_inspects_tls() -> None:
    need("pebble", "chromium", "named", "squid", "openssl", "unshare", "ip")
    run_inside(Path(__file__).parent / "inside_company_network.py", names=["portal.company.test"])
