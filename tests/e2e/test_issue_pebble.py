"""Orders against pebble, through the real steps: what comes out, what goes wrong, and what is said of it."""

from collections.abc import Iterator

import pytest

from certs.acme.sessions import sessions_forget
from certs.domain import states
from certs.models import Challenge, JobEvent
from certs.services.order_runner import orders_run
from tests.harness.issuing import Responder, account_at, advance, order_for
from tests.harness.need import need
from tests.harness.pebble import Pebble

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def responder() -> Iterator[Responder]:
    with Responder() as running:
        yield running
    sessions_forget()


@pytest.fixture
def ca(responder: Responder) -> Iterator[Pebble]:
    need("pebble")
    with Pebble(http_port=responder.port) as running:
        yield running


def test_a_certificate_is_issued_and_kept_with_its_key(ca: Pebble) -> None:
    order = advance(order_for(account_at(ca), "b.example.test", "a.example.test"))

    assert order.state == states.DONE, (order.error_message, order.problem)
    assert order.version.names == ["a.example.test", "b.example.test"]
    assert order.version.key == order.key
    assert order.certificate.current == order.version
    assert not Challenge.objects.exists()
    assert ca.issued() == 1
