"""`make upgrade` of the service, on a copy of this machine that systemd runs: what works, and each way to fail."""

from pathlib import Path

import pytest

from tests.e2e.test_service import systemd_needed
from tests.harness.namespace import run_inside

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

MODULE = Path(__file__).parent / "inside_upgrade_service.py"


def test_the_service_is_upgraded_or_goes_on_as_it_was() -> None:
    systemd_needed()
    run_inside(MODULE, names=["portal.test"])
