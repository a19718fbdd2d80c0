"""Messages that the channels are given in their tests."""

from datetime import UTC, datetime, timedelta

from certs.domain.alarms import Item, Level, Message, message_make

NOW = datetime(2026, 11, 21, 13, 0, tzinfo=UTC)
PORTAL = "https://portal.example.com"


def item(number: int = 1, level: Level = Level.WARNING, subject: str = "") -> Item:
    return Item(
        id=f"alarm-{number}",
        level=level,
        subject=subject or f"bücher{number}.example: its renewal fails, 14 days left",
        happened="Let's Encrypt refused: <DNS problem>.",
        raised_at=NOW - timedelta(minutes=number),
        tried="Let's Encrypt by HTTP, since 21 November 2026, 12:00 UTC.",
        next_try_at=NOW + timedelta(hours=1),
        advice="Look at the name's A record.",
        url=f"{PORTAL}/activity/{number}/",
    )


def message(*items: Item) -> Message:
    return message_make(items or [item()], portal=PORTAL, url=f"{PORTAL}/activity/alarms/", at=NOW)
