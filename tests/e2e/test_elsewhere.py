"""Names that lead to other machines: the recipes of the page in real servers there, up to a served certificate."""

from pathlib import Path

import pytest

from tests.harness.namespace import run_inside
from tests.harness.need import need

pytestmark = pytest.mark.e2e


def test_names_on_other_machines_are_proven_over_the_recipes_of_the_page() -> None:
    need("pebble", "chromium", "unshare", "ip", "named", "nginx", "apache2", "haproxy")
    run_inside(Path(__file__).parent / "inside_elsewhere.py", names=["one.test"])
