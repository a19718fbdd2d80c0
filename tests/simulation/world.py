"""The world around a simulation: a CA with rate limits of its own, outages, and windows for renewal (ARI).

Deliberately independent of `certs.domain.budget`: its buckets are filled and emptied as the textbook has it, so that a
fault in our own count shows here as an order that the CA refuses.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate
from random import Random

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
WEEK = 7 * DAY
TICK = 5 * MINUTE
ARI_RETRY = 6 * HOUR
BACKDATED = HOUR  # notBefore, against the moment of issue

# What Let's Encrypt publishes (letsencrypt.org/docs/rate-limits): how many, and in which time they all come back.
LIMITS: dict[str, tuple[int, timedelta]] = {
    "orders per account": (300, 3 * HOUR),
    "certificates per domain": (50, WEEK),
    "certificates per set": (5, WEEK),
    "failures per name": (5, HOUR),
}


@dataclass
class Bucket:
    size: int
    window: timedelta
    level: float
    at: datetime

    def look(self, now: datetime) -> float:
        self.level = min(self.size, self.level + self.size * ((now - self.at) / self.window))
        self.at = now
        return self.level

    def take(self, now: datetime) -> bool:
        granted = self.look(now) >= 1 - 1e-9
        self.level -= granted
        return granted


@dataclass(frozen=True)
class Window:
    start: datetime
    end: datetime


@dataclass
class LimitedCa:
    """`refused` counts what it refused by a limit: the number that must stay 0. `most` is the most that was ever spent
    of each limit."""

    random: Random
    begin: datetime
    end: datetime
    broken_share: float = 0.01  # of the orders fail by a name that cannot be reached just then
    outages: list[Window] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    issued_sets: set[frozenset[str]] = field(default_factory=set)
    recalls: list[tuple[datetime, timedelta]] = field(default_factory=list)  # when, and which lifetime

    def __post_init__(self) -> None:
        self._buckets: dict[tuple[str, object], Bucket] = {}
        self.outages = sorted([*self._short_outages(), *self.outages], key=lambda one: one.start)
        self._starts = [one.start for one in self.outages]
        self._ends = list(accumulate((one.end for one in self.outages), max))

    def _short_outages(self) -> Iterable[Window]:
        """Two hundredths of the time, in pieces of ten minutes to two hours."""
        left = (self.end - self.begin) * 0.02
        while left > timedelta(0):
            length = min(left, 10 * MINUTE + self.random.random() * 110 * MINUTE)
            start = self.begin + self.random.random() * (self.end - self.begin)
            yield Window(start, start + length)
            left -= length

    def is_down(self, now: datetime) -> bool:
        index = bisect_right(self._starts, now) - 1
        return index >= 0 and now < self._ends[index]

    @property
    def down(self) -> timedelta:
        return sum((outage.end - outage.start for outage in self.outages), timedelta(0))

    def recalled(self, not_before: datetime, life: timedelta, now: datetime) -> datetime | None:
        """When it was, by now."""
        issued = not_before + BACKDATED
        hits = (moment for moment, recalled in self.recalls if moment <= now and issued < moment and life == recalled)
        return next(hits, None)

    def window(self, not_before: datetime, life: timedelta, now: datetime) -> Window:
        """At two thirds of the life (at half of a short one), a fiftieth of it wide; past where it was recalled."""
        moment = self.recalled(not_before, life, now)
        if moment is not None:
            return Window(moment - 2 * HOUR, moment - HOUR)
        middle = not_before + life * (1 / 2 if life < 10 * DAY else 2 / 3)
        return Window(middle - life / 100, middle + life / 100)

    def accepts(self, now: datetime, names: list[str], domains: set[str], replaced: Window | None) -> bool:
        """newOrder: judged by the limits, which are spent of when it issues. False is counted as refused."""
        self.counts["orders"] += 1
        if replaced is not None and replaced.start <= now < replaced.end:
            self.counts["exempt"] += 1
            return True
        renewal = frozenset(names) in self.issued_sets
        self.counts["renewals"] += renewal
        wanted: list[tuple[str, object]] = [("certificates per set", frozenset(names))]
        wanted += [("failures per name", name) for name in names]
        if not renewal:
            wanted += [("certificates per domain", domain) for domain in domains]
            if not self._take("orders per account", "", now):
                return False
        for limit, key in wanted:
            if self._bucket(limit, key, now).look(now) < 1 - 1e-9:
                self.refused[limit] += 1
                return False
        return True

    def issues(self, now: datetime, names: list[str], domains: set[str], *, exempt: bool) -> None:
        renewal = frozenset(names) in self.issued_sets
        self.issued_sets.add(frozenset(names))
        self.counts["issued"] += 1
        if exempt:
            return
        self._take("certificates per set", frozenset(names), now)
        if not renewal:
            for domain in domains:
                self._take("certificates per domain", domain, now)

    def fails(self, now: datetime, name: str) -> None:
        self.counts["failures"] += 1
        self._take("failures per name", name, now)

    def is_broken(self) -> bool:
        return self.random.random() < self.broken_share

    def _take(self, limit: str, key: object, now: datetime) -> bool:
        bucket = self._bucket(limit, key, now)
        granted = bucket.take(now)
        if not granted:
            self.refused[limit] += 1
        self.most[limit] = max(self.most[limit], bucket.size - int(bucket.level + 1e-9))
        return granted

    def _bucket(self, limit: str, key: object, now: datetime) -> Bucket:
        size, window = LIMITS[limit]
        return self._buckets.setdefault((limit, key), Bucket(size, window, size, now))


@dataclass
class Tally:
    """What became of the certificates of one lifetime."""

    certificates: int = 0
    orders: int = 0
    renewals: int = 0
    failures: int = 0
    retries: int = 0  # orders that followed a failure
    held: int = 0  # decisions to wait although due
    expired: int = 0
    revoked: int = 0  # still in use when the CA revoked it
    least: timedelta | None = None  # time left when its renewal came, the least of all

    def renewed(self, left: timedelta) -> None:
        self.renewals += 1
        self.least = left if self.least is None else min(self.least, left)


def table(title: str, tallies: dict[timedelta, Tally], ca: LimitedCa, extra: Iterable[str] = ()) -> str:
    columns = ("life", "certificates", "orders", "renewals", "failures", "retries", "held", "expired", "least left")
    lines = [title, "  ".join(f"{column:>12}" for column in columns)]
    for life, tally in tallies.items():
        least = f"{tally.least / DAY:.1f} d" if tally.least is not None else "-"
        numbers = (tally.certificates, tally.orders, tally.renewals, tally.failures, tally.retries, tally.held)
        cells = [f"{life / HOUR:.0f} h" if life < 10 * DAY else f"{life.days} d", *numbers, tally.expired, least]
        lines.append("  ".join(f"{cell:>12}" for cell in cells))
    lines += [
        f"{limit:>28}: at most {ca.most[limit]:>3} of {size:>3} spent, {ca.refused[limit]} refused"
        for limit, (size, _) in LIMITS.items()
    ]
    down = f"the CA was down for {ca.down / HOUR:.0f} h"
    return "\n".join([*lines, f"{down}; {ca.counts['exempt']} of {ca.counts['orders']} orders were exempt", *extra, ""])
