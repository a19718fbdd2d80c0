"""What the CAs suggest is asked before the sweep, kept, and never in its way."""

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Self

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from certs import tasks
from certs.acme.renewal_info import NoRenewalInfo, RenewalInfo
from certs.domain.errors import InputError
from certs.models import AcmeAccount, AuditEvent, Certificate, CertificateVersion, Order
from certs.services import renewal_info
from certs.services.renewal_info import renewal_info_refresh
from certs.services.sweeps import sweep_run
from portal import clock
from tests import stock

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
WHY = "https://ca.example/why"
Answer = RenewalInfo | NoRenewalInfo


class FakeCa:
    """In place of the network: `answer` is given to everybody; `asked` are (directory, ARI id)."""

    def __init__(self) -> None:
        now = clock.now()
        self.answer: Answer | Exception = RenewalInfo(now + 40 * DAY, now + 42 * DAY, WHY, now + DAY / 4)
        self.by_directory: dict[str, Callable[[], Answer]] = {}
        self.asked: list[tuple[str, str]] = []

    def reader(self, directory_url: str, **_: Any) -> "_Reader":
        return _Reader(self, directory_url)

    def directories(self) -> list[str]:
        return sorted(directory for directory, _ in self.asked)


class _Reader:
    def __init__(self, ca: FakeCa, directory: str) -> None:
        self.ca, self.directory = ca, directory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, ari_id: str, now: datetime) -> Answer:
        self.ca.asked.append((self.directory, ari_id))
        if self.directory in self.ca.by_directory:
            return self.ca.by_directory[self.directory]()
        if isinstance(self.ca.answer, Exception):
            raise self.ca.answer
        return self.ca.answer


@pytest.fixture
def ca(monkeypatch: pytest.MonkeyPatch) -> FakeCa:
    fake = FakeCa()
    monkeypatch.setattr(renewal_info, "RenewalInfoReader", fake.reader)
    return fake


def issued(name: str, *, directory: str = stock.DIRECTORY, **options: Any) -> Certificate:
    """As `stock.issued`, with the order that brought it."""
    certificate = stock.issued(name, **options)
    account = stock.account(directory)
    Order.objects.create(
        certificate=certificate,
        account=account,
        reason="asked",
        names=certificate.names,
        version=certificate.current,
        state="done",
        finished_at=clock.now(),
    )
    CertificateVersion.objects.filter(pk=certificate.current_id).update(created_at=clock.now() - 80 * DAY)
    return certificate


def ari(certificate: Certificate) -> dict[str, str]:
    certificate.refresh_from_db()
    stored: dict[str, str] = certificate.ari
    return stored


def look_again() -> None:
    Certificate.objects.update(next_check_at=clock.now())


def test_the_window_is_kept_and_asked_again_only_when_the_ca_said(
    ca: FakeCa, move_clock: Callable[[float], None]
) -> None:
    certificate = issued("a.example")
    assert renewal_info_refresh() == 1
    kept = ari(certificate)
    assert isinstance(ca.answer, RenewalInfo)
    assert kept["start"] == ca.answer.start.isoformat()
    assert kept["start"] <= kept["selected"] <= kept["end"]
    assert kept["explanation"] == WHY
    assert renewal_info_refresh() == 0
    move_clock(7 * 3600)
    assert renewal_info_refresh() == 1
    assert ari(certificate)["selected"] == kept["selected"]
    assert len(ca.asked) == 2
    assert not AuditEvent.objects.filter(action="certificate.renewal-window").exists()


def test_a_moved_window_is_told_and_orders_the_renewal(ca: FakeCa) -> None:
    certificate = issued("a.example", age=30)
    renewal_info_refresh()
    Certificate.objects.update(ari={**ari(certificate), "retry_at": clock.now().isoformat()})
    now = clock.now()
    ca.answer = RenewalInfo(now - 2 * DAY, now - DAY, WHY, now + DAY)
    tasks.tick()
    order = Order.objects.get(finished_at=None)
    assert order.reason == "due-ari"
    assert order.replaces == ca.asked[0][1]
    certificate.refresh_from_db()
    assert certificate.last_decision_text == f"The CA asks for its renewal now; it says why at {WHY}."
    event = AuditEvent.objects.get(action="certificate.renewal-window")
    assert event.before["start"] != event.after["start"]


