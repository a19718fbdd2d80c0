"""The gate: while this portal may be a copy, no way leads to an order, nor to a session with a CA as an account."""

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from certs import tasks
from certs.acme import sessions
from certs.acme.directories import DirectoryInfo
from certs.domain import states
from certs.domain.alarms import Level, Trouble
from certs.domain.errors import BinderyError
from certs.management import waiting
from certs.models import AcmeAccount, Certificate, Challenge, Order
from certs.services import accounts, asking, first_start
from certs.services.account_changes import (
    account_contacts,
    account_deactivate,
    account_register_now,
    account_rollover,
    accounts_settle,
)
from certs.services.alarm_delivery import message_for
from certs.services.alarms import alarm_raise
from certs.services.asking import HELD, asking_held
from certs.services.challenges import challenges_clean
from certs.services.crls import crl_refresh
from certs.services.first_start import CertificateWish, certificate_request
from certs.services.identity import identity_hold, identity_settle, identity_take_over
from certs.services.issuing import certificate_order, certificate_renew, order_ask, order_retry
from certs.services.lets_encrypt import Wish, lets_encrypt_register
from certs.services.on_demand import on_demand_ask, on_demand_change
from certs.services.order_leftovers import leftovers_give_up
from certs.services.order_runner import orders_run
from certs.services.orders import order_create, orders_claim, orders_requeue_lapsed
from certs.services.rehearsals import rehearsal_ask
from certs.services.reissue import certificate_reissue
from certs.services.revocations import serial_revoke, version_revoke
from certs.services.sweeps import sweep_run
from portal import clock
from tests import own_ca, stock
from tests.commands.running import run

pytestmark = pytest.mark.django_db
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


class Asked(Exception):
    """The gate was passed."""


@pytest.fixture(autouse=True)
def _no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """No session is ever opened here: who gets as far fails the test."""

    def opened(_: object) -> None:
        raise Asked

    monkeypatch.setattr(sessions, "_open", opened)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "worker_alive", lambda: True)


@pytest.fixture
def due() -> Certificate:
    certificate = stock.issued("due.example", age=80)
    AcmeAccount.objects.update(account_url="https://acme.example/acct/1", directory_url=LETS_ENCRYPT)
    certificate.refresh_from_db()
    return certificate


@pytest.fixture
def held(due: Certificate) -> Certificate:
    identity_settle()
    identity_hold(actor="test")
    return due


def _retry(due: Certificate) -> object:
    old = Order.objects.create(
        certificate=due, account=due.account, names=due.names, state=states.FAILED, finished_at=clock.now()
    )
    return order_retry(old, actor="test")


def _by_register(due: Certificate) -> object:
    assert due.account
    return lets_encrypt_register(
        Wish(due.account.directory_url, ["new.example"], "", "https://acme.example/t"), actor="test"
    )


def _at_start(due: Certificate) -> object:
    assert due.account
    return certificate_request(CertificateWish(["start.example"], due.account.directory_url, terms_accepted=True))


# Each is a way to an order that a person, the schedule or a visitor takes.
ORDERS: dict[str, Callable[[Certificate], object]] = {
    "service": lambda due: order_create(due, reason="asked", actor="test"),
    "button": lambda due: certificate_renew(due, actor="test"),
    "changed": lambda due: order_ask(due, actor="test"),
    "retry": _retry,
    "register": _by_register,
    "new": lambda due: certificate_order(["new.example"], due.account, actor="test"),  # type: ignore[arg-type]
    "forced": lambda due: certificate_order(due.names, due.account, actor="test", force=True),  # type: ignore[arg-type]
    "rehearsal": lambda due: rehearsal_ask(due, actor="test"),
    "sweep": lambda _: sweep_run(everything=True),
    "sweep of one": lambda due: sweep_run(only=[due], actor="test", force=True, use_last=True),
    "tick": lambda _: tasks.tick(),
    "on demand": lambda _: on_demand_ask("shop.example"),
    "--hostnames": _at_start,
    "issue": lambda _: run("issue", "cli.example", "--timeout", "1"),
    "renew": lambda _: run("renew", "due.example", "--force", "--timeout", "1"),
    "renew inline": lambda _: run("renew", "--due", "--inline"),
    "check": lambda _: run("check_certificates", "--inline"),
    "rehearse": lambda _: run("rehearse", "due.example", "--timeout", "1"),
}


REFUSED = {"service", "button", "changed", "retry", "register", "new", "rehearsal"}


@pytest.mark.parametrize("way", ORDERS)
@pytest.mark.usefixtures("worker")
def test_no_way_leads_to_an_order(way: str, held: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_start, "directory_read", lambda *_, **__: DirectoryInfo("https://acme.example/t"))
    on_demand_change(on=True, hosts=["shop.example"], account=held.account, actor="test")
    before = Order.objects.count() + (way == "retry")
    if way in REFUSED:
        with pytest.raises(BinderyError, match="take_over"):
            ORDERS[way](held)
    else:
        ORDERS[way](held)
    assert Order.objects.count() == before
    held.refresh_from_db()
    assert held.failures == 0


