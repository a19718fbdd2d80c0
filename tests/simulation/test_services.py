"""The services against weeks of simulated time: real sweep, orders, ledger and prune; only the CA is simulated, and
the portal's clock jumps from one thing to do to the next. The tick is coarser than the real one, which is harder."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import Min

from certs.acme.directories import KNOWN
from certs.domain.errors import BinderyError
from certs.models import AcmeAccount, Certificate, CertificateVersion, Order
from certs.services import order_advance as order_advance_steps
from certs.services import order_answers, order_flow, order_views, renewal_info
from certs.services.accounts import account_get_or_create
from certs.services.issuing import certificate_order
from certs.services.order_advance import order_advance
from certs.services.orders import orders_claim
from certs.services.prune import prune_run
from certs.services.renewal_info import renewal_info_refresh
from certs.services.sweeps import sweep_run
from portal import clock
from tests.harness.rounds import rounds
from tests.simulation.session import SimulatedReader, SimulatedSession
from tests.simulation.world import DAY, HOUR, LimitedCa, Tally, Window, table

pytestmark = pytest.mark.django_db
LIVES = (160 * HOUR, 45 * DAY, 64 * DAY, 90 * DAY)
REAL = KNOWN["letsencrypt"].url
_NOTHING_SEEN = {"url": "", "curl": "", "seen": "", "right": None}
_AGAIN = 6 * HOUR  # how often the operator asks again for what was held back


class Weeks:
    def __init__(
        self, ca: SimulatedSession, move: Callable[[float], None], wanted: list[list[str]], tick: timedelta
    ) -> None:
        self.ca, self.move, self.wanted, self.tick = ca, move, wanted, tick
        self.world = ca.world
        self.account: AcmeAccount = account_get_or_create(
            directory_url=REAL, email="", terms_url="https://acme.example/terms", actor="test"
        )
        self.expired: set[Any] = set()
        self.unreplaced = 0
        self.writes: Counter[str] = Counter()

    def run(self) -> None:
        asked_at = pruned_at = self.world.begin
        recalls = list(self.world.recalls)
        moment = self.world.begin
        logging.disable(logging.WARNING)
        with connection.execute_wrapper(self._count):
            while moment < self.world.end:
                self.move((moment - datetime.now(UTC)).total_seconds())
                if self.wanted and moment >= asked_at:
                    self._ask()
                    asked_at = moment + _AGAIN
                self._tick()
                if moment >= pruned_at:
                    prune_run()
                    pruned_at = moment + DAY
                while recalls and moment >= recalls[0][0] + DAY:
                    self.unreplaced += self._still_recalled(*recalls.pop(0))
                moment = self._next(moment, asked_at)

    def _ask(self) -> None:
        """The operator: what a limit holds back, or what failed and was never issued, is asked for again later."""
        issued = set(Certificate.objects.exclude(current=None).values_list("name", flat=True))
        self.wanted = [names for names in self.wanted if names[0] not in issued]
        for names in self.wanted:
            with suppress(BinderyError):
                certificate_order(names, self.account, actor="test", use_last=True)

    def _tick(self) -> None:
        renewal_info_refresh()
        sweep_run()
        advanced = 0
        owner = uuid4()
        while claimed := orders_claim(50, owner):
            for order in claimed:
                order_advance(order, owner)
            advanced += len(claimed)
        if advanced:
            sweep_run()
        past = Certificate.objects.filter(current__not_after__lte=clock.now())
        self.expired.update(past.values_list("pk", flat=True))

    def _next(self, moment: datetime, asked_at: datetime) -> datetime:
        check = Certificate.objects.aggregate(at=Min("next_check_at"))["at"]
        step = Order.objects.filter(finished_at=None).aggregate(at=Min("next_attempt_at"))["at"]
        wait = max(self.tick, min(each for each in (check, step, asked_at if self.wanted else None) if each) - moment)
        return self.world.begin + self.tick * -(-(moment + wait - self.world.begin) // self.tick)

    def _still_recalled(self, moment: datetime, life: timedelta) -> int:
        rows = CertificateVersion.objects.filter(created_at__lt=moment, not_after__gt=clock.now())
        return sum(version.lifetime == life for version in rows.exclude(current_of=None))

    def _count(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        verb = sql.split(" ", 1)[0]
        if verb in {"INSERT", "UPDATE", "DELETE"}:
            self.writes[verb] += 1
        return execute(sql, params, many, context)


Simulate = Callable[[int, int, timedelta], Weeks]


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch, move_clock: Callable[[float], None]) -> Iterator[Simulate]:
    def make(count: int, days: int, tick: timedelta) -> Weeks:
        dice = Random(11)
        begin = datetime.now(UTC).replace(microsecond=0)
        many = count * 3 // 10
        wanted = [
            [f"h{number}.many.example" if number < many else f"h{number}.d{number % 40}.example"]
            for number in range(count)
        ]
        lives = {names[0]: LIVES[number % len(LIVES)] for number, names in enumerate(wanted)}
        outage = begin + 0.7 * days * DAY
        world = LimitedCa(
            dice,
            begin,
            begin + days * DAY,
            outages=[Window(outage, outage + DAY)],
            recalls=[(begin + 0.5 * days * DAY, 90 * DAY)],
        )
        ca = SimulatedSession(
            world=world,
            lives=lives,
            # Some names cannot be reached for a while, as when somebody moves a server.
            broken_until={names[0]: begin + 2 * dice.random() * DAY for names in wanted[::10]},
            tallies={life: Tally() for life in LIVES},
        )
        for life in lives.values():
            ca.tallies[life].certificates += 1
        monkeypatch.setattr(order_flow, "session", ca.session)
        for module in (order_flow, order_answers):
            monkeypatch.setattr(module, "POLL_FIRST_SECONDS", 0.0)
        # What this server sees itself would be asked of the real network.
        monkeypatch.setattr(order_views, "challenge_evidence", lambda row, _: {**_NOTHING_SEEN, "name": row.name})
        monkeypatch.setattr(order_advance_steps, "order_findings", lambda *_: [])
        monkeypatch.setattr(renewal_info._Directory, "reader", lambda _: SimulatedReader(ca))
        return Weeks(ca, move_clock, wanted, tick)

    yield make
    logging.disable(logging.NOTSET)


@rounds("size", (12, 8, HOUR), (200, 60, HOUR / 4))
def test_no_certificate_expires_and_no_limit_is_reached(size: tuple[int, int, timedelta], simulate: Simulate) -> None:
    """`make proof` prints its table."""
    count, days, _ = size
    weeks = simulate(*size)
    began = time.monotonic()
    weeks.run()
    ca, world = weeks.ca, weeks.world
    for life, tally in ca.tallies.items():
        names = [name for name, its in ca.lives.items() if its == life]
        orders = Order.objects.filter(rehearsal=False, certificate__name__in=names)
        tally.retries = orders.filter(certificate__orders__state="failed").distinct().count()
        tally.expired = Certificate.objects.filter(pk__in=weeks.expired, name__in=names).count()
    issued, seconds = world.counts["issued"], time.monotonic() - began
    title = f"{count} certificates through the services, {days} days in {seconds:.0f} s"
    extra = [
        f"{world.counts['unanswered']} requests were not answered",
        f"database writes: {dict(weeks.writes)}, {weeks.writes.total() / issued:.0f} for each of {issued} issued",
    ]
    print(table(title, ca.tallies, world, extra))
    assert not world.refused
    assert not weeks.expired
    assert weeks.unreplaced == 0
    assert Certificate.objects.filter(current=None).count() == 0, "everything was issued at last"
    short = ca.tallies[160 * HOUR]
    assert short.renewals >= short.certificates * (days * DAY // (80 * HOUR) - 1)
    assert all(tally.least is None or tally.least > life / 20 for life, tally in ca.tallies.items())
