"""A CA that loses, ends or refuses something between two steps of an order, and whether its Retry-After is obeyed."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import pytest

from certs.acme.sessions import sessions_forget
from certs.domain import states
from certs.domain.errors import AcmeRetry, ConflictError
from certs.models import AcmeAccount, Certificate, JobEvent, LedgerEntry, Order
from certs.services import holds, order_flow
from certs.services.account_changes import account_contacts, account_register_now, account_rollover, accounts_settle
from certs.services.directories import directories_check
from certs.services.issuing import certificate_renew
from certs.services.order_leftovers import leftovers_give_up
from certs.services.order_runner import orders_run
from certs.services.orders import order_cancel, order_create
from certs.services.preflight import preflight_run
from certs.services.preflight_names import Target
from certs.services.renewal_info import renewal_info_refresh
from certs.services.revocations import version_revoke
from certs.services.sweeps import sweep_run
from portal import clock
from tests.harness.acme_server import AcmeServer, Dated, Fault
from tests.harness.issuing import account_at, order_for
from tests.harness.misbehaving import nothing_lost, serving, settle, stop_at
from tests.harness.rounds import rounds

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

DAY = 86400


@pytest.fixture
def ca(monkeypatch: pytest.MonkeyPatch, move_clock: Callable[[float], None]) -> Iterator[AcmeServer]:
    with serving(monkeypatch) as running:
        yield running


@pytest.mark.parametrize("status", ["expired", "deactivated", "revoked"])
@pytest.mark.parametrize("state", [states.CHALLENGED, states.READY])
def test_authorizations_that_end_before_the_order_are_asked_for_again(ca: AcmeServer, state: str, status: str) -> None:
    order = order_for(account_at(ca))
    stop_at(ca, order, state)
    ca.authorizations_end(status)
    settle(order)
    assert (order.state, order.restarts) == (states.DONE, 1), order.error_message
    assert (len(ca.orders), len(ca.issued)) == (2, 1)
    nothing_lost(ca)


def test_authorizations_that_always_end_do_not_bring_orders_without_end(ca: AcmeServer) -> None:
    ca.fault("authorization", Fault.STATUS, status="expired", times=None)
    order = order_for(account_at(ca))
    settle(order)
    assert (order.state, order.error_code) == (states.FAILED, "acme-order-gone")
    assert len(ca.orders) == 3
    assert Certificate.objects.get().failures == 1
    nothing_lost(ca)


@pytest.mark.parametrize("state", [states.ORDERED, states.CHALLENGED, states.READY, states.FINALIZED])
def test_orders_that_vanish_are_made_again(ca: AcmeServer, state: str) -> None:
    order = order_for(account_at(ca))
    stop_at(ca, order, state)
    key = order.key
    ca.orders_lose()
    settle(order)
    assert (order.state, order.restarts) == (states.DONE, 1), order.error_message
    assert order.key == key
    assert len(ca.orders) == 2
    assert len(ca.issued) == (2 if state == states.FINALIZED else 1)
    nothing_lost(ca)


@pytest.mark.parametrize(
    "state", [states.REGISTERED, states.ORDERED, states.CHALLENGED, states.READY, states.FINALIZED]
)
def test_a_lost_account_is_made_again_and_said_so(ca: AcmeServer, state: str) -> None:
    account = account_at(ca)
    order = order_for(account)
    stop_at(ca, order, state)
    before = AcmeAccount.objects.get().account_url
    ca.accounts_lose()
    settle(order)
    assert order.state == states.DONE, order.error_message
    assert AcmeAccount.objects.get().account_url not in {"", before}
    assert JobEvent.objects.filter(job=order.pk, message__contains="registering again").count() == 1
    assert len(ca.orders) == (1 if state == states.REGISTERED else 2)
    assert len(ca.accounts) == 1
    nothing_lost(ca)


@pytest.mark.parametrize("state", list(order_flow.STEP_OF_STATE)[:6])
def test_a_ca_that_is_away_for_hours_costs_nothing_but_time(ca: AcmeServer, state: str) -> None:
    order = order_for(account_at(ca))
    stop_at(ca, order, state)
    ca.stop()
    ahead = settle(order, most=12)
    assert (order.state, order.error_code) == (state, "acme-unreachable")
    assert ahead > 3600
    assert LedgerEntry.objects.filter(event="order").count() == len(ca.orders)
    ca.start()
    settle(order, ahead=ahead)
    assert order.state == states.DONE, order.error_message
    assert (len(ca.orders), len(ca.issued)) == (1, 1)
    nothing_lost(ca)


def test_what_was_issued_while_nobody_could_fetch_it_is_taken_by_the_next_order(ca: AcmeServer) -> None:
    order = order_for(account_at(ca))
    stop_at(ca, order, states.FINALIZED)
    ca.stop()
    ahead = settle(order)
    assert (order.state, order.error_code) == (states.FAILED, "acme-unreachable")
    ca.start()
    clock_to(ahead := ahead + 3600)
    again = order_create(order.certificate, reason="due", actor="schedule")
    settle(again, ahead=ahead)
    assert again.state == states.DONE, again.error_message
    assert (len(ca.orders), len(ca.issued)) == (1, 1)
    assert again.version.key == order.key
    nothing_lost(ca)


@pytest.mark.parametrize("state", [states.REGISTERED, states.CHALLENGED, states.READY, states.FINALIZED])
def test_nothing_is_asked_before_retry_after_however_often_it_is_started_again(ca: AcmeServer, state: str) -> None:
    order = order_for(account_at(ca))
    stop_at(ca, order, state)
    settle(order, most=0)
    fault = {"registered": "newOrder", "challenged": "challenge", "ready": "finalize", "finalized": "certificate"}
    ca.fault(fault[state], Fault.UNAVAILABLE, retry_after=7200)
    ahead = settle(order, most=2) - 7200  # the first round only brings the clock to where the order may go on
    asked = len(ca.calls)
    for part in (0.01, 0.3, 0.9, 0.999):
        settle(order, most=0)
        clock_to(ahead + 7200 * part)
        orders_run()
        assert len(ca.calls) == asked, f"asked after {part:.1%} of the time"
    settle(order, ahead=ahead + 7200)
    assert order.state == states.DONE, order.error_message
    nothing_lost(ca)


def test_whatever_is_wanted_of_a_ca_nothing_is_asked_before_its_retry_after(
    ca: AcmeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orders, account pages, revocation, the look before an order and what the tick asks; after a restart too."""
    first = order_for(account_at(ca))
    ahead = settle(first)
    version, account = first.version, first.account
    failed = order_for(account)
    stop_at(ca, failed, states.CHALLENGED)
    order_cancel(failed, actor="test")
    ca.fault("newOrder", Fault.UNAVAILABLE, retry_after=7200)
    held = order_create(first.certificate, reason="forced", actor="test")
    orders_run()
    asked = len(ca.calls)
    wanted: list[Callable[[], object]] = [
        orders_run,
        lambda: account_register_now(account, actor="test"),
        lambda: account_contacts(account, "new@example.test", actor="test"),
        lambda: account_rollover(account, actor="test"),
        accounts_settle,
        lambda: version_revoke(version, "superseded", actor="test"),
        lambda: preflight_run(["a.example.test"], Target.of(account), seconds=0.1),
        lambda: renewal_info_refresh(everything=True),
        directories_check,
        leftovers_give_up,
    ]
    for seconds in (1, 3600, 7190):
        clock_to(ahead + seconds)
        for ask in wanted:
            sessions_forget()
            monkeypatch.setattr(holds, "_told", {})  # what a restart forgets
            with suppress(AcmeRetry, ConflictError):
                ask()
            assert len(ca.calls) == asked, ask
    settle(held, ahead=ahead + 7300)
    assert held.state == states.DONE, held.error_message
    clock_to(ahead + 4 * 3600)
    assert leftovers_give_up() == 1
    nothing_lost(ca)


