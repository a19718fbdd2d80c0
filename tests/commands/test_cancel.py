"""`manage.py cancel`: an order that waits for somebody blocks every renewal until it ends."""

import pytest

from certs.domain import states
from certs.models import Order
from certs.services.orders import order_create
from tests import stock
from tests.commands.running import run

pytestmark = pytest.mark.django_db


def test_an_order_under_way_is_cancelled_once() -> None:
    order = order_create(stock.issued("www.example.com"), reason="asked", actor="test")
    assert run("cancel", "www.example.com").out == "www.example.com: its order was cancelled.\n"
    order.refresh_from_db()
    assert order.state == states.CANCELLED
    assert run("cancel", "www.example.com").out == "www.example.com: no order is under way.\n"


def test_what_the_ca_issues_already_stays() -> None:
    order = order_create(stock.issued("www.example.com"), reason="asked", actor="test")
    Order.objects.filter(pk=order.pk).update(state=states.FINALIZED)
    ran = run("cancel", "www.example.com")
    assert ran.code != 0
    assert "cannot be cancelled" in ran.err
    order.refresh_from_db()
    assert order.state == states.FINALIZED
