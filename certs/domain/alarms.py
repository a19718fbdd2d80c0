"""Alarms: what is worth telling, how urgent it is, and the message that people read.

A renewal that fails is told at the first failure, again when a sixth and when a twelfth of the lifetime L is left, and
when it has expired. What nobody renews by itself is told of 21, 14, 7, 3 and 1 days before. A renewal that is simply
overdue counts as failing, whatever the reason: a quarter of its time window has passed and it has not happened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from hashlib import sha256

from certs.domain.renewal import renew_before

SHOWN_IN_FULL = 20
SUBJECT_LONGEST = 200  # characters
_DAY = timedelta(days=1)


class Level(IntEnum):
    """The rungs of urgency. An alarm goes up, never down, until it is over."""

    WELL = 0  # it is over
    NOTICE = 1
    REMINDER = 2
    WARNING = 3
    PRESSING = 4
    URGENT = 5
    OUTAGE = 6  # something does not work now, or must count as not working

    @property
    def words(self) -> str:
        return _WORDS[self]


_WORDS = {
    Level.WELL: "Well again",
    Level.NOTICE: "Notice",
    Level.REMINDER: "Notice",
    Level.WARNING: "Warning",
    Level.PRESSING: "Warning",
    Level.URGENT: "Urgent",
    Level.OUTAGE: "Outage",
}
# The nearer the end, the higher; the first that fits.
_LEFT = ((12, Level.URGENT), (6, Level.WARNING))  # L / number
_REMINDERS = ((1, Level.URGENT), (3, Level.PRESSING), (7, Level.WARNING), (14, Level.REMINDER), (21, Level.NOTICE))
# What only a person with a passphrase can do is told of earlier.
_BY_HAND = ((1, Level.URGENT), (3, Level.PRESSING), (7, Level.WARNING), (14, Level.REMINDER), (30, Level.NOTICE))
BY_HAND_BEFORE = _BY_HAND[-1][0] * _DAY
# Of what is signed again by itself at half of its life.
_LAPSING = ((8, Level.URGENT), (4, Level.PRESSING), (3, Level.WARNING))  # L / number


@dataclass(frozen=True)
class Trouble:
    """What people must know. `key` names it, so that it is told once; `path` is the page to look at, without host.

    `subject` reads "what: what is wrong with it", made by `subject_make`.
    """

    key: str
    level: Level
    subject: str
    happened: str
    tried: str = ""
    next_try_at: datetime | None = None
    advice: str = ""
    path: str = ""


@dataclass(frozen=True)
class Item:
    """One alarm in a message; `url` leads to the page that tells more."""

    id: str
    level: Level
    subject: str
    happened: str
    raised_at: datetime
    tried: str = ""
    next_try_at: datetime | None = None
    advice: str = ""
    url: str = ""


@dataclass(frozen=True)
class Message:
    """What one channel carries at once, the most urgent first. `portal` and `url` are absolute addresses of ours.

    `id` is the same when the same alarms are sent again, so that a receiver can drop what it has.
    """

    id: str
    portal: str
    url: str
    at: datetime
    subject: str
    text: str
    level: Level
    items: tuple[Item, ...]


def subject_make(about: str, wrong: str) -> str:
    return f"{about}: {wrong}"


def subject_well(subject: str) -> str:
    """The subject of "it is over", from that of the alarm."""
    return subject_make(subject.rpartition(": ")[0] or subject, "well again")


def renewal_level(
    *,
    now: datetime,
    not_before: datetime | None,
    not_after: datetime | None,
    renew_before_days: int,
    failing: bool,
) -> Level | None:
    """Of a certificate that renews itself; None where all is well. Without dates nothing was issued yet."""
    if not_before is None or not_after is None:
        return Level.NOTICE if failing else None
    if now >= not_after:
        return Level.OUTAGE
    lifetime, left = not_after - not_before, not_after - now
    window = renew_before(lifetime, renew_before_days)
    if not failing and left > window * 3 / 4:
        return None
    reached = next((level for part, level in _LEFT if left <= lifetime / part), None)
    return reached or (Level.NOTICE if failing else None)


def reminder_level(*, now: datetime, not_before: datetime, not_after: datetime) -> Level | None:
    """Of a certificate that nobody renews by itself. What begins with less than that is not told at its beginning."""
    return _nearing(_REMINDERS, now, not_before, not_after)


def by_hand_level(*, now: datetime, not_before: datetime, not_after: datetime) -> Level | None:
    """The same of what an offline CA has signed."""
    return _nearing(_BY_HAND, now, not_before, not_after)


def lapse_level(*, now: datetime, not_before: datetime, not_after: datetime) -> Level | None:
    """Of what is signed again at half of its life: None while that is as it should be."""
    if now >= not_after:
        return Level.OUTAGE
    left, life = not_after - now, not_after - not_before
    return next((level for part, level in _LAPSING if left <= life / part), None)


def _nearing(
    steps: Sequence[tuple[int, Level]], now: datetime, not_before: datetime, not_after: datetime
) -> Level | None:
    if now >= not_after:
        return Level.OUTAGE
    left, half = not_after - now, (not_after - not_before) / 2
    return next((level for days, level in steps if left <= min(days * _DAY, half)), None)


def message_make(items: Sequence[Item], *, portal: str, url: str, at: datetime, note: str = "") -> Message:
    """One message of all items; of a hundred, some stand in full and the others are counted. `note` is what is to be
    known of the sender."""
    found = tuple(sorted(items, key=lambda item: (-item.level, item.raised_at, item.subject)))
    digest = sha256("\n".join(sorted(item.id for item in found)).encode()).hexdigest()[:32]
    level = max((item.level for item in found), default=Level.NOTICE)
    return Message(
        digest, portal, url, at, _subject(found, level, portal), _text(found, portal, url, note), level, found
    )


def moment_shown(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def span_shown(span: timedelta) -> str:
    """A length of time as people say it, rounded down: "3 days", "26 hours", "5 minutes"."""
    for unit, words in ((_DAY, "days"), (timedelta(hours=1), "hours"), (timedelta(minutes=1), "minutes")):
        if span >= 2 * unit:
            return f"{span // unit} {words}"
    return "a minute"


def sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text.endswith((".", "!", "?", ".”", '."')) else f"{text}."


def _subject(items: Sequence[Item], level: Level, portal: str) -> str:
    host = portal.partition("://")[2]
    wrong = [item for item in items if item.level > Level.WELL]
    well = len(items) - len(wrong)
    if len(items) == 1 and not wrong:
        told = items[0].subject
    elif not wrong:
        told = f"{well} alarms are over"
    else:
        told = f"{level.words}: {wrong[0].subject}"
        told += f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        told += f"; {well} over" if well else ""
    line = " ".join(f"[Bindery {host}] {told}".split())
    return line if len(line) <= SUBJECT_LONGEST else f"{line[: SUBJECT_LONGEST - 1]}…"


def _text(items: Sequence[Item], portal: str, url: str, note: str) -> str:
    shown, more = items[:SHOWN_IN_FULL], items[SHOWN_IN_FULL:]
    parts = [_item(item) for item in shown]
    if more:
        counted = ", ".join(f"{words.lower()}: {count}" for words, count in _counts(more))
        parts.append(f"And {len(more)} more ({counted}). All of them: {url}")
    sender = f"Sent by Bindery at {portal}\nAll alarms: {url}"
    parts.append(f"{note}\n{sender}" if note else sender)
    return "\n\n".join(parts) + "\n"


def _counts(items: Sequence[Item]) -> list[tuple[str, int]]:
    found: dict[str, int] = {}
    for item in items:
        found[item.level.words] = found.get(item.level.words, 0) + 1
    return list(found.items())


def _item(item: Item) -> str:
    lines = [f"{item.level.words.upper()}: {item.subject}", f"What happened: {item.happened}"]
    if item.tried:
        lines.append(f"What was tried: {item.tried}")
    if item.level > Level.WELL:
        when = moment_shown(item.next_try_at) if item.next_try_at else "none by itself"
        lines.append(f"Next try: {when}")
    if item.advice:
        lines.append(f"What to do: {item.advice}")
    if item.url:
        lines.append(item.url)
    return "\n".join(lines)
