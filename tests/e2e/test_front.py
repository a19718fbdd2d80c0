"""TLS terminated in front: Debian's nginx, Apache and HAProxy before the portal, as it shows their lines."""

from pathlib import Path

import pytest

from tests.harness.namespace import run_inside
from tests.harness.need import need

pytestmark = pytest.mark.e2e
INSIDE = Path(__file__).parent / "inside_front.py"


def _run(kind: str) -> None:
    need("pebble", "chromium", "unshare", "ip", "nginx", "apache2", "haproxy")
    run_inside(INSIDE, names=["portal.test"], arguments=["-k", kind])


def test_from_set_up_to_hsts_behind_nginx_and_the_rules_behind_all() -> None:
    _run("nginx")


@pytest.mark.proof
@pytest.mark.parametrize("kind", ["apache", "haproxy"])
def test_from_set_up_to_hsts_behind_the_others(kind: str) -> None:
    _run(kind)
