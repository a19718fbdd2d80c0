"""What the supervisor of each node does for the export: it sees that something changed, and sends for the exporter."""

import os
import signal
import time
from contextlib import suppress

from django.conf import settings

from certs.services.export import export_signature
from portal.server.child import ForkedProcess

LONGEST = 600.0  # seconds of one run


class Exporting:
    """Call `step` now and then. Without a change the files are looked at again every EXPORT_AGAIN_SECONDS: what could
    not be written may be possible by now, and what somebody has removed comes back."""

    def __init__(self) -> None:
        self._done = ""
        self._begun = 0.0
        self._exporter: ForkedProcess | None = None

    def step(self) -> None:
        elapsed = time.monotonic() - self._begun
        if self._exporter is not None and self._exporter.poll() is None:
            if elapsed > LONGEST:
                with suppress(ProcessLookupError):
                    os.killpg(self._exporter.pid, signal.SIGKILL)
            return
        wanted = export_signature()
        if wanted and (wanted != self._done or elapsed > settings.EXPORT_AGAIN_SECONDS):
            self._done, self._begun = wanted, time.monotonic()
            self._exporter = ForkedProcess("export", "portal.server.exporter", (), {}, ())
