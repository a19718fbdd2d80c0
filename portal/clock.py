"""The one clock. Everything that decides by time asks `now`; sockets, TLS and the queue stay on real time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings


def now() -> datetime:
    """The current moment, aware, in UTC; moved by an offset only where the test settings name an offset file."""
    return datetime.now(UTC) + _offset()


def _offset() -> timedelta:
    file: Path | None = getattr(settings, "TEST_CLOCK_FILE", None)
    if file is None or not file.exists():
        return timedelta(0)
    return timedelta(seconds=float(file.read_text() or 0))
