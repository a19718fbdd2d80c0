"""Each command that is shown where port 80 is not the portal's, run as it stands on a copy of this machine."""

from pathlib import Path

import pytest

from tests.e2e.test_service import systemd_needed
from tests.harness.namespace import run_inside
from tests.harness.need import need

pytestmark = [pytest.mark.e2e, pytest.mark.proof]


def test_the_commands_bring_port_80_to_the_portal() -> None:
    need("sudo", "iptables")
    systemd_needed()
    run_inside(Path(__file__).parent / "inside_port_80.py", names=["portal.test"])
