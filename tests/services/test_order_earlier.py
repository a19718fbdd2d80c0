"""An order that was given up while the CA was issuing: the next one looks there first, and takes what came of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from certs.domain import states
from certs.domain.errors import AcmeRetry
from certs.models import Certificate, CertificateVersion, JobEvent, LedgerEntry, Order, PrivateKey
from certs.services import order_flow
from certs.services.order_advance import LONGEST_LIFE_ISSUED
from certs.services.order_earlier import MOST_LOOKS
from certs.services.orders import order_create
from portal import clock
from tests import stock
from tests.acme.fake_ca import FakeCa
from tests.harness.issuing import advance

pytestmark = pytest.mark.django_db


@pytest.fixture
def ca(monkeypatch: pytest.MonkeyPatch) -> FakeCa:
    fake = FakeCa()
    monkeypatch.setattr(order_flow, "session", fake.session)
    monkeypatch.setattr(order_flow, "POLL_FIRST_SECONDS", 0.001)
    monkeypatch.setattr(order_flow, "POLL_DEADLINE_SECONDS", 0.3)
    return fake


@pytest.fixture
def failed(ca: FakeCa) -> Order:
    """Given up: the CA issued, and was out of reach from then on."""
    certificate = stock.wanted("a.example.test", "b.example.test")
    ca.fail["certificate_read"] = [AcmeRetry("out of reach") for _ in range(2)]
    order = advance(order_create(certificate, reason="asked", actor="test"))
    assert order.state == states.FINALIZED
    Order.objects.filter(pk=order.pk).update(created_at=clock.now() - LONGEST_LIFE_ISSUED)
    order = advance(Order.objects.get(pk=order.pk))
    assert order.state == states.FAILED
    return order


def again(order: Order) -> Order:
    return advance(order_create(Certificate.objects.get(pk=order.certificate_id), reason="due", actor="schedule"))


def test_what_was_issued_after_all_is_taken_and_costs_nothing(ca: FakeCa, failed: Order) -> None:
    done = again(failed)
    assert done.state == states.DONE, done.error_message
    assert (ca.calls["order_new"], len(ca.issued)) == (1, 1)
    assert done.key == failed.key == CertificateVersion.objects.get().key
    assert JobEvent.objects.filter(job=done.pk, message__contains="that is taken").exists()
    assert LedgerEntry.objects.filter(event="order").count() == 1
    # It is asked about once: what comes next is a renewal, and gets one of its own.
    assert again(failed).state == states.DONE
    assert (ca.calls["order_new"], CertificateVersion.objects.count()) == (2, 2)


def test_a_kill_after_taking_it_over_loses_nothing(ca: FakeCa, failed: Order) -> None:
    ca.fail["certificate_read"] = [ZeroDivisionError()]
    waiting = again(failed)
    assert waiting.finished_at is None
    ca.fail["certificate_read"] = []
    assert advance(waiting).state == states.DONE
    assert len(ca.issued) == 1


@pytest.mark.parametrize("status", ["processing", "ready", "invalid", "pending"])
def test_what_was_not_issued_is_ordered_anew_and_not_looked_at_again(ca: FakeCa, failed: Order, status: str) -> None:
    ca.orders[failed.order_url] = replace(ca.orders[failed.order_url], status=status)
    ca.processing_reads = 10**6
    ca.fail["order_new"] = [AcmeRetry("not now")]
    waiting = again(failed)
    reads = ca.calls["order_read"]
    ca.processing_reads = 0
    assert advance(waiting).state == states.DONE
    assert (ca.calls["order_new"], len(ca.issued)) == (3, 2)
    failed.refresh_from_db()
    assert (failed.csr_pem, ca.calls["order_read"] > reads) == ("", True)
    assert failed.key is not None  # of what may be issued all the same


def test_an_order_that_the_ca_has_forgotten_is_made_anew(ca: FakeCa, failed: Order) -> None:
    ca.lose(failed.order_url)
    assert again(failed).state == states.DONE
    assert ca.calls["order_new"] == 2


def test_a_wrong_certificate_is_not_asked_for_again(ca: FakeCa, failed: Order) -> None:
    ca.issue_for = ["evil.example.test"]
    Order.objects.update(csr_pem="")
    wrong = again(failed)
    assert (wrong.state, wrong.error_code, wrong.csr_pem) == (states.FAILED, "names", "")
    key = wrong.key
    ca.issue_for = None
    done = again(wrong)
    assert done.state == states.DONE
    assert ca.calls["order_new"] == 3
    assert key is not None
    assert PrivateKey.objects.filter(pk=key.pk).exclude(sealed="").exists()


@pytest.mark.parametrize("what", ["key", "names", "late"])
def test_what_does_not_fit_any_more_is_passed_over(ca: FakeCa, failed: Order, what: str) -> None:
    if what == "key":
        PrivateKey.objects.filter(pk=failed.key_id).update(compromised_at=clock.now())
    elif what == "names":
        ca.issued[-1] = ca._sign(_request(failed), ["evil.example.test"])
    else:
        Certificate.objects.update(renew_before_days=21)
        ca.issued[-1] = _ending(ca, failed, timedelta(days=20))
    done = again(failed)
    assert done.state == states.DONE
    assert (ca.calls["order_new"], len(ca.issued)) == (2, 2)
    assert done.key != failed.key


def test_a_ca_that_cannot_tell_of_the_old_order_does_not_hold_up_the_new_one(ca: FakeCa, failed: Order) -> None:
    ca.fail["order_read"] = [AcmeRetry("an old order") for _ in range(MOST_LOOKS + 1)]
    order = again(failed)
    for _ in range(MOST_LOOKS):
        assert order.state == states.REGISTERED
        order = advance(order)
    assert order.state == states.DONE
    assert ca.calls["order_new"] == 2


def _request(order: Order) -> object:
    from cryptography import x509

    return x509.load_pem_x509_csr(order.csr_pem.encode())


def _ending(ca: FakeCa, order: Order, left: timedelta) -> object:
    """A certificate of 90 days for the order's key, most of which is over."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    end = datetime.now(UTC).replace(microsecond=0) + left
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca._root.certificate.subject)
        .public_key(_request(order).public_key())  # type: ignore[attr-defined]
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=90))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in order.names]), critical=True)
        .sign(ca._root.key, hashes.SHA256())
    )
