"""Alarms on their way: what waits for a channel leaves as one message, outside any transaction.

At least once: each attempt is written before it is made, and what was sent is written after it. A process killed in
between sends again; the message has the same id then. A channel that fails backs off by itself, shows its trouble on
the pages, and never disturbs the sweep, an order or another channel.
"""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, islice

from django.db import transaction
from django.db.models import F, Q

from certs.channels.base import Channel as Sender
from certs.channels.base import Undelivered
from certs.domain.alarms import Item, Level, Message, message_make
from certs.domain.errors import BinderyError
from certs.domain.roles import Right
from certs.models import Alarm, AlarmDelivery, Channel, Order
from certs.services.access import Actor, needs
from certs.services.addresses import public_url
from certs.services.channels import channel_make
from certs.services.events import audit_record
from certs.services.identity import identity_held
from portal import clock, logs

log = logging.getLogger("bindery.alarms")

EVERY = timedelta(minutes=15)  # between two messages of a channel, unless something more urgent comes
GATHER = timedelta(minutes=2)  # how long a message waits for the outcome of orders that are under way
ATTEMPT = timedelta(minutes=3)  # longer than any attempt lasts: then its process was killed
_WAITS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 30, 60))
_LONGEST = timedelta(hours=6)  # however long a server wants to be left alone
_AT_ONCE = 500  # alarms of one message
_ANSWER = 2000  # characters kept of what a server said
_LANES = 8
ALARMS_PATH = "/activity/alarms/"


@dataclass(frozen=True)
class _Parcel:
    channel: Channel
    sender: Sender
    message: Message
    deliveries: list[int]


@dataclass(frozen=True)
class _Outcome:
    answer: str = ""
    error: BinderyError | None = None


def alarms_deliver() -> int:
    """Send what waits, side by side per channel; returns how many messages got through. Network, a minute at most.

    Of more channels than there are lanes the rest keep their turn: one that waited here could lose it to another
    process, which would send the same.
    """
    packed = (parcel for channel, waiting in _waiting() if (parcel := _pack(channel, waiting)))
    parcels = list(islice(packed, _LANES))
    if not parcels:
        return 0
    with ThreadPoolExecutor(_LANES, thread_name_prefix="alarms") as pool:
        outcomes = list(pool.map(_send, parcels))
    for parcel, outcome in zip(parcels, outcomes, strict=True):
        _record(parcel, outcome)
    return sum(outcome.error is None for outcome in outcomes)


def deliveries_due() -> bool:
    """Whether `alarms_deliver` would have something to send now."""
    return next(iter(_waiting()), None) is not None


def message_for(alarms: Iterable[Alarm]) -> Message:
    """Of alarms with the same key, the highest speaks for all."""
    highest: dict[str, Alarm] = {}
    for alarm in alarms:
        if alarm.key not in highest or highest[alarm.key].level < alarm.level:
            highest[alarm.key] = alarm
    portal = public_url()
    items = [_item(alarm, portal) for alarm in highest.values()]
    held = identity_held()
    note = f"{held} It is held until a person says which portal goes on." if held else ""
    return message_make(items, portal=portal, url=f"{portal}{ALARMS_PATH}", at=clock.now(), note=note)


def _waiting() -> Iterable[tuple[Channel, list[AlarmDelivery]]]:
    """Channels whose turn it is, with what waits for them."""
    now = clock.now()
    rows = AlarmDelivery.objects.filter(sent_at=None, channel__enabled=True)
    rows = rows.filter(Q(channel__next_attempt_at=None) | Q(channel__next_attempt_at__lte=now))
    unsent = rows.select_related("alarm", "channel").order_by("channel", "pk")
    for _, group in groupby(unsent, key=lambda row: row.channel_id):
        waiting = list(group)[:_AT_ONCE]
        if _may_go(waiting[0].channel, waiting, now):
            yield waiting[0].channel, waiting


def _may_go(channel: Channel, waiting: Sequence[AlarmDelivery], now: datetime) -> bool:
    level = max(row.alarm.level for row in waiting)
    last = channel.last_sent_at
    if last is not None and last <= now < last + EVERY and level <= channel.last_level:
        return False
    oldest = min(row.created_at for row in waiting)
    # Of a hundred orders that fail one after the other, people want one message.
    return level >= Level.OUTAGE or not oldest <= now < oldest + GATHER or not _orders_under_way()


def _orders_under_way() -> bool:
    worked_on = Q(lease_until__gt=clock.real()) | Q(next_attempt_at__lte=clock.now())
    return Order.objects.filter(worked_on, finished_at=None).exists()


