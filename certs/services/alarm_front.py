"""Alarms of what the front serves at the public URL: a renewal that never got there, and an end that comes near.

Worked out from the last look that saw something (`front_check.py`); what cannot be looked at brings and ends nothing.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.urls import reverse

from certs.domain.alarms import Level, Trouble, moment_shown, reminder_level, span_shown, subject_make
from certs.services.front import front_is_on
from certs.services.front_check import front_seen, front_version

KIND = "front"
# From an export to a reload of the front, which somebody or something has to do.
TAKEN_OVER = timedelta(hours=1)


def front_troubles(moment: datetime) -> Iterator[Trouble]:
    seen = front_seen() if front_is_on() else None
    if seen is None or seen.not_before is None or seen.not_after is None:
        return
    version = front_version(seen)
    newer = version.certificate.current if version else None
    level = reminder_level(now=moment, not_before=seen.not_before, not_after=seen.not_after)
    if version and newer and newer.pk != version.pk and newer.created_at < moment - TAKEN_OVER:
        yield Trouble(
            KIND,
            max(level or Level.WARNING, Level.WARNING),
            subject_make(seen.host, "the front serves an earlier certificate"),
            f"{version.certificate.name} was renewed on {moment_shown(newer.created_at)}; {seen.origin} still serves "
            f"what ends {moment_shown(seen.not_after)}.",
            advice="Let the front read the exported files again: reload it whenever they change.",
            **_rest(moment),
        )
    elif level is not None and not (version and newer):
        left = seen.not_after - moment
        when = f"in {span_shown(left)}" if left > timedelta(0) else "now expired"
        yield Trouble(
            KIND,
            level,
            subject_make(seen.host, "the front's certificate ends"),
            f"{seen.origin} serves a certificate that ends {moment_shown(seen.not_after)} ({when}). It is the front's "
            "own: the portal does not renew it.",
            advice="Renew it where the front gets it from, or let the portal get one and export it.",
            **_rest(moment),
        )


def _rest(moment: datetime) -> dict[str, Any]:
    return {
        "tried": "The public URL is looked at again at every check.",
        "next_try_at": moment + timedelta(minutes=settings.TICK_MINUTES),
        "path": reverse("front"),
    }
