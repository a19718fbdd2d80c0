"""The pure rules against a simulated year: nothing expires, and no rate limit is ever reached.

An event heap over ticks of five minutes, as the schedule has them: who is due for a look is decided about in order of
urgency, each order leaving less to those after it. An order succeeds or fails at once.
"""

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

from certs.acme.limits import published_limits
from certs.domain.budget import Budget, Event, Limit, budget_of, budgets_sorted, limit_keys, registered_domain
from certs.domain.renewal import URGENCY, USELESS, Code, Decision, RenewalInput, ari_select, backoff, decide
from tests.harness.rounds import rounds
from tests.simulation.world import ARI_RETRY, BACKDATED, DAY, HOUR, TICK, LimitedCa, Tally, Window, table

BEGIN = datetime(2026, 11, 21, 9, 17, tzinfo=UTC)
LIVES = (160 * HOUR, 45 * DAY, 64 * DAY, 90 * DAY)
ACCOUNT = "account"
REAL = "https://acme-v02.api.letsencrypt.org/directory"
REVOKED_AFTER = DAY  # baseline requirements 4.9.1.1: within 24 hours


@dataclass
class Simulated:
    """What the database keeps of a certificate."""

    names: list[str]
    life: timedelta
    not_before: datetime | None = None
    window: Window | None = None
    selected: datetime | None = None
    ari_retry_at: datetime | None = None
    failures: int = 0
    next_attempt_at: datetime | None = None
    last_success: datetime | None = None
    last_replaced: datetime | None = None
    tries: list[datetime] = field(default_factory=list)
    broken_until: datetime | None = None
    ended: bool = False  # counted as expired once

    @property
    def not_after(self) -> datetime | None:
        return self.not_before + self.life if self.not_before else None


class Portal:
    """The sweep and the ledger, on the pure rules."""

    def __init__(self, certificates: list[Simulated], ca: LimitedCa, dice: Random, limits: Sequence[Limit]) -> None:
        self.ca, self.dice, self.limits = ca, dice, limits
        self.ledger: defaultdict[tuple[Event, str], list[tuple[datetime, bool]]] = defaultdict(list)
        self.tallies = {life: Tally() for life in sorted({one.life for one in certificates})}
        self.heap = [(ca.begin, number, one) for number, one in enumerate(certificates)]
        for one in certificates:
            self.tallies[one.life].certificates += 1
        heapq.heapify(self.heap)

    def run(self) -> None:
        number = len(self.heap)
        while self.heap and self.heap[0][0] < self.ca.end:
            now = self.heap[0][0]
            looked: list[Simulated] = []
            while self.heap and self.heap[0][0] == now:
                looked.append(heapq.heappop(self.heap)[2])
            weighed = [(one, self.given(one, now)) for one in looked]
            decisions = [(one, given, decide(given, self.dice.random)) for one, given in weighed]
            decisions.sort(key=lambda each: URGENCY.get(each[2].code, len(URGENCY)))
            for one, given, decision in decisions:
                moment = self.act(one, given, decision, now)
                number += 1
                heapq.heappush(self.heap, (_tick(moment, self.ca.begin), number, one))

    def given(self, one: Simulated, now: datetime) -> RenewalInput:
        self._ask_window(one, now)
        one.tries = [moment for moment in one.tries if moment > now - HOUR]
        revoked = self._revoked(one, now)
        tally = self.tallies[one.life]
        if one.not_after and now >= one.not_after and not one.ended:
            one.ended = True
            tally.expired += 1
        if revoked and not one.ended:
            one.ended = True
            tally.revoked += 1
        return RenewalInput(
            now=now,
            not_before=one.not_before,
            not_after=one.not_after,
            ari_selected=one.selected,
            ari_retry_at=one.ari_retry_at,
            revoked=revoked,
            asked=one.not_before is None,
            use_last=True,
            last_success=one.last_success,
            last_replaced=one.last_replaced,
            next_attempt_at=one.next_attempt_at,
            tries=tuple(one.tries),
        )

    def act(self, one: Simulated, given: RenewalInput, decision: Decision, now: datetime) -> datetime:
        """Order where due; when to look again."""
        tally = self.tallies[one.life]
        if decision.due:
            budgets = self.budgets(one, now)
            hold = next(((each.free_at, f"{each.text}.") for each in budgets if each.free_at), None)
            decision = decide(replace(given, budget_hold=hold), self.dice.random)
        if not decision.due:
            tally.held += decision.code == Code.HELD_BACK
            return decision.next_check_at
        tally.orders += 1
        tally.retries += one.failures > 0
        one.tries.append(now)
        if self._order(one, now):
            if one.not_after:
                tally.renewed(one.not_after - now)
            one.last_replaced = now if decision.code in USELESS else one.last_replaced
            one.not_before, one.last_success, one.failures, one.next_attempt_at = now - BACKDATED, now, 0, None
            one.window = one.selected = one.ari_retry_at = None
            one.ended = False
            return now + TICK  # what was just issued learns its next look at once
        tally.failures += 1
        one.failures += 1
        left = one.not_after - now if one.not_after else 365 * DAY
        one.next_attempt_at = now + backoff(one.failures, left)
        return one.next_attempt_at

    def budgets(self, one: Simulated, now: datetime) -> list[Budget]:
        exempt = one.window is not None and one.window.start <= now < one.window.end
        renewal = one.not_before is not None
        found = []
        for limit in self.limits:
            if limit.event == Event.ACCOUNT:
                continue
            if limit.event != Event.FAILURE and (exempt or (renewal and not limit.renewals)):
                continue
            for key in limit_keys(limit, one.names, ACCOUNT):
                entries = self.ledger[limit.event, key]
                entries[:] = [entry for entry in entries if entry[0] > now - limit.horizon]
                counted = [at for at, was_renewal in entries if limit.renewals or not was_renewal]
                found.append(budget_of(limit, key, counted, now))
        return budgets_sorted(found)

    def _order(self, one: Simulated, now: datetime) -> bool:
        if self.ca.is_down(now):
            return False
        domains = {registered_domain(name) for name in one.names}
        renewal = one.not_before is not None
        exempt = one.window is not None and one.window.start <= now < one.window.end
        if not self.ca.accepts(now, one.names, domains, one.window):
            return False
        if not exempt:
            self.ledger[Event.ORDER, ACCOUNT].append((now, renewal))
        if (one.broken_until and now < one.broken_until) or self.ca.is_broken():
            self.ca.fails(now, one.names[0])
            self.ledger[Event.FAILURE, one.names[0]].append((now, False))
            return False
        self.ca.issues(now, one.names, domains, exempt=exempt)
        if not exempt:
            for limit in self.limits:
                if limit.event == Event.CERTIFICATE:
                    for key in limit_keys(limit, one.names, ACCOUNT):
                        self.ledger[limit.event, key].append((now, renewal))
        return True

    def _ask_window(self, one: Simulated, now: datetime) -> None:
        if one.not_before is None or (one.ari_retry_at and now < one.ari_retry_at) or self.ca.is_down(now):
            return
        window = self.ca.window(one.not_before, one.life, now)
        if window != one.window:
            one.window, one.selected = window, ari_select(window.start, window.end, self.dice.random)
        one.ari_retry_at = now + ARI_RETRY

    def _revoked(self, one: Simulated, now: datetime) -> bool:
        if one.not_before is None:
            return False
        moment = self.ca.recalled(one.not_before, one.life, now)
        return moment is not None and now >= moment + REVOKED_AFTER