def clock_to(seconds: float) -> None:
    from django.conf import settings

    settings.TEST_CLOCK_FILE.write_text(str(seconds))


@pytest.mark.parametrize("off", [3600, -3600])
def test_a_date_in_retry_after_is_by_the_clock_of_the_ca(ca: AcmeServer, off: int) -> None:
    ca.fault("*", Fault.CLOCK_OFF, seconds=off, times=None)
    ca.fault("newOrder", Fault.RATE_LIMITED, retry_after=Dated(300))
    order = order_for(account_at(ca))
    assert 299 < settle(order) < 400
    assert order.state == states.DONE, order.error_message
    assert ca.count("newOrder") == 2
    nothing_lost(ca)


@pytest.mark.parametrize("said", [DAY, 9 * DAY])
def test_a_day_long_retry_after_ends_the_order_and_holds_the_certificate(ca: AcmeServer, said: int) -> None:
    ca.fault("newOrder", Fault.RATE_LIMITED, retry_after=said)
    order = order_for(account_at(ca))
    settle(order)
    certificate = Certificate.objects.get()
    assert (order.state, order.error_code) == (states.FAILED, "acme-rateLimited")
    assert timedelta(hours=23) < certificate.retry_after_at - clock.now() <= timedelta(days=1)

    asked = len(ca.calls)
    with pytest.raises(ConflictError):
        certificate_renew(certificate, actor="test")
    (line,) = sweep_run(only=[certificate], force=True)
    assert line.code == "held-back"
    orders_run()
    assert len(ca.calls) == asked

    clock_to(min(said, DAY) + 60)
    again = certificate_renew(certificate, actor="test")
    settle(again, ahead=min(said, DAY) + 60)
    assert again.state == states.DONE, again.error_message
    assert len(ca.orders) == 1


