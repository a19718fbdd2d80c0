"""kill -9 of the worker at every step of an order: the same order completes, and the CA issues exactly once."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.e2e.kill_points import POINTS, REHEARSALS
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.ports import free_port, wait_for_port
from tests.harness.prepared import database_copy

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.e2e
def test_a_worker_killed_at_any_step_costs_nothing_but_time() -> None:
    need("pebble")
    with (
        tempfile.TemporaryDirectory(prefix="bindery-kill-") as home,
        Answers(home) as answers,
        Pebble(http_port=answers.port, tls_port=free_port(), nonce_reject=0, retry_after=0) as ca,
        Pebble(http_port=answers.port, nonce_reject=0, retry_after=0, blocked=("example.test",)) as refusing,
    ):
        database_copy(Path(home) / "bindery.sqlite3")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.e2e.kill_points",
                *(word for each in (ca, refusing) for word in (each.directory_url, str(each.ca_bundle_file))),
            ],
            cwd=ROOT,
            env={**os.environ, "BINDERY_HOME": home, "BINDERY_PUBLIC_URL": "https://portal.test"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        results = [json.loads(line) for line in done.stdout.splitlines()]
        issued = ca.issued() - REHEARSALS + refusing.issued()

    wrong = [
        result
        for result in results
        if (result["died"], result["state"], result["orders"], result["versions"], result["challenges"])
        != (True, "done", 1, 1, 0)
    ]
    assert not wrong
    assert len(results) == len(POINTS)
    assert len({result["serial"] for result in results}) == len(POINTS)
    assert all(result["restarts"] == 0 for result in results)
    assert issued == len(POINTS)


class Answers:
    """The challenge responder as a process of its own, on the database in `home`."""

    def __init__(self, home: str) -> None:
        self._home = home
        self.port = free_port()

    def __enter__(self) -> "Answers":
        program = "from tests.e2e.answers import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, str(self.port)],
            cwd=ROOT,
            env={**os.environ, "BINDERY_HOME": self._home},
        )
        try:
            wait_for_port(self.port)
        except TimeoutError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
