"""compose.yaml and deploy/kubernetes.yaml by running their commands as they stand, in a clean namespace. No engine and
no cluster is here: tests/harness/engine.py stands in for them, and no image is built."""

import os
from pathlib import Path

import pytest

from tests.harness.namespace import run_inside
from tests.harness.need import need

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="overlays and namespaces need root"),
]
INSIDE = Path(__file__).parent / "inside_deploy.py"


@pytest.mark.parametrize(
    "which",
    [
        "compose_starts",
        "kubernetes",
        pytest.param("compose_issues", marks=pytest.mark.proof),
        pytest.param("compose_in_a_browser", marks=pytest.mark.proof),
        pytest.param("two_pods_in_a_browser", marks=pytest.mark.proof),
    ],
)
def test_the_commands_of_a_deployment_work_as_they_stand(which: str) -> None:
    need("pebble", "postgresql", "unshare", "ip", *(["chromium"] if "browser" in which else []))
    run_inside(INSIDE, names=["database", "portal.example.com"], arguments=["-k", which, "--durations=3"])