def test_who_is_never_asked_about(ca: FakeCa) -> None:
    issued("expired.example", age=91)
    stock.uploaded("own.example")
    stock.issued("no-order.example")
    own = issued("self-signed.example")
    CertificateVersion.objects.filter(certificate=own).update(self_signed=True)
    issued("not-its-time.example")
    Certificate.objects.filter(name="not-its-time.example").update(next_check_at=clock.now() + DAY)
    broken = issued("broken.example")
    CertificateVersion.objects.filter(certificate=broken).update(leaf_pem="x")
    assert renewal_info_refresh() == 0
    assert ca.asked == []


def test_the_ca_that_issued_it_is_asked_not_the_next_one(ca: FakeCa) -> None:
    issued("a.example", directory="https://old.example/directory")
    renewal_info_refresh()
    assert ca.directories() == ["https://old.example/directory"]


def test_a_failure_keeps_what_was_known_and_a_ca_that_knows_nothing_clears_it(ca: FakeCa) -> None:
    certificate = issued("a.example")
    renewal_info_refresh()
    selected = ari(certificate)["selected"]
    for unknown in (False, True):
        Certificate.objects.update(ari={**ari(certificate), "retry_at": clock.now().isoformat()})
        ca.answer = NoRenewalInfo("The CA's window ends before it begins.", clock.now() + DAY, unknown=unknown)
        renewal_info_refresh()
        kept = ari(certificate)
        assert kept["trouble"] == "The CA's window ends before it begins."
        assert kept.get("selected") == (None if unknown else selected)


def test_a_directory_that_fails_is_left_alone_and_the_others_are_asked(ca: FakeCa) -> None:
    for number in range(5):
        issued(f"a{number}.example")
    issued("b.example", directory="https://other.example/directory")
    down = NoRenewalInfo("Our CA cannot be reached.", clock.now() + DAY / 24, directory_wide=True)
    ca.by_directory[stock.DIRECTORY] = lambda: down
    assert renewal_info_refresh() == 1
    assert ca.directories() == [stock.DIRECTORY, "https://other.example/directory"]
    assert renewal_info_refresh() == 0
    assert len(ca.asked) == 2
    lines = sweep_run()
    assert {line.code for line in lines} == {"not-due"}
    assert all(line.next_check_at <= clock.now() + DAY / 10 for line in lines if line.name.startswith("a"))