@pytest.mark.parametrize("state", [states.CHALLENGED, states.FINALIZED])
def test_a_day_long_retry_after_beside_a_poll_is_not_believed(ca: AcmeServer, state: str) -> None:
    # ZeroSSL says 86400 where it is done within minutes.
    resource = "authorization" if state == states.CHALLENGED else "order"
    ca.fault(resource, Fault.RETRY_AFTER, retry_after=DAY, times=None)
    ca.fault("validation", Fault.STALL_BEFORE, seconds=0.3)
    ca.fault("finalize", Fault.PROCESSING, polls=3)
    order = order_for(account_at(ca))
    ahead = settle(order)
    assert order.state == states.DONE, order.error_message
    assert ahead < DAY / 2
    assert len(ca.orders) == 1
    nothing_lost(ca)


def test_a_renewal_that_names_what_was_replaced_already_goes_on_without(ca: AcmeServer) -> None:
    first = order_for(account_at(ca))
    ahead = settle(first)
    ca.fault("newOrder", Fault.ALREADY_REPLACED)
    second = order_create(first.certificate, reason="forced", actor="test")
    assert second.replaces
    settle(second, ahead=ahead)
    assert second.state == states.DONE, second.error_message
    assert ca.orders[1].replaces == ""
    assert len(ca.orders) == 2
    assert second.key != first.key
    nothing_lost(ca)


def test_a_ca_that_fails_over_what_is_replaced_is_not_told_of_it(ca: AcmeServer) -> None:
    first = order_for(account_at(ca))
    ahead = settle(first)
    ca.fails_over_replaces = True
    second = order_create(first.certificate, reason="forced", actor="test")
    assert settle(second, ahead=ahead) < ahead + 60
    assert second.state == states.DONE, second.error_message
    assert [order.replaces for order in ca.orders] == ["", ""]
    nothing_lost(ca)


def test_a_ca_that_fails_once_is_told_again_what_is_replaced(ca: AcmeServer) -> None:
    first = order_for(account_at(ca))
    ahead = settle(first)
    ca.fault("newOrder", Fault.PROBLEM, status=500)
    second = order_create(first.certificate, reason="forced", actor="test")
    settle(second, ahead=ahead)
    assert ca.orders[1].replaces == second.replaces != ""
    assert (second.state, len(ca.orders)) == (states.DONE, 2)


def test_a_ca_that_always_loses_its_answer_to_new_order_gets_few_orders(ca: AcmeServer) -> None:
    ca.fault("newOrder", Fault.CUT_AFTER, times=None)
    order = order_for(account_at(ca))
    ahead = settle(order, most=12)
    assert order.state == states.REGISTERED
    assert ahead > 3600
    assert len(ca.orders) == ca.count("newOrder") == LedgerEntry.objects.filter(event="order").count() == 12
    ca.heal()
    settle(order, ahead=ahead)
    assert order.state == states.DONE, order.error_message
    nothing_lost(ca)


WEATHER = [
    ("*", Fault.BAD_NONCE, 0.1, {}),
    ("newOrder", Fault.RATE_LIMITED, 0.1, {"retry_after": 90}),
    ("authorization", Fault.UNAVAILABLE, 0.05, {"retry_after": 30}),
    ("finalize", Fault.UNAVAILABLE, 0.05, {"retry_after": 30}),
    ("certificate", Fault.UNAVAILABLE, 0.05, {"retry_after": 30}),
    ("*", Fault.UNAVAILABLE, 0.02, {}),
    ("*", Fault.HTML, 0.02, {"status": 502}),
    ("*", Fault.HTML, 0.02, {}),
    ("*", Fault.CUT_BEFORE, 0.03, {}),
    ("*", Fault.NO_NONCE, 0.1, {}),
    ("order", Fault.CUT_MIDDLE, 0.03, {}),
    ("challenge", Fault.CUT_AFTER, 0.05, {}),
    ("finalize", Fault.CUT_AFTER, 0.1, {}),
    ("finalize", Fault.PROCESSING, 0.3, {"polls": 4}),
    ("finalize", Fault.ORDER_NOT_READY, 0.05, {}),
    ("certificate", Fault.CUT_MIDDLE, 0.1, {}),
    ("certificate", Fault.STALL_AFTER, 0.02, {"seconds": 1}),
    ("authorization", Fault.ODD_CHALLENGES, 0.2, {}),
]


@rounds("count", 12, 200)
def test_in_bad_weather_every_order_is_issued_once(ca: AcmeServer, count: int) -> None:
    for resource, kind, rate, options in WEATHER:
        ca.fault(resource, kind, rate=rate, times=None, **options)
    account = account_at(ca)
    orders = [order_for(account) for _ in range(count)]
    settle(*orders, most=400)
    wrong = [(order.state, order.error_message) for order in orders if order.state != states.DONE]
    assert not wrong, wrong
    assert len(ca.orders) == len(ca.issued) == count
    assert Order.objects.count() == count
    nothing_lost(ca)
