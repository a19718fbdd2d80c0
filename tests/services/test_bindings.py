from datetime import UTC, datetime, timedelta

import pytest

from certs.domain.errors import CertificateRefused, InputError, NameRefused
from certs.models import AuditEvent, Binding, Certificate, CertificateVersion, PrivateKey
from certs.services.bindings import binding_remove, binding_set, bindings_default_only_placeholder
from certs.services.certificates import certificate_new, certificate_self_sign
from certs.services.deletion import certificate_delete
from certs.services.portal_state import generation_wanted, state_update
from tests import stock
from tests.harness import pki

pytestmark = pytest.mark.django_db


def test_each_binding_is_changed_by_itself_with_one_generation() -> None:
    one, two = stock.issued("a.example", "*.b.example"), stock.issued("c.example")
    generation = generation_wanted()
    binding_set("", one, actor="test")
    binding_set(" A.Example. ", one, actor="test")
    binding_set("x.b.example", one, actor="test")
    binding_set("*.b.example", one, actor="test")
    binding_set("c.example", two, actor="test")
    binding_set("", two, actor="test")
    assert generation_wanted() == generation + 6
    assert {binding.server_name: binding.certificate for binding in Binding.objects.all()} == {
        "": two,
        "a.example": one,
        "x.b.example": one,
        "*.b.example": one,
        "c.example": two,
    }
    event = AuditEvent.objects.filter(action="binding.set").first()
    assert event is not None
    assert (event.before["certificate"], event.after["certificate"]) == ("a.example", "c.example")


def test_the_same_binding_again_changes_nothing() -> None:
    certificate = stock.issued()
    binding_set("", certificate, actor="test")
    generation = generation_wanted()
    binding_set("", certificate, actor="test")
    assert generation_wanted() == generation
    assert AuditEvent.objects.filter(action="binding.set").count() == 1


def expired() -> Certificate:
    return stock.issued(days=90, age=91)


def keyless() -> Certificate:
    certificate = stock.issued()
    CertificateVersion.objects.update(key=None)
    certificate.refresh_from_db()
    return certificate


def key_elsewhere() -> Certificate:
    certificate = stock.issued()
    PrivateKey.objects.update(held="endpoint", sealed="")
    return Certificate.objects.get(pk=certificate.pk)


def early() -> Certificate:
    return stock.uploaded(pair=pki.leaf(stock.CA, ["a.example"], start=datetime.now(UTC) + timedelta(days=1)))


def never_issued() -> Certificate:
    return certificate_new(name="", names=["a.example"], account=stock.account(), actor="test")


def deleted() -> Certificate:
    certificate = stock.issued()
    certificate_delete(certificate, actor="test")
    certificate.refresh_from_db()
    return certificate


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (expired, "expired on"),
        (keyless, "not held here"),
        (key_elsewhere, "not held here"),
        (early, "is valid only from"),
        (never_issued, "nothing to serve yet"),
        (deleted, "nothing to serve yet"),
    ],
)
def test_what_cannot_be_served_is_not_bound(make: object, says: str) -> None:
    certificate = make()  # type: ignore[operator] # one of the makers above
    generation = generation_wanted()
    with pytest.raises(InputError, match=says):
        binding_set("", certificate, actor="test")
    assert not Binding.objects.exists()
    assert generation_wanted() == generation


@pytest.mark.parametrize("name", ["b.example", "x.a.example", "*.a.example"])
def test_a_name_that_it_does_not_hold_is_refused(name: str) -> None:
    with pytest.raises(CertificateRefused, match=r"does not hold .*; it holds a\.example\."):
        binding_set(name, stock.issued("a.example"), actor="test")


@pytest.mark.parametrize("name", ["https://a.example", "a.example/x", "a b", "192.0.2.7", "a..b", "-"])
def test_what_is_no_server_name_is_refused(name: str) -> None:
    with pytest.raises(NameRefused):
        binding_set(name, stock.issued("a.example"), actor="test")
    assert not Binding.objects.exists()


def test_removing_a_binding() -> None:
    certificate = stock.issued()
    binding_set("", certificate, actor="test")
    binding_set("a.example", certificate, actor="test")
    generation = generation_wanted()
    binding_remove("a.example", actor="test")
    assert [binding.server_name for binding in Binding.objects.all()] == [""]
    assert generation_wanted() == generation + 1
    with pytest.raises(InputError, match=r"Nothing is bound to a\.example"):
        binding_remove("a.example", actor="test")
    assert generation_wanted() == generation + 1


def test_an_own_certificate_is_never_replaced_by_a_renewal() -> None:
    """A renewal only adds a version to its own certificate."""
    own, renewing = stock.uploaded("a.example"), stock.issued("a.example")
    binding_set("", own, actor="test")
    generation = generation_wanted()
    stock.renewed(renewing)
    assert Binding.objects.get().certificate == own
    assert generation_wanted() == generation


def test_nothing_but_the_placeholder_is_bound() -> None:
    assert bindings_default_only_placeholder()
    placeholder = certificate_self_sign(name="p", names=["localhost"], actor="test", key_type="ec-p256")
    state_update(placeholder=placeholder)
    assert bindings_default_only_placeholder()
    binding_set("", placeholder, actor="test")
    assert bindings_default_only_placeholder()
    binding_set("a.example", stock.issued(), actor="test")
    assert not bindings_default_only_placeholder()
