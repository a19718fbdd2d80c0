"""From the schedule's own entry point to the mailbox: a CA that is down or refuses, and what people read of it."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from certs import tasks
from certs.models import Alarm, Certificate, Order
from certs.services.channels import channel_create
from certs.services.portal_state import state_update
from portal import clock
from tests import stock
from tests.harness.acme_server import AcmeServer, Fault
from tests.harness.issuing import account_at
from tests.harness.mail import MailServer
from tests.harness.misbehaving import serving

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True, serialized_rollback=True)]
PORTAL = "https://portal.example.com"


@pytest.fixture
def ca(monkeypatch: pytest.MonkeyPatch, move_clock: Callable[[float], None]) -> Iterator[AcmeServer]:
    with serving(monkeypatch) as running:
        yield running


@pytest.fixture
def mail() -> Iterator[MailServer]:
    state_update(public_url=PORTAL)
    with MailServer(log_in=True) as running:
        channel_create("mail", name="Ops", values=running.options, allow_private=True, actor="test")
        yield running


class Schedule:
    """What the queue does as time passes: a tick every five minutes, and a runner whenever an order is due."""

    def __init__(self, move: Callable[[float], None]) -> None:
        self._move, self._ahead = move, 0.0

    def go_on(self, **span: float) -> None:
        end = self._ahead + timedelta(**span).total_seconds()
        while self._ahead < end:
            tasks.tick()
            tasks.run_orders()
            self._ahead += 300
            self._move(self._ahead)


@pytest.fixture
def schedule(move_clock: Callable[[float], None]) -> Schedule:
    return Schedule(move_clock)


def due(ca: AcmeServer, *names: str, left: float = 20) -> list[Certificate]:
    account = account_at(ca)
    rows = [stock.issued(name, days=90, age=90 - left) for name in names]
    Certificate.objects.update(account=account)
    return rows


def subjects(mail: MailServer) -> list[str]:
    return [str(got.mail["Subject"]).partition("] ")[2] for got in mail.received]


def test_a_ca_that_is_down_is_one_mail_with_everything_in_it_and_one_when_it_is_well(
    ca: AcmeServer, mail: MailServer, schedule: Schedule
) -> None:
    (certificate,) = due(ca, "www.example.test")
    ca.stop()
    schedule.go_on(minutes=10)
    assert mail.received == []  # a CA may be away for some minutes
    schedule.go_on(hours=3)
    assert subjects(mail) == ["Notice: www.example.test: its renewal fails"]
    text, order = mail.received[0].text, Order.objects.get()
    for told in (
        "What happened: localhost:",
        "cannot be reached",
        "The certificate is good until",
        "What was tried: localhost:",
        "tries of the present step",
        "Next try: ",
        "What to do: ",
        f"{PORTAL}/activity/{order.pk}/",
    ):
        assert told in text
    assert "Next try: none" not in text
    ca.start()
    schedule.go_on(hours=1)
    certificate.refresh_from_db()
    assert Order.objects.get().state == "done"
    assert subjects(mail)[1:] == ["www.example.test: well again"]
    assert "The certificate in use is good until" in mail.received[1].text
    schedule.go_on(hours=2)
    assert len(mail.received) == 2


def test_a_refusal_is_told_by_the_runner_itself_within_seconds(ca: AcmeServer, mail: MailServer) -> None:
    due(ca, "www.example.test")
    detail = "CAA record for www.example.test prevents issuance"
    ca.fault("newOrder", Fault.PROBLEM, times=None, code="caa", status=403, detail=detail)
    tasks.tick()
    assert mail.received == []
    tasks.run_orders()
    assert subjects(mail) == ["Notice: www.example.test: its renewal fails"]
    assert detail in mail.received[0].text


def test_an_account_that_the_ca_lost_is_told_though_all_goes_well(
    ca: AcmeServer, mail: MailServer, schedule: Schedule
) -> None:
    (certificate,) = due(ca, "www.example.test")
    tasks.tick()
    ca.fault("newOrder", Fault.ACCOUNT_UNKNOWN)
    schedule.go_on(minutes=15)
    assert Order.objects.get().state == "done"
    assert [each.partition(": ")[2] for each in subjects(mail)] == [f"{ca.url[8:]}: it had lost our account"]
    assert "registered again with the same key" in mail.received[0].text
    assert certificate.pk


def test_a_hundred_failures_are_one_mail(ca: AcmeServer, mail: MailServer) -> None:
    due(ca, *(f"n{number}.example.test" for number in range(100)))
    ca.fault("newOrder", Fault.PROBLEM, times=None, code="rejectedIdentifier", status=400, detail="Not these names")
    tasks.tick()
    tasks.run_orders()
    tasks.tick()
    assert len(mail.received) == 1
    assert subjects(mail)[0].endswith("and 99 more")
    assert mail.received[0].text.count("Not these names") == 20
    assert Alarm.objects.filter(cleared_at=None).count() == 100


def test_it_climbs_to_the_end_with_one_mail_for_each_rung(
    ca: AcmeServer, mail: MailServer, move_clock: Callable[[float], None]
) -> None:
    due(ca, "www.example.test")
    ca.fault("newOrder", Fault.PROBLEM, times=None, code="rejectedIdentifier", status=400, detail="Not this name")
    for hour in range(0, 21 * 24, 18):
        move_clock(hour * 3600)
        tasks.tick()
        tasks.run_orders()
    assert [each.partition(":")[0] for each in subjects(mail)] == ["Notice", "Warning", "Urgent", "Outage"]


def test_a_mail_server_that_is_away_costs_the_renewal_nothing_and_the_mail_comes_later(
    ca: AcmeServer, mail: MailServer, schedule: Schedule
) -> None:
    (certificate,) = due(ca, "www.example.test")
    mail.moods.drop = "MAIL"
    ca.fault("newOrder", Fault.PROBLEM, code="rejectedIdentifier", status=400, detail="Not now", times=None)
    schedule.go_on(minutes=30)
    assert mail.received == []
    mail.moods.drop = ""
    schedule.go_on(hours=1)
    assert subjects(mail) == ["Notice: www.example.test: its renewal fails"]
    ca.heal()
    schedule.go_on(hours=3)
    certificate.refresh_from_db()
    assert certificate.current is not None
    assert certificate.current.not_after > clock.now() + timedelta(days=30)
