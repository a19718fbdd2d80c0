"""Renewal information (RFC 9773) of pebble: a window forced into the past renews the certificate, naming the old."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certs import tasks
from certs.acme.sessions import session, sessions_forget
from certs.domain import states
from certs.domain.ari import Suggestion
from certs.domain.certinfo import certificate_info
from certs.domain.errors import AcmeRefused
from certs.domain.pem import certificates_read
from certs.models import AcmeAccount, Certificate, JobEvent, Order
from certs.services.accounts import account_session
from certs.services.orders import order_create
from certs.services.version_history import version_use
from portal import clock
from tests.harness.issuing import Responder, account_at, advance, order_for
from tests.harness.need import need
from tests.harness.pebble import Pebble

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True, serialized_rollback=True)]
WHY = "https://ca.example/mass-revocation"
Clock = Callable[[float], None]


@pytest.fixture
def ca() -> Iterator[Pebble]:
    need("pebble")
    with Responder() as responder, Pebble(http_port=responder.port) as running:
        if not running.has_profiles:
            pytest.skip("this pebble has no renewal information")
        yield running
    sessions_forget()


def force_window(ca: Pebble, certificate: Certificate, answer: dict[str, Any]) -> None:
    assert certificate.current is not None
    body = {"certificate": certificate.current.leaf_pem, "ariResponse": json.dumps(answer)}
    ca.management("POST", "/set-renewal-info/", json=body)


def tick(certificate: Certificate) -> Certificate:
    Certificate.objects.update(next_check_at=clock.now())
    tasks.tick()
    certificate.refresh_from_db()
    return certificate


def test_a_window_in_the_past_renews_and_the_old_one_is_replaced(ca: Pebble, move_clock: Clock) -> None:
    certificate = advance(order_for(account_at(ca))).certificate
    tick(certificate)
    own = Suggestion.from_json(certificate.ari)
    assert certificate.current is not None
    assert own.start is not None
    assert own.selected is not None
    assert clock.now() < own.start <= own.selected < certificate.current.not_after
    assert certificate.last_decision == "not-due"

    move_clock(30 * 86400)  # a third of its life, past the brake and far from the date rule
    now = clock.now()
    window = {"start": (now - timedelta(days=2)).isoformat(), "end": (now - timedelta(days=1)).isoformat()}
    force_window(ca, certificate, {"suggestedWindow": window, "explanationURL": WHY})
    old = certificate.current
    tick(certificate)
    assert certificate.last_decision == "due-ari"
    assert WHY in certificate.last_decision_text

    order = advance(Order.objects.get(certificate=certificate, finished_at=None))
    assert (order.state, order.reason) == (states.DONE, "due-ari"), order.error_message
    certificate.refresh_from_db()
    assert certificate.current != old
    assert certificate.ari == {}
    old_id = certificate_info(certificates_read(old.leaf_pem.encode())[0]).ari_id
    assert order.replaces == old_id
    assert "is a replacement of" in ca.log
    assert not JobEvent.objects.filter(job=order.pk, message__contains="without naming").exists()
    assert already_replaced(old_id, order)

    tick(certificate)
    assert Suggestion.from_json(certificate.ari).window != own.window
    assert certificate.last_decision == "not-due"

    # A person goes back to the old one: its next renewal names what was replaced already, and does without.
    version_use(certificate, old, actor="test")
    third = advance(order_create(certificate, reason="forced", actor="test"))
    assert (third.state, third.replaces) == (states.DONE, ""), third.error_message  # the CA has not taken it
    assert JobEvent.objects.filter(job=third.pk, message__contains="without naming").count() == 1
    assert ca.issued() == 3


def already_replaced(old_id: str, order: Order) -> bool:
    """The CA's own word: a further order that would replace it is refused."""
    with pytest.raises(AcmeRefused) as refused, session(account_session(order.account)) as client:
        client.order_new(order.names, replaces=old_id)
    return refused.value.code == "acme-alreadyReplaced" and refused.value.problem["status"] == 409


def test_senseless_answers_and_a_ca_that_is_gone_leave_the_date_rule(ca: Pebble, move_clock: Clock) -> None:
    certificate = advance(order_for(account_at(ca))).certificate
    moments = [(datetime.now(UTC) - timedelta(days=days)).isoformat() for days in (1, 2)]
    backwards = dict(zip(("start", "end"), moments, strict=True))
    for window in ({}, None, backwards):
        force_window(ca, certificate, {"suggestedWindow": window})
        Certificate.objects.update(ari={})
        assert tick(certificate).last_decision == "not-due"
        assert certificate.ari["trouble"]
    Certificate.objects.update(ari={})
    assert ca._process is not None
    ca._process.stop(timeout=3)  # only the CA: its name server lives on
    assert tick(certificate).last_decision == "not-due"
    assert "cannot be reached" in AcmeAccount.objects.get().ari_trouble
    move_clock(70 * 86400)
    assert tick(certificate).last_decision == "due-date"
