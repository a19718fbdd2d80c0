"""`manage.py alarms`: what is open, as lines or as JSON."""

from argparse import ArgumentParser
from typing import Any

from certs.domain.alarms import Level, moment_shown
from certs.management.base import BinderyCommand, json_argument
from certs.management.reporting import ACTOR
from certs.models import Alarm
from certs.services.alarm_delivery import alarms_deliver
from certs.services.alarms import alarms_see, alarms_standing

SOME = 3  # exit code where alarms are open


class Command(BinderyCommand):
    help = "List the alarms that are open, the most urgent first; exits with 3 when there are any."

    def add_arguments(self, parser: ArgumentParser) -> None:
        json_argument(parser)
        parser.add_argument("--seen", action="store_true", help="mark them as seen; they stay open until they are over")
        parser.add_argument("--deliver", action="store_true", help="send now what waits for the channels")

    def run(self, *args: Any, **options: Any) -> int:
        if options["deliver"]:
            sent = alarms_deliver()
            self.stderr.write(f"{sent} message{'s' * (sent != 1)} sent.")
        rows = list(alarms_standing())
        if options["seen"]:
            alarms_see(rows, actor=ACTOR)
        if options["json"]:
            self.print_json([_document(row) for row in rows])
        else:
            self._print(rows)
        return SOME if rows else 0

    def _print(self, rows: list[Alarm]) -> None:
        for row in rows:
            upcoming = f"next try {moment_shown(row.next_try_at)}" if row.next_try_at else "no further try by itself"
            told = " ".join(part for part in (row.happened, row.tried, row.advice) if part)
            self.stdout.write(f"{Level(row.level).words.upper()}: {row.subject} ({upcoming})\n  {told}")
        if not rows:
            self.stdout.write("No alarm is open.")


def _document(row: Alarm) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "key": row.key,
        "level": row.level,
        "severity": Level(row.level).words.lower(),
        "subject": row.subject,
        "happened": row.happened,
        "tried": row.tried,
        "next_try_at": row.next_try_at.isoformat() if row.next_try_at else None,
        "advice": row.advice,
        "raised_at": row.raised_at.isoformat(),
        "seen_at": row.seen_at.isoformat() if row.seen_at else None,
    }
