"""`make install` on a copy of this machine that systemd runs: as operators have it, up to a served certificate."""

from pathlib import Path

import pytest

from tests.harness import counterparts, systemd
from tests.harness.namespace import run_inside
from tests.harness.need import need

pytestmark = pytest.mark.e2e

MODULE = Path(__file__).parent / "inside_service.py"


def systemd_needed() -> None:
    """Skip naming what is missing; the packages of the service are installed afterwards."""
    need("unshare", "ip", "systemd")
    if reason := systemd.refusal():
        if counterparts.is_demanded():
            pytest.fail(f"left out: systemd: {reason}")
        pytest.skip(f"left out: systemd: {reason}")
    systemd.packages_install()


def test_the_service_from_its_installation_to_its_end() -> None:
    need("pebble", "chromium")
    systemd_needed()
    run_inside(MODULE, names=["portal.test"])


@pytest.mark.proof
def test_what_else_happens_to_it() -> None:
    """Data of `make run` taken along, ports that are taken, a second installation."""
    systemd_needed()
    run_inside(MODULE, names=["portal.test"], arguments=["-m", "proof"])
