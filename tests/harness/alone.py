"""Tests marked `alone` measure time under load: while one runs, no other test of the run does."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _file(name: str) -> Path:
    """The same for all workers of one run of pytest-xdist."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "single")
    return Path(tempfile.gettempdir()) / f"bindery-{run}-{name}.lock"


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Whoever wants to be alone holds the gate while waiting, so that nobody else starts meanwhile."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    with _file("gate").open("w") as gate, _file("running").open("w") as running:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(running, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield


def forget() -> None:
    """At the end of the run."""
    for name in ("gate", "running"):
        _file(name).unlink(missing_ok=True)
