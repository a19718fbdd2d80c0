"""What is found out at the moment of a failure is kept with it, and explains it."""

from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from certs.domain import states
from certs.domain.preflight import Finding, Level
from certs.models import Certificate, Order
from certs.services import explanations, order_flow
from certs.services.certificates import certificate_new
from certs.services.explanations import order_explain, order_next_try
from certs.services.orders import order_create
from portal import clock
from tests import stock
from tests.acme.fake_ca import FakeCa
from tests.harness.issuing import advance

pytestmark = pytest.mark.django_db
SENTENCE = "a.example has the AAAA record 2001:db8::1, where something else than this portal answers."


@pytest.fixture
def ca(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> FakeCa:
    fake = FakeCa(verdict="invalid")
    monkeypatch.setattr(order_flow, "session", fake.session)
    monkeypatch.setattr("certs.solvers.http01._seen", lambda *_: "HTTP 404 with something else: nginx")
    settings.FAILURE_LOOK_SECONDS = 1.0
    return fake


def failed() -> Order:
    certificate = certificate_new(name="", names=["a.example", "b.example"], account=stock.account(), actor="test")
    order: Order = advance(order_create(certificate, reason="asked", actor="test"))
    assert order.state == states.FAILED
    return order


def test_what_explains_the_others_is_the_cause(ca: FakeCa, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def look(names: list[str], *_: Any, **__: Any) -> list[Finding]:
        asked.append(names)
        return [
            Finding(
                "ipv6", Level.ERROR, "a.example", SENTENCE, "HTTP 404", "Remove it.", "a.example. AAAA 2001:db8::1"
            ),
            Finding("ipv4", Level.OK, "a.example", "Fine."),
        ]

    monkeypatch.setattr(explanations, "preflight_run", look)
    why = order_explain(failed())
    assert asked == [["a.example"]]  # the name that failed
    assert (why.cause, why.action) == (SENTENCE, "Remove it.")
    assert "Fine." not in str(why.proofs)


def test_a_look_that_finds_nothing_leaves_what_was_seen(ca: FakeCa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanations, "preflight_run", lambda *_, **__: [])
    assert (
        order_explain(failed()).cause
        == "Something else answers on port 80 of a.example: HTTP 404 with something else: nginx"
    )


def test_a_look_that_breaks_never_keeps_the_order_from_its_end(ca: FakeCa, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any, **__: Any) -> list[Finding]:
        raise RuntimeError("a fault of the look")

    monkeypatch.setattr(explanations, "preflight_run", breaks)
    assert failed().error_code == "acme-unauthorized"


def test_the_next_try_is_told_while_there_is_one(ca: FakeCa) -> None:
    order = failed()
    at = clock.now() + timedelta(hours=2)
    rows = Certificate.objects.filter(pk=order.certificate_id)

    def told(**changed: Any) -> Any:
        rows.update(**{"next_attempt_at": at, "auto_renew": True, **changed})
        return order_next_try(Order.objects.get(pk=order.pk))

    assert told() == at
    assert told(next_attempt_at=None, next_check_at=at) == at
    assert told(next_attempt_at=clock.now() - timedelta(hours=1)) <= clock.now()  # at the next look, not in the past
    assert told(next_attempt_at=clock.now() - timedelta(hours=1)) > clock.now() - timedelta(minutes=1)
    assert told(auto_renew=False) is None
    assert told(account=None) is None
    rows.update(account=order.account)
    Order.objects.filter(pk=order.pk).update(rehearsal=True)
    assert told() is None
    Order.objects.filter(pk=order.pk).update(rehearsal=False)
    order_create(order.certificate, reason="asked", actor="test")
    assert told() is None
