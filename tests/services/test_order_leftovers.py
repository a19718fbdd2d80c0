"""What an order that was cancelled or failed leaves pending at its CA is given up by the worker, later."""

from datetime import timedelta
from typing import Any

import pytest

from certs.domain import states
from certs.domain.errors import AcmeRetry
from certs.models import AcmeAccount, JobEvent, Order
from certs.services import accounts, order_flow, orders
from certs.services.accounts import account_get_or_create
from certs.services.certificates import certificate_new
from certs.services.holds import directory_hold
from certs.services.order_leftovers import LAPSE, leftovers_give_up
from certs.services.orders import LEFTOVERS, order_cancel, order_create
from portal import clock
from tests.acme.fake_ca import FakeCa
from tests.harness.issuing import advance

pytestmark = pytest.mark.django_db
PENDING = ["https://ca/authz/1/a.example.test", "https://ca/authz/1/b.example.test"]


@pytest.fixture
def ca(monkeypatch: pytest.MonkeyPatch) -> FakeCa:
    fake = FakeCa()
    monkeypatch.setattr(order_flow, "session", fake.session)
    monkeypatch.setattr(accounts, "session", fake.session)
    monkeypatch.setattr(order_flow, "POLL_FIRST_SECONDS", 0.001)
    monkeypatch.setattr(order_flow, "POLL_DEADLINE_SECONDS", 0.3)
    return fake


def order_for(*names: str) -> Order:
    account = account_get_or_create(
        directory_url="https://ca.example/directory", email="", terms_url="https://ca/t", actor="test"
    )
    return order_create(
        certificate_new(name="", names=names, account=account, actor="test"), reason="asked", actor="test"
    )


@pytest.fixture
def cancelled(ca: FakeCa) -> Order:
    ca.pending_reads = 10**6
    order = advance(order_for("a.example.test", "b.example.test"))
    assert order.state == states.CHALLENGED
    order_cancel(order, actor="test")
    return order


def test_the_click_itself_asks_nobody(ca: FakeCa, cancelled: Order) -> None:
    assert ca.deactivated == []


def test_a_worker_is_told_of_a_cancel(
    ca: FakeCa, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    queued: list[str] = []
    monkeypatch.setattr(orders, "queue_enqueue", queued.append)
    order = order_for("a.example.test")
    with django_capture_on_commit_callbacks(execute=True):
        order_cancel(order, actor="test")
    assert queued == [LEFTOVERS]


def test_what_is_pending_is_given_up_once(ca: FakeCa, cancelled: Order) -> None:
    assert leftovers_give_up() == 1
    assert ca.deactivated == PENDING
    asked = sum(ca.calls.values())
    assert leftovers_give_up() == 0
    assert sum(ca.calls.values()) == asked
    assert JobEvent.objects.filter(job=cancelled.pk, message__startswith="Gave up the pending").count() == 1


def test_a_kill_in_between_leaves_the_rest_to_the_next(ca: FakeCa, cancelled: Order, move_clock: Any) -> None:
    ca.on["authorization_deactivate"] = _killed
    with pytest.raises(SystemExit):
        leftovers_give_up()
    del ca.on["authorization_deactivate"]
    assert leftovers_give_up() == 0  # not at once: what kills its process must not do so again and again
    move_clock(600)
    assert leftovers_give_up() == 1
    assert ca.deactivated == PENDING


def _killed() -> None:
    raise SystemExit


def test_a_ca_that_is_away_is_asked_ever_later_and_not_for_ever(ca: FakeCa, cancelled: Order, move_clock: Any) -> None:
    ca.fail["order_read"] = [AcmeRetry("away") for _ in range(100)]
    ahead = 0.0
    before = ca.calls["order_read"]
    while ahead < LAPSE.total_seconds() + 3600:
        leftovers_give_up()
        ahead += 300
        move_clock(ahead)
    tries = ca.calls["order_read"] - before
    assert 3 < tries < 50
    ca.fail = {}
    assert leftovers_give_up() == 0
    assert ca.deactivated == []


def test_a_ca_that_wants_to_be_left_alone_is(ca: FakeCa, cancelled: Order) -> None:
    directory_hold(AcmeAccount.objects.get().directory_url, timedelta(hours=1))
    asked = sum(ca.calls.values())
    assert leftovers_give_up() == 0
    assert sum(ca.calls.values()) == asked


def test_what_another_order_may_be_proving_is_left_to_it(ca: FakeCa, cancelled: Order) -> None:
    """A CA may give the same pending authorization to both."""
    Order.objects.filter(pk=order_for("b.example.test").pk).update(names=["*.b.example.test"])
    assert leftovers_give_up() == 1
    assert ca.deactivated == PENDING[:1]


def test_what_is_asked_for_anew_meanwhile_is_left_as_well(ca: FakeCa, cancelled: Order) -> None:
    def again() -> None:
        del ca.on["order_read"]
        order_for("b.example.test")

    ca.on["order_read"] = again
    assert leftovers_give_up() == 1
    assert ca.deactivated == PENDING[:1]


def test_an_order_that_the_ca_made_during_the_cancel_is_given_up_as_well(ca: FakeCa) -> None:
    order = order_for("a.example.test", "b.example.test")
    ca.on["order_new"] = lambda: order_cancel(order, actor="test")
    assert advance(order).state == states.CANCELLED
    assert leftovers_give_up() == 1
    assert ca.deactivated == PENDING


def test_an_order_that_failed_for_a_reason_of_ours_leaves_nothing_either(
    ca: FakeCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca.answers = {"dns-01"}
    order = advance(order_for("a.example.test", "b.example.test"))
    assert (order.state, order.error_code) == (states.FAILED, "acme-no-challenge")
    assert leftovers_give_up() == 1
    assert ca.deactivated == PENDING


def test_what_is_valid_stays_and_what_was_issued_is_not_looked_at(ca: FakeCa) -> None:
    done = advance(order_for("a.example.test"))
    assert done.state == states.DONE
    Order.objects.filter(pk=done.pk).update(finished_at=clock.now())
    reads = sum(ca.calls.values())
    assert leftovers_give_up() == 0
    assert sum(ca.calls.values()) == reads
