"""Without workers, a command asks the CAs itself when they want renewals, before it decides."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from certs.acme.renewal_info import RenewalInfo
from certs.domain.renewal import Code
from certs.management import reporting
from certs.models import Order
from certs.services import renewal_info
from portal import clock
from tests import stock
from tests.commands.running import run

pytestmark = pytest.mark.django_db


class RevokingCa:
    """In place of the network: its window is over, as after an incident (RFC 9773 §4.2)."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> "RevokingCa":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, ari_id: str, now: datetime) -> RenewalInfo:
        day = timedelta(days=1)
        return RenewalInfo(now - 2 * day, now - day, "https://ca.example/why", now + day)


@pytest.fixture(autouse=True)
def recalled(monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = stock.issued("a.example", age=5)
    Order.objects.create(
        certificate=certificate,
        account=stock.account(),
        reason="asked",
        names=certificate.names,
        version=certificate.current,
        state="done",
        finished_at=clock.now(),
        created_at=clock.now() - timedelta(days=5),
    )
    certificate.current.__class__.objects.update(created_at=clock.now() - timedelta(days=80))
    type(certificate).objects.update(next_check_at=clock.now() + timedelta(hours=5))
    monkeypatch.setattr(renewal_info, "RenewalInfoReader", RevokingCa)
    monkeypatch.setattr(reporting, "orders_await", lambda *_, **__: {})


@pytest.mark.parametrize("words", [("check_certificates",), ("renew", "--due")])
def test_inline_a_command_hears_them_before_it_decides(words: tuple[str, ...]) -> None:
    ran = run(*words, "--inline", "--json")
    (line,) = ran.json["certificates"]
    assert line["decision"] == Code.RECALLED
    assert Order.objects.filter(finished_at=None).count() == 1


@pytest.mark.usefixtures("worker")
def test_with_workers_each_tick_does() -> None:
    ran = run("check_certificates", "--json")
    assert ran.json["certificates"][0]["decision"] == Code.NOT_DUE


def test_a_dry_run_asks_nobody_and_stores_nothing() -> None:
    ran = run("check_certificates", "--inline", "--dry-run", "--json")
    assert ran.json["certificates"][0]["decision"] == Code.NOT_DUE
