"""What the supervisor of each node does for a diagnosis: it says that it lives, and has the looks made."""

import os
import signal
import time
from contextlib import suppress

from certs.services.node_diagnoses import node_is_here
from portal.server.child import ForkedProcess

LONGEST = 60.0  # seconds of one run


class Diagnosing:
    """Call `step` often: a person waits before a page."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._begun = 0.0
        self._diagnostician: ForkedProcess | None = None

    def step(self) -> None:
        if self._diagnostician is not None and self._diagnostician.poll() is None:
            if time.monotonic() - self._begun > LONGEST:
                with suppress(ProcessLookupError):
                    os.killpg(self._diagnostician.pid, signal.SIGKILL)
            return
        if node_is_here(self._role):
            self._begun = time.monotonic()
            self._diagnostician = ForkedProcess("diagnosis", "portal.server.diagnostician", (), {}, ())