def _tick(moment: datetime, begin: datetime) -> datetime:
    return begin + TICK * -(-(moment - begin) // TICK)


def certificates(count: int, domains: int, dice: Random) -> list[Simulated]:
    """As many of each life; the first domain has more than may be issued for one in a week."""
    made = []
    for number in range(count):
        domain = "many.example" if number < 60 else f"d{number % domains}.example"
        made.append(Simulated([f"h{number}.{domain}"], LIVES[number % len(LIVES)]))
        if dice.random() < 0.1:
            made[-1].names.append(f"www.h{number}.{domain}")
    return made


@rounds("size", (160, 40, 50), (1000, 200, 365))
def test_nothing_expires_and_no_limit_is_reached(size: tuple[int, int, int]) -> None:
    """`make proof` prints its table."""
    count, domains, days = size
    dice = Random(7)
    end = BEGIN + days * DAY
    outage = Window(BEGIN + 0.6 * days * DAY, BEGIN + 0.6 * days * DAY + DAY)
    ca = LimitedCa(dice, BEGIN, end, outages=[outage], recalls=[(BEGIN + 0.3 * days * DAY, 90 * DAY)])
    portal = Portal(certificates(count, domains, dice), ca, dice, published_limits(REAL))
    # A few names cannot be reached for days, as when somebody moves a server.
    for _, _, one in portal.heap[:: max(count // 20, 1)]:
        one.broken_until = BEGIN + dice.random() * 10 * DAY
    portal.run()
    print(table(f"{count} certificates on {domains} registered domains, {days} days", portal.tallies, ca))
    assert not ca.refused
    for life, tally in portal.tallies.items():
        assert tally.expired == 0, life
        assert tally.revoked == 0, life
        assert tally.certificates > 0
        assert tally.least is None or tally.least > life / 20
    assert portal.tallies[160 * HOUR].renewals >= count // 4 * (days * DAY // (80 * HOUR) - 2)
    assert ca.most["certificates per domain"] > 40, "the limit of domains is tried"


def test_without_the_ledger_the_ca_would_refuse() -> None:
    """What the simulation proves depends on the limits: the same certificates, and nobody counts."""
    dice = Random(7)
    ca = LimitedCa(dice, BEGIN, BEGIN + 2 * DAY)
    Portal(certificates(400, 40, dice), ca, dice, limits=()).run()
    assert ca.refused["orders per account"] > 0
    assert ca.refused["certificates per domain"] > 0
