"""How much of a CA's rate limits is left: token buckets, counted from our own ledger. Pure; the clock is a parameter.

A bucket holds `count` tokens; what is spent comes back one by one, each after `window / count`, as Let's Encrypt
publishes it (letsencrypt.org/docs/rate-limits: "token bucket algorithm", "the ability … refills at a rate of").
The moment at which the bucket will be full again says all of its state.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import Any

from publicsuffixlist import PublicSuffixList

from certs.domain.errors import InputError
from certs.domain.names import is_address

# The state of a bucket depends on all its past, but less and less: only who uses three quarters of a limit for so many
# windows on end may have less left than we say.
HORIZON_WINDOWS = 4
LONGEST_WINDOW = timedelta(days=400)
MOST_TOKENS = 1_000_000


class Event(StrEnum):
    """What a CA counts."""

    ORDER = "order"  # newOrder answered
    CERTIFICATE = "certificate"  # issued
    FAILURE = "failure"  # an authorization that failed
    ACCOUNT = "account"  # newAccount answered


class Scope(StrEnum):
    """Under what it is counted. Of certificates, domain and set are counted over all accounts at the directory."""

    ACCOUNT = "account"
    DOMAIN = "domain"  # registered domain; an IPv4 address; an IPv6 /64
    SET = "set"  # exactly these names
    NAME = "name"  # one name, at this account
    SERVER = "server"  # this server's address


EVENT_OF: dict[Scope, Event] = {
    Scope.SET: Event.CERTIFICATE,
    Scope.DOMAIN: Event.CERTIFICATE,
    Scope.ACCOUNT: Event.ORDER,
    Scope.NAME: Event.FAILURE,
    Scope.SERVER: Event.ACCOUNT,
}
# What is left untouched: the failure that would be one too many comes unasked, so the last is not risked.
_RESERVE: dict[Event, int] = {Event.FAILURE: 1}


@dataclass(frozen=True)
class Limit:
    """At most `count` of an event per `window`. With `renewals` False, a renewal of the same names is not counted."""

    event: Event
    scope: Scope
    count: int
    window: timedelta
    renewals: bool = True

    @property
    def interval(self) -> timedelta:
        """After which one token comes back."""
        return self.window / self.count

    @property
    def horizon(self) -> timedelta:
        """How far back the ledger is read."""
        return self.window * HORIZON_WINDOWS

    @property
    def reserve(self) -> int:
        return _RESERVE.get(self.event, 0)

    @property
    def text(self) -> str:
        """Like "5 certificates per exact set of names in 7 days"."""
        return f"{self.count} {_COUNTED[self.event]} {_PER[self.scope]} in {_span(self.window)}"

    def as_json(self) -> dict[str, Any]:
        rest = {} if self.renewals else {"renewals": False}
        hours = self.window / timedelta(hours=1)
        return {"event": str(self.event), "scope": str(self.scope), "count": self.count, "hours": hours, **rest}

    @classmethod
    def from_json(cls, stored: object) -> "Limit":
        """Raises InputError saying what cannot be used."""
        if not isinstance(stored, dict):
            raise InputError(f"{stored!r} is no limit.", advice=_FORM)
        try:
            event, scope = Event(stored.get("event", "")), Scope(stored.get("scope", ""))
            count, window = int(stored.get("count", 0)), timedelta(hours=float(stored.get("hours", 0)))
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{stored!r} is no limit.", advice=_FORM) from error
        if EVENT_OF[scope] != event:
            scopes = " or ".join(each for each, counted in EVENT_OF.items() if counted == event)
            raise InputError(f"{event} is not counted per {scope}.", advice=f"It is counted per {scopes}.")
        if not 0 < count <= MOST_TOKENS or not timedelta(minutes=1) <= window <= LONGEST_WINDOW:
            raise InputError(
                f"{count} in {_span(window)} is out of range.",
                advice=f"Give 1 to {MOST_TOKENS} in one minute to {LONGEST_WINDOW.days} days.",
            )
        return cls(event, scope, count, window, renewals=stored.get("renewals", True) is not False)


def limit_parse(text: str) -> Limit:
    """As a person writes it: "set=5/168" is 5 certificates for a set of names in 168 hours. Raises InputError."""
    scope, _, rest = text.strip().partition("=")
    count, _, hours = rest.partition("/")
    known = next((each for each in EVENT_OF if each == scope), None)
    if known is None:
        raise InputError(f"“{scope}” is no scope.", advice=f"Scopes are {', '.join(EVENT_OF)}.")
    return Limit.from_json({"event": EVENT_OF[known], "scope": known, "count": count, "hours": hours.removesuffix("h")})


def limit_written(limit: Limit) -> str:
    """What `limit_parse` reads."""
    return f"{limit.scope}={limit.count}/{limit.window / timedelta(hours=1):g}"


@dataclass(frozen=True)
class Budget:
    """What is left of one limit. `key` is what is counted; `next_at` when one more comes back, None while all are."""

    limit: Limit
    key: str
    left: int
    next_at: datetime | None

    @property
    def used(self) -> int:
        return self.limit.count - self.left

    @property
    def refuses(self) -> bool:
        """Whether one more would be one too many."""
        return self.left <= self.limit.reserve

    @property
    def is_last(self) -> bool:
        """Whether one more would leave none; a person is asked first."""
        return self.limit.reserve == 0 and self.left == 1

    @property
    def text(self) -> str:
        """Like "4 left of 5 for this set until Tuesday 14:20 UTC"."""
        what = _WHAT[self.limit.scope].format(key=self.key)
        until = f" until {_moment(self.next_at, self.limit.window)}" if self.next_at else ""
        return f"{self.left} left of {self.limit.count} {what}{until}"

    @property
    def free_at(self) -> datetime | None:
        """When one more may go, where none may now."""
        return self.next_at if self.refuses else None


def budget_of(limit: Limit, key: str, moments: Iterable[datetime], now: datetime) -> Budget:
    """From when it was spent, in any order, back to `limit.horizon`; moments to come count as now."""
    full_at = now - limit.horizon
    for moment in sorted(moments):
        full_at = max(full_at, min(moment, now)) + limit.interval
    free = now + limit.window - max(full_at, now)
    left = max(0, free // limit.interval)
    if left >= limit.count:
        return Budget(limit, key, limit.count, None)
    wanted = left + 1 + (limit.reserve if left < limit.reserve else 0)
    next_at = full_at - limit.window + limit.interval * wanted
    return Budget(limit, key, left, max(next_at, now))


def budgets_sorted(budgets: Iterable[Budget]) -> list[Budget]:
    """The worst first: what refuses, for longest; then by the part that is left."""
    return sorted(
        budgets,
        key=lambda one: (
            not one.refuses,
            -one.free_at.timestamp() if one.free_at else 0.0,
            one.left / one.limit.count,
        ),
    )


def limit_keys(limit: Limit, names: Collection[str], account: str) -> list[str]:
    """What an order for these names at this account spends of that limit: the keys under which it is counted."""
    match limit.scope:
        case Scope.ACCOUNT:
            return [account]
        case Scope.DOMAIN:
            return sorted({registered_domain(name) for name in names})
        case Scope.SET:
            return [names_digest(names)] if names else []
        case Scope.NAME:
            return sorted({name.removeprefix("*.") for name in names})
        case Scope.SERVER:
            return []


def names_digest(names: Iterable[str]) -> str:
    """Of a set of names; 64 digits, so it is never taken for a name, whose labels have 63 at most."""
    return sha256("\n".join(sorted({name.lower() for name in names})).encode()).hexdigest()


def registered_domain(name: str) -> str:
    """What CAs count names under: the domain that was registered, by the public suffix list (its private part too, as
    Boulder does); an address is its own, IPv6 by /64. A public suffix itself counts as registered."""
    if is_address(name):
        address = ip_address(name)
        if isinstance(address, IPv6Address):
            return f"{IPv6Address(int(address) >> 64 << 64)}/64"
        return str(address)
    host = name.removeprefix("*.").lower()
    return _suffixes().privatesuffix(host) or host


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


_FORM = 'Give limits like {"event": "certificate", "scope": "set", "count": 5, "hours": 168}.'
_COUNTED = {
    Event.ORDER: "orders",
    Event.CERTIFICATE: "certificates",
    Event.FAILURE: "failed authorizations",
    Event.ACCOUNT: "new accounts",
}
_PER = {
    Scope.ACCOUNT: "per account",
    Scope.DOMAIN: "per registered domain",
    Scope.SET: "per exact set of names",
    Scope.NAME: "per name and account",
    Scope.SERVER: "per address of the server",
}
_WHAT = {
    Scope.ACCOUNT: "orders of this account",
    Scope.DOMAIN: "for {key}",
    Scope.SET: "for this set",
    Scope.NAME: "failures of {key}",
    Scope.SERVER: "new accounts of this server",
}
_WEEK = timedelta(days=7)


def _moment(moment: datetime, window: timedelta) -> str:
    if window <= _WEEK:
        return f"{moment:%A %H:%M} UTC"
    return f"{moment.day} {moment:%B %H:%M} UTC"


def _span(window: timedelta) -> str:
    for unit, name in ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute")):
        if window >= unit and not window % unit:
            number = window // unit
            return f"{number} {name}{'' if number == 1 else 's'}"
    return f"{window / timedelta(hours=1):g} hours"
