"""Under which addresses our own CAs published, one after the other: a certificate holds that of its day for years.

The page and the environment both change the address, so it is noted from when on each was in use, by the confirmation
and by the tick (`pki_watch.py`), together with what asking it brought the last time.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from django.db import transaction
from django.db.models import Count, Max

from certs.selectors import issued_living
from certs.services.portal_state import state_get, state_lock, state_update
from portal import clock


@dataclass(frozen=True)
class Address:
    """`ok` and `text` are what asking it at `asked_at` brought; `ok` is None where that could not be told."""

    url: str
    since: datetime
    asked_at: datetime | None = None
    ok: bool | None = None
    text: str = ""


@dataclass(frozen=True)
class Earlier:
    """One that `count` certificates in force may hold, the last of them until `until`."""

    address: Address
    count: int
    until: datetime


def addresses_noted(url: str) -> list[Address]:
    """In the order of their use, `url` last: the one in use."""
    found = [_from_json(each) for each in state_get().pki_addresses]
    return found if not url or (found and found[-1].url == url) else [*found, Address(url, clock.now())]


def addresses_earlier(url: str) -> list[Earlier]:
    """Others than `url` that certificates in force may hold: whoever meets one of these asks there."""
    moment, noted = clock.now(), addresses_noted(url)
    found = []
    for number, (address, following) in enumerate(pairwise(noted)):
        if address.url == url:
            continue
        signed = issued_living(moment).filter(created_at__lt=following.since)
        if number:
            signed = signed.filter(created_at__gte=address.since)
        counted = signed.aggregate(count=Count("pk"), until=Max("not_after"))
        if counted["until"] is not None:
            found.append(Earlier(address, counted["count"], counted["until"]))
    return found


def addresses_note(url: str, answers: Sequence[Address] = ()) -> None:
    """`url` is in use from now on, if it was not yet; `answers` are others or the same with what asking them brought.
    What no certificate holds any more is forgotten."""
    with transaction.atomic():
        state_lock()
        wanted = {url, *(each.address.url for each in addresses_earlier(url))}
        told = {each.url: each for each in answers}
        kept = [
            Address(each.url, each.since, answer.asked_at, answer.ok, answer.text)
            for each in addresses_noted(url)
            if each.url in wanted
            for answer in [told.get(each.url, each)]
        ]
        state_update(pki_addresses=[_to_json(each) for each in kept])


def _to_json(address: Address) -> dict[str, Any]:
    asked_at = address.asked_at.isoformat() if address.asked_at else None
    return {**asdict(address), "since": address.since.isoformat(), "asked_at": asked_at}


def _from_json(stored: dict[str, Any]) -> Address:
    asked_at = datetime.fromisoformat(stored["asked_at"]) if stored["asked_at"] else None
    return Address(**{**stored, "since": datetime.fromisoformat(stored["since"]), "asked_at": asked_at})
