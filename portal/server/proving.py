"""What the supervisor of a node with a listener does for the others: it has its own listener asked what it serves."""

import os
import signal
import time
from contextlib import suppress

from certs.services.portal_state import generation_wanted
from certs.services.proofs import proofs_are_open
from portal.server.child import ForkedProcess

LONGEST = 120.0  # seconds of one run
_PAUSES = (1.0, 10.0)  # after a look that did not show what is bound: at first, and at last


class Proving:
    """Call `step` often: an order waits for the proof of each node."""

    def __init__(self) -> None:
        self._done = -1  # the generation of the last run
        self._begun = self._next = 0.0
        self._pause = _PAUSES[0]
        self._prover: ForkedProcess | None = None

    def step(self) -> None:
        now = time.monotonic()
        if self._prover is not None and self._prover.poll() is None:
            if now - self._begun > LONGEST:
                with suppress(ProcessLookupError):
                    os.killpg(self._prover.pid, signal.SIGKILL)
            return
        wanted = generation_wanted()
        if wanted != self._done:
            self._pause = _PAUSES[0]
        elif now < self._next:
            return
        elif proofs_are_open():
            self._pause = min(2 * self._pause, _PAUSES[1])
        else:
            self._next = now + _PAUSES[1]
            return
        self._done, self._begun, self._next = wanted, now, now + self._pause
        self._prover = ForkedProcess("proofs", "portal.server.prover", (), {}, ())
