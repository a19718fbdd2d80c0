"""The fenced save: steps that wait for the next save are written with it, or not at all."""

from uuid import UUID, uuid4

import pytest

from certs.domain import states
from certs.models import JobEvent, Order, PrivateKey
from certs.services.keys import key_new
from certs.services.order_flow import Flow, LeaseLost
from tests import stock

pytestmark = pytest.mark.django_db
OWNER = uuid4()


def flow(owner: UUID = OWNER) -> Flow:
    certificate = stock.wanted()
    order = Order.objects.create(
        certificate=certificate,
        account=certificate.account,
        reason="test",
        names=certificate.names,
        lease_owner=OWNER,
    )
    return Flow(order, owner)


def row(one: Flow) -> tuple[str, object]:
    return Order.objects.values_list("state", "key").get(pk=one.order.pk)


def said(one: Flow) -> list[str]:
    return list(JobEvent.objects.filter(job=one.order.pk).order_by("pk").values_list("message", flat=True))


def registered(one: Flow) -> PrivateKey:
    key = key_new("ec-p256")
    one.move(states.REGISTERED, "ready", also=lambda: key.save(force_insert=True), at_once=False, key=key)
    return key


def test_a_step_that_waits_is_saved_with_the_next() -> None:
    one = flow()
    key = registered(one)
    assert (one.order.state, row(one), said(one)) == (states.REGISTERED, (states.NEW, None), [])
    one.move(states.ORDERED, "ordered", order_url="https://ca.example/order/1")
    assert (row(one), said(one)) == ((states.ORDERED, key.pk), ["ready", "ordered"])
    one.move(states.CHALLENGED, "in place")
    assert said(one) == ["ready", "ordered", "in place"]


def test_it_is_saved_with_whatever_is_written_first() -> None:
    for save in (lambda one: one.keep(), lambda one: one.release(attempts=3)):
        one = flow()
        key = registered(one)
        save(one)
        assert (row(one), said(one)) == ((states.REGISTERED, key.pk), ["ready"])


def test_a_note_comes_after_what_waits() -> None:
    one = flow()
    key = registered(one)
    one.note("trouble")
    assert said(one) == ["ready", "trouble"]
    one.release()
    assert row(one) == (states.REGISTERED, key.pk)
    assert said(one) == ["ready", "trouble"]


def test_who_has_lost_the_lease_writes_nothing_of_it() -> None:
    one = flow()
    key = registered(one)
    Order.objects.filter(pk=one.order.pk).update(lease_owner=uuid4())
    for save in (one.keep, lambda: one.move(states.ORDERED, "ordered"), one.release):
        with pytest.raises(LeaseLost):
            save()
    assert (row(one), said(one)) == ((states.NEW, None), [])
    assert not PrivateKey.objects.filter(pk=key.pk).exists()


def test_a_step_that_is_not_allowed_is_refused_also_where_it_waits() -> None:
    one = flow()
    with pytest.raises(ValueError, match="does not go"):
        one.move(states.DONE, "done", at_once=False)
    assert one.order.state == states.NEW