def test_a_directory_s_trouble_is_told_once_and_its_end(
    ca: FakeCa, move_clock: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    issued("a.example")
    good = ca.answer
    ca.answer = NoRenewalInfo("Our CA cannot be reached.", clock.now(), directory_wide=True)
    with caplog.at_level("INFO", logger="bindery.renewal-info"):
        for _ in range(3):
            renewal_info_refresh()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert AcmeAccount.objects.get().ari_trouble == "Our CA cannot be reached."
        ca.answer = good
        renewal_info_refresh()
    assert len(ca.asked) == 4
    assert AcmeAccount.objects.get().ari_trouble == ""
    assert "again" in caplog.text


def test_a_directory_without_renewal_information_is_not_asked_for_a_day(
    ca: FakeCa, move_clock: Callable[[float], None]
) -> None:
    issued("a.example")
    reason = "Our CA gives no renewal information."
    ca.answer = NoRenewalInfo(reason, clock.now() + DAY, directory_wide=True, unknown=True)
    renewal_info_refresh()
    issued("b.example")
    for hours in (1, 12, 23):
        move_clock(hours * 3600)
        look_again()
        renewal_info_refresh()
    assert len(ca.asked) == 1
    move_clock(25 * 3600)
    renewal_info_refresh()
    assert len(ca.asked) == 2


def test_a_ca_that_does_not_answer_in_time_is_not_waited_for(ca: FakeCa) -> None:
    issued("a.example")
    quick = issued("b.example", directory="https://quick.example/directory")
    over = threading.Event()

    def hang() -> Answer:
        over.wait(10)
        return NoRenewalInfo("late", clock.now())

    ca.by_directory[stock.DIRECTORY] = hang
    began = time.monotonic()
    assert renewal_info_refresh(seconds=0.3) == 1
    assert time.monotonic() - began < 2
    over.set()
    assert "selected" in ari(quick)
    assert "did not answer in time" in AcmeAccount.objects.get(directory_url=stock.DIRECTORY).ari_trouble


def test_those_the_time_was_not_enough_for_are_looked_at_again_soon(ca: FakeCa) -> None:
    for number in range(4):
        issued(f"a{number}.example")
    good = ca.answer
    assert isinstance(good, RenewalInfo)

    def slow() -> Answer:
        time.sleep(0.2)
        return good

    ca.by_directory[stock.DIRECTORY] = slow
    assert 1 <= renewal_info_refresh(seconds=0.5) <= 3
    left = [row for row in Certificate.objects.all() if "start" not in row.ari]
    assert left
    lines = {line.certificate: line for line in sweep_run()}
    assert all(lines[row.pk].next_check_at <= clock.now() + DAY / 10 for row in left)
    look_again()
    ca.by_directory.clear()
    assert renewal_info_refresh() == len(left)


@pytest.mark.parametrize("error", [RuntimeError("a fault"), RecursionError(), InputError("no such bundle")])
def test_no_fault_of_the_asking_stops_a_renewal(ca: FakeCa, error: Exception) -> None:
    issued("due.example", age=80)
    issued("fresh.example")
    ca.answer = error
    tasks.tick()
    assert Order.objects.get(finished_at=None).reason == "due-date"
    assert AcmeAccount.objects.get().ari_trouble


def test_a_fault_of_our_own_does_not_stop_it_either(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault() -> int:
        raise RuntimeError("a fault")

    monkeypatch.setattr(tasks, "TICK", (fault, *tasks.TICK[1:]))
    issued("due.example", age=80)
    tasks.tick()
    assert Order.objects.get(finished_at=None).reason == "due-date"


def test_a_version_that_came_meanwhile_is_not_given_the_old_window(ca: FakeCa) -> None:
    certificate = issued("a.example")
    good = ca.answer
    assert isinstance(good, RenewalInfo)
    store = renewal_info._store

    def renewed_meanwhile(*given: Any) -> None:
        stock.renewed(certificate)
        store(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renewal_info, "_store", renewed_meanwhile)
        renewal_info_refresh()
    assert ari(certificate) == {}


def test_with_nothing_to_ask_it_is_one_query(ca: FakeCa) -> None:
    issued("a.example")
    renewal_info_refresh()
    with CaptureQueriesContext(connection) as queries:
        renewal_info_refresh()
    assert len(queries) == 1
    assert queries.captured_queries[0]["sql"].startswith("SELECT")


def test_the_certificate_s_page_shows_the_window_and_why(ca: FakeCa, client: Client) -> None:
    client.force_login(stock.administrator())
    certificate = issued("a.example")
    AcmeAccount.objects.update(ari_trouble="Our CA cannot be reached.")
    url = reverse("certificate", args=[certificate.pk])
    assert "Our CA cannot be reached." in client.get(url).content.decode()
    renewal_info_refresh()
    page = client.get(url).content.decode()
    assert "The CA suggests" in page
    assert f'<a href="{WHY}"' in page
    assert "cannot be reached" not in page
    Certificate.objects.update(ari={"trouble": "The CA's answer names no window."})
    assert "names no window" in client.get(url).content.decode()
