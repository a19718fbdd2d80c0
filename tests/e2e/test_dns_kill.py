"""kill -9 around every change of the zone: the same order completes, and no TXT record stays behind."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.e2e.dns_kill_points import POINTS
from tests.harness.bind import Bind
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.ports import free_port
from tests.harness.prepared import database_copy

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.e2e
def test_a_worker_killed_around_any_change_of_the_zone_leaves_nothing_there() -> None:
    need("pebble", "named")
    with (
        tempfile.TemporaryDirectory(prefix="bindery-kill-") as home,
        Bind(zones=("one.test",)) as bind,
        Pebble(http_port=free_port(), dns=bind, nonce_reject=0, retry_after=0) as ca,
    ):
        database_copy(Path(home) / "bindery.sqlite3")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.e2e.dns_kill_points",
                ca.directory_url,
                str(ca.ca_bundle_file),
                str(bind.port),
            ],
            cwd=ROOT,
            env={**os.environ, "BINDERY_HOME": home},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        results = [json.loads(line) for line in done.stdout.splitlines()]
        left = {name for number in range(len(POINTS)) if bind.values(name := f"_acme-challenge.kill{number}.one.test")}
        issued = ca.issued()

    wrong = [
        result
        for result in results
        if (result["died"], result["state"], result["orders"], result["versions"], result["challenges"])
        != (True, "done", 1, 1, 0)
    ]
    assert not wrong
    assert len(results) == len(POINTS) == issued
    assert not left
