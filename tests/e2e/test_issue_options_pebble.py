"""Each way to ask for a certificate, against pebble: keys, profiles, chains, addresses, what is kept at renewals."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from certs.acme.sessions import sessions_forget
from certs.domain import states
from certs.domain.pem import certificates_read
from certs.models import Certificate, Order
from certs.services.certificate_changes import certificate_options_change
from certs.services.certificates import certificate_new
from certs.services.issue_options import CA_KEY_TYPES, IssueOptions
from certs.services.orders import order_create
from tests.harness.issuing import Responder, account_at, advance
from tests.harness.need import need
from tests.harness.pebble import Pebble

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True, serialized_rollback=True)]
LIVES = {"default": timedelta(days=90), "shortlived": timedelta(days=6)}


@pytest.fixture
def responder() -> Iterator[Responder]:
    with Responder() as running:
        yield running
    sessions_forget()


@pytest.fixture
def ca(responder: Responder) -> Iterator[Pebble]:
    need("pebble")
    with Pebble(http_port=responder.port, alternate_roots=3, chain_length=2, profiles=LIVES) as running:
        if not running.has_profiles:
            pytest.skip("this pebble knows no profiles")
        yield running


def make(ca: Pebble, *names: str, **options: Any) -> Certificate:
    return certificate_new(
        name="",
        names=list(names) or ["a.example.test"],
        account=account_at(ca),
        actor="test",
        options=IssueOptions(**{"profile": "default", **options}),
    )


def ordered(certificate: Certificate) -> Order:
    order: Order = advance(order_create(certificate, reason="asked", actor="test"))
    assert order.state == states.DONE, (order.error_message, order.problem)
    certificate.refresh_from_db()
    return order


@pytest.mark.parametrize("kind", CA_KEY_TYPES)
def test_every_type_of_key(ca: Pebble, kind: str) -> None:
    version = ordered(make(ca, key_type=kind)).version
    assert version is not None
    assert version.key is not None
    assert version.key.key_type == kind


def test_the_profile_decides_the_life(ca: Pebble) -> None:
    version = ordered(make(ca, profile="shortlived")).version
    assert version is not None
    assert abs(version.lifetime - timedelta(days=6)) < timedelta(minutes=5)


def test_a_profile_that_the_ca_does_not_offer_is_named_with_those_it_does(ca: Pebble) -> None:
    order = advance(order_create(make(ca, profile="classic"), reason="asked", actor="test"))
    assert order.state == states.FAILED
    assert order.error_code == "acme-invalidProfile"
    assert "default, shortlived" in order.error_advice
    assert ca.issued() == 0


def test_addresses_stand_beside_names(ca: Pebble) -> None:
    version = ordered(make(ca, "127.0.0.1", "a.example.test", profile="shortlived")).version
    assert version is not None
    assert sorted(version.names) == ["127.0.0.1", "a.example.test"]


def test_each_root_can_be_preferred(ca: Pebble) -> None:
    certificate = make(ca)
    for number in range(4):
        root = x509.load_pem_x509_certificate(ca.root_pem(number).encode())
        (name,) = root.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        certificate_options_change(
            certificate, IssueOptions(profile="default", preferred_chain=str(name.value)), actor="test"
        )
        version = ordered(certificate).version
        assert version is not None
        top = certificates_read(version.chain_pem.encode())[-1]
        assert top.issuer == root.subject


def test_a_chain_that_is_not_offered_leaves_the_usual_one(ca: Pebble) -> None:
    order = ordered(make(ca, preferred_chain="Nobody's Root"))
    assert order.version is not None
    assert order.version.chain_pem


def test_a_renewal_brings_a_new_key_unless_it_is_to_be_kept(ca: Pebble) -> None:
    certificate = make(ca)
    keys = [ordered(certificate).key for _ in range(2)]
    assert keys[0] != keys[1]
    certificate_options_change(certificate, IssueOptions(profile="default", reuse_key=True), actor="test")
    assert ordered(certificate).key == keys[1]
    certificate_options_change(
        certificate, IssueOptions(profile="default", reuse_key=True, key_type="ec-p384"), actor="test"
    )
    other = ordered(certificate).key
    assert other is not None
    assert other.key_type == "ec-p384"
    assert certificate.current is not None
    type(certificate.current).objects.update(revocation_reason="keyCompromise")
    certificate.refresh_from_db()
    assert ordered(certificate).key != other