@pytest.mark.parametrize("way", [way for way in ORDERS if way not in {"renew inline", "check", "tick", "issue"}])
@pytest.mark.usefixtures("worker")
def test_the_same_ways_lead_to_one_where_nothing_is_held(
    way: str, due: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the test above would pass by a typing error."""
    monkeypatch.setattr(first_start, "directory_read", lambda *_, **__: DirectoryInfo("https://acme.example/t"))
    on_demand_change(on=True, hosts=["shop.example"], account=due.account, actor="test")
    identity_settle()
    ORDERS[way](due)
    assert Order.objects.exclude(state=states.FAILED).count() == 1


def test_an_order_under_way_stays_exactly_as_it_is(due: Certificate) -> None:
    order = order_create(due, reason="asked", actor="test")
    identity_settle()
    identity_hold(actor="test")
    before = Order.objects.filter(pk=order.pk).values().get()
    assert orders_run() == 0
    assert orders_claim(8, uuid4()) == []
    assert orders_requeue_lapsed() == 0
    assert Order.objects.filter(pk=order.pk).values().get() == before
    assert identity_take_over(actor="test")
    assert orders_claim(8, uuid4()) == [order.pk]


# Each signs as the account, or with the certificate's key.
CHANGES: dict[str, Callable[[Certificate, AcmeAccount], object]] = {
    "revoke": lambda due, _: version_revoke(due.current, "superseded", actor="test"),  # type: ignore[arg-type]
    "revoke by key": lambda due, _: version_revoke(due.current, "superseded", by="key", actor="test"),  # type: ignore[arg-type]
    "register": lambda _, account: account_register_now(account, actor="test"),
    "e-mail": lambda _, account: account_contacts(account, "new@example.com", actor="test"),
    "key": lambda _, account: account_rollover(account, actor="test"),
    "end": lambda _, account: account_deactivate(account, actor="test"),
    "session": lambda _, account: accounts.account_session(account),
}


@pytest.mark.parametrize("way", CHANGES)
def test_nothing_is_changed_at_a_ca(way: str, held: Certificate) -> None:
    account = held.account
    assert account
    if way == "end":
        Certificate.objects.update(auto_renew=False)
    with pytest.raises(BinderyError) as refused:
        CHANGES[way](held, account)
    assert refused.value.code == HELD
    assert "take_over" in str(refused.value)
    assert accounts_settle() == 0


def test_our_own_cas_neither_sign_nor_revoke_where_another_register_would_not_know_of_it() -> None:
    authority = own_ca.root()
    row = own_ca.leaf(authority)
    identity_settle()
    identity_hold(actor="test")
    for deed in (
        lambda: own_ca.leaf(authority),
        lambda: own_ca.below(authority),
        lambda: certificate_reissue(row, actor="test"),
        lambda: version_revoke(own_ca.version(row), "superseded", actor="test"),
        lambda: serial_revoke(authority, own_ca.version(row).serial, "superseded", actor="test"),
    ):
        with pytest.raises(BinderyError) as refused:
            deed()
        assert refused.value.code == HELD
    assert crl_refresh(authority)  # what was revoked goes on being told


def test_what_the_other_portal_needs_is_left_at_its_ca_and_in_its_dns(due: Certificate) -> None:
    ended = Order.objects.create(
        certificate=due,
        account=due.account,
        names=due.names,
        state=states.CANCELLED,
        finished_at=clock.now(),
        order_url="https://acme.example/order/1",
    )
    long_ago = clock.now() - timedelta(hours=1)
    Challenge.objects.create(token="t", order=ended, name="due.example", kind="dns01_rfc2136", clean_at=long_ago)
    identity_settle()
    identity_hold(actor="test")
    assert challenges_clean() == leftovers_give_up() == 0
    assert Challenge.objects.get().clean_tries == 0
    assert Order.objects.get().attempts == 0


def test_a_sweep_says_why_and_looks_again_after_the_word(held: Certificate) -> None:
    line = sweep_run(everything=True)[0]
    assert line.code == "held-back"
    assert "copy" in line.text
    held.refresh_from_db()
    assert held.last_decision == "held-back"
    identity_take_over(actor="test")
    held.refresh_from_db()
    assert held.next_check_at <= clock.now()
    assert sweep_run()[0].order


def test_a_process_of_an_older_version_begins_nothing(due: Certificate) -> None:
    from django.db.migrations.recorder import MigrationRecorder

    order_create(due, reason="asked", actor="test")
    MigrationRecorder.Migration.objects.create(app="certs", name="9999_later")
    assert asking_held() == asking._NEWER
    assert orders_run() == 0
    with pytest.raises(BinderyError, match="older"):
        order_create(due, reason="asked", actor="test")


def test_pages_say_so_and_ask_an_administrator(held: Certificate, client: Client, settings: Settings) -> None:
    person = stock.administrator()
    client.force_login(person)
    page = client.get(reverse("certificates")).content.decode()
    assert "copy for trying" in page
    statusz = client.get("/statusz").json()
    assert {"code": "held", "ok": False} in [{k: each[k] for k in ("code", "ok")} for each in statusz["checks"]]
    url = reverse("take-over")
    assert client.post(url, {"which": "nonsense"}).status_code == 400
    assert asking_held()
    assert client.post(url, {"which": "this"}).status_code == 302
    assert not asking_held()
    person.is_superuser = False
    person.save()
    assert client.post(url, {"which": "trial"}).status_code == 403


def test_an_onlooker_is_told_but_not_sent_to_a_page_of_administrators(held: Certificate, client: Client) -> None:
    person = stock.administrator()
    person.is_superuser = False
    person.save()
    client.force_login(person)
    page = client.get(reverse("certificates")).content.decode()
    assert "copy for trying" in page
    assert reverse("take-over") not in page


def test_alarms_still_go_out_and_say_so(held: Certificate) -> None:
    alarm = alarm_raise(Trouble("x", Level.URGENT, "a.example: it expires", "It expires."))
    assert alarm
    assert "held until a person says" in message_for([alarm]).text
    identity_take_over(actor="test")
    assert "held" not in message_for([alarm]).text


def test_the_command_says_it_too(held: Certificate) -> None:
    assert run("take_over", "--look").last == "Held as a copy for trying."
    assert "from now on" in run("take_over").last
    assert run("take_over", "--look").last == "Nothing is held: this is the portal."
    assert run("take_over", "--hold").code == 0
    assert asking_held()