def _pack(channel: Channel, waiting: Sequence[AlarmDelivery]) -> _Parcel | None:
    """Takes the channel's turn, so that no other process sends the same; None where another was faster."""
    as_read = {"next_attempt_at": channel.next_attempt_at, "last_sent_at": channel.last_sent_at}
    turn = Channel.objects.filter(pk=channel.pk, enabled=True, **as_read)
    if not turn.update(next_attempt_at=clock.now() + ATTEMPT):
        return None
    try:
        sender = channel_make(channel)
    except BinderyError as error:
        _failed(channel, error)
        return None
    return _Parcel(channel, sender, message_for(row.alarm for row in waiting), [row.pk for row in waiting])


def _item(alarm: Alarm, portal: str) -> Item:
    return Item(
        id=str(alarm.pk),
        level=Level(alarm.level),
        subject=alarm.subject,
        happened=alarm.happened,
        raised_at=alarm.raised_at,
        tried=alarm.tried,
        next_try_at=alarm.next_try_at,
        advice=alarm.advice,
        url=f"{portal}{alarm.path}" if alarm.path else "",
    )


def _send(parcel: _Parcel) -> _Outcome:
    """In a thread of its own, without a database."""
    try:
        return _Outcome(answer=parcel.sender.send(parcel.message))
    except BinderyError as error:
        return _Outcome(error=error)
    except Exception as error:  # a library may raise anything; the other channels' messages are recorded all the same
        log.exception("The channel %s ended with a fault", parcel.channel.name)
        return _Outcome(error=Undelivered(f"An unexpected fault: {type(error).__name__}.", advice="See the log."))


def _record(parcel: _Parcel, outcome: _Outcome) -> None:
    channel = parcel.channel
    if outcome.error is not None:
        _failed(channel, outcome.error)
        return
    now = clock.now()
    with transaction.atomic():
        AlarmDelivery.objects.filter(pk__in=parcel.deliveries).update(sent_at=now)
        Channel.objects.filter(pk=channel.pk).update(last_level=parcel.message.level, **channel_well(outcome.answer))
    log.info("%s: told of %s", channel.name, parcel.message.subject)


def channel_well(answer: str) -> dict[str, object]:
    """The columns of a channel that has just got something through."""
    return {
        "last_sent_at": clock.now(),
        "last_answer": logs.mask(answer)[:_ANSWER],
        "last_trouble": "",
        "failures": 0,
        "next_attempt_at": None,
    }


def _failed(channel: Channel, error: BinderyError) -> None:
    now = clock.now()
    wait = _WAITS[min(channel.failures, len(_WAITS) - 1)]
    if isinstance(error, Undelivered) and error.retry_at is not None:
        wait = max(wait, min(error.retry_at - clock.real(), _LONGEST))
    answer = error.answer if isinstance(error, Undelivered) else ""
    Channel.objects.filter(pk=channel.pk).update(
        failures=F("failures") + 1,
        last_trouble=logs.mask(str(error)),
        last_answer=logs.mask(answer)[:_ANSWER],
        next_attempt_at=now + wait,
    )
    log.error("%s: an alarm did not get through: %s", channel.name, error)


@needs(Right.SETTING)
def channel_test(channel: Channel, *, actor: Actor) -> str:
    """Send a message that says what it is, now and whatever the channel's state. Returns the server's answer; network.

    What waits for the channel may go at once after it. Raises BinderyError with what the server said.
    """
    portal = public_url()
    item = Item(
        id=f"test {clock.now().isoformat()}",
        level=Level.NOTICE,
        subject="This is a test",
        happened=f"{actor} asked for it. Alarms reach you this way.",
        raised_at=clock.now(),
        advice="Nothing.",
        url=f"{portal}{ALARMS_PATH}",
    )
    message = message_make([item], portal=portal, url=item.url, at=clock.now())
    try:
        answer = channel_make(channel).send(message)
    except BinderyError as error:
        told = error.answer if isinstance(error, Undelivered) else ""
        Channel.objects.filter(pk=channel.pk).update(
            last_trouble=logs.mask(str(error)), last_answer=logs.mask(told)[:_ANSWER]
        )
        audit_record(actor, "channel.test", channel, after={"said": str(error)}, result="failed")
        raise
    with transaction.atomic():
        # When the last alarm went is not touched: the rhythm of alarms is theirs.
        Channel.objects.filter(pk=channel.pk).update(**{**channel_well(answer), "last_sent_at": channel.last_sent_at})
        audit_record(actor, "channel.test", channel, after={"said": answer})
    return answer
