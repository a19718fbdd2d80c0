"""What the supervisor does for alarms: it notices a dead worker and an overdue sweep, since the worker cannot, and sees
to it that what waits is sent."""

import os
import signal
import time
from contextlib import suppress

from django.conf import settings

from certs.services.alarm_delivery import deliveries_due
from certs.services.alarm_watch import portal_failing, portal_watch
from portal.server.child import ForkedProcess

POSTMAN_SECONDS = 150.0  # longer than any delivery lasts


class Alarming:
    """Call `step` now and then. A trouble counts once it has been seen for ALARM_AFTER_SECONDS without a break, so that
    neither a start nor a restart raises an alarm."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._postman: ForkedProcess | None = None
        self._sent_out = 0.0

    def step(self) -> None:
        self._watch()
        self._deliver()

    def _watch(self) -> None:
        failing, now = portal_failing(), time.monotonic()
        self._since = {found.code: self._since.get(found.code, now) for found in failing}
        standing = {code for code, since in self._since.items() if now - since >= settings.ALARM_AFTER_SECONDS}
        portal_watch(failing, standing)

    def _deliver(self) -> None:
        if self._postman is not None and self._postman.poll() is None:
            if time.monotonic() - self._sent_out > POSTMAN_SECONDS:
                with suppress(ProcessLookupError):
                    os.killpg(self._postman.pid, signal.SIGKILL)
            return
        if deliveries_due():
            self._postman, self._sent_out = (
                ForkedProcess("alarms", "portal.server.postman", (), {}, ()),
                time.monotonic(),
            )
