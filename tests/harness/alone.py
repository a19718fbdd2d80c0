"""Tests marked `alone` measure time under load: while one runs, no other test of the run does."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness import run


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Whoever wants to be alone holds the gate while waiting, so that nobody else starts meanwhile."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    with (run.directory() / "gate.lock").open("w") as gate, (run.directory() / "running.lock").open("w") as running:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(running, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield
