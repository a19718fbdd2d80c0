"""The one clock. What decides by time asks `now`; leases, sockets, TLS, the queue and a CA's Retry-After ask `real`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings


def now() -> datetime:
    """The current moment, aware, in UTC; moved by an offset only where the test settings name an offset file."""
    return real() + _offset()


def real() -> datetime:
    """The moment on the machine's own clock, aware, in UTC: for what a moved test clock must not strand."""
    return datetime.now(UTC)


def _offset() -> timedelta:
    file: Path | None = getattr(settings, "TEST_CLOCK_FILE", None)
    if file is None or not file.exists():
        return timedelta(0)
    return timedelta(seconds=float(file.read_text() or 0))
