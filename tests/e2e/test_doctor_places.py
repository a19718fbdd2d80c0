"""The doctor where the portal has the real ports, with a real CA, name server and web server around it."""

from pathlib import Path

import pytest

from tests.harness.namespace import run_inside
from tests.harness.need import need

pytestmark = [pytest.mark.e2e, pytest.mark.proof]


def test_all_is_green_until_somebody_else_takes_the_ports() -> None:
    need("pebble", "nginx", "named", "unshare", "ip")
    run_inside(Path(__file__).parent / "inside_doctor.py", names=["portal.test"])
