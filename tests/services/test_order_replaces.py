"""A renewal names what it replaces (RFC 9773 §5), and gives way where the CA does not want to hear it."""

from collections.abc import Iterator

import pytest

from certs.acme.problems import Problem, failure
from certs.domain import states
from certs.domain.certinfo import certificate_info
from certs.domain.pem import certificates_read
from certs.models import AcmeAccount, Certificate, JobEvent, Order
from certs.services import order_flow
from certs.services.certificates import certificate_new
from certs.services.orders import order_create
from tests import stock
from tests.acme.fake_ca import FakeCa
from tests.harness.issuing import advance

pytestmark = pytest.mark.django_db


class RememberingCa(FakeCa):
    def __init__(self) -> None:
        super().__init__()
        self.replaced: list[str] = []

    def order_new(self, names: list[str], *, replaces: str = "", profile: str = "") -> object:  # type: ignore[override] # passed on
        self.replaced.append(replaces)
        return super().order_new(names, replaces=replaces, profile=profile)


@pytest.fixture
def ca(monkeypatch: pytest.MonkeyPatch) -> Iterator[RememberingCa]:
    fake = RememberingCa()
    monkeypatch.setattr(order_flow, "session", fake.session)
    monkeypatch.setattr(order_flow, "POLL_FIRST_SECONDS", 0.001)
    return fake


@pytest.fixture
def certificate(ca: RememberingCa) -> Certificate:
    made = certificate_new(name="", names=["a.example"], account=stock.account(), actor="test")
    assert advance(order_create(made, reason="asked", actor="test")).state == states.DONE
    made.refresh_from_db()
    return made


def renew(certificate: Certificate) -> Order:
    order: Order = advance(order_create(certificate, reason="due-ari", actor="schedule"))
    return order


def ari_id(certificate: Certificate) -> str:
    assert certificate.current is not None
    return certificate_info(certificates_read(certificate.current.leaf_pem.encode())[0]).ari_id


def test_the_first_order_replaces_nothing_and_a_renewal_the_current_version(
    ca: RememberingCa, certificate: Certificate
) -> None:
    assert renew(certificate).state == states.DONE
    assert ca.replaced == ["", ari_id(certificate)]


@pytest.mark.parametrize(
    ("code", "status", "detail"),
    [
        ("alreadyReplaced", 409, "cannot indicate an order replaces a certificate twice"),
        ("conflict", 409, "no"),
        ("malformed", 400, "parsing replaces"),
        ("unauthorized", 403, "the account did not request the certificate being replaced by this order"),
    ],
)
def test_a_refusal_of_it_is_answered_by_ordering_once_without(
    ca: RememberingCa, certificate: Certificate, code: str, status: int, detail: str
) -> None:
    document = {"type": f"urn:ietf:params:acme:error:{code}", "detail": detail}
    ca.fail["order_new"] = [failure(Problem.from_document(document, status), ca.label)]
    order = renew(certificate)
    assert order.state == states.DONE
    assert ca.replaced == ["", ari_id(certificate), ""]
    assert JobEvent.objects.filter(job=order.pk, message__contains="without naming the certificate").count() == 1


def test_a_second_refusal_is_not_argued_with(ca: RememberingCa, certificate: Certificate) -> None:
    refusal = Problem.from_document({"type": "urn:ietf:params:acme:error:alreadyReplaced"}, 409)
    ca.fail["order_new"] = [failure(refusal, ca.label), failure(refusal, ca.label)]
    order = renew(certificate)
    assert (order.state, order.error_code) == (states.FAILED, "acme-alreadyReplaced")
    assert len(ca.replaced) == 3


def test_another_refusal_is_not_taken_for_one_of_it(ca: RememberingCa, certificate: Certificate) -> None:
    refusal = Problem.from_document({"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "no"}, 403)
    ca.fail["order_new"] = [failure(refusal, ca.label)]
    assert renew(certificate).state == states.FAILED
    assert ca.replaced == ["", ari_id(certificate)]


def test_another_account_names_nothing(ca: RememberingCa, certificate: Certificate) -> None:
    other: AcmeAccount = stock.account("https://other.example/directory")
    Certificate.objects.filter(pk=certificate.pk).update(account=other)
    certificate.refresh_from_db()
    assert renew(certificate).state == states.DONE
    assert ca.replaced == ["", ""]
