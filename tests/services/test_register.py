"""Revoking by our own CAs: who may, what else it touches, and what stays when the certificate is gone."""

from collections.abc import Callable

import pytest

from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.domain.pem import Chain
from certs.domain.wishes import Wish
from certs.models import (
    AuditEvent,
    Authority,
    Certificate,
    CertificateVersion,
    IssuedCertificate,
    Organization,
    RoleGrant,
    User,
)
from certs.services.certificates import certificate_take
from certs.services.crls import REGISTER, crl_sweep, register_prune
from certs.services.issued import authority_issue
from certs.services.register import authority_falls, issued_find, issued_of
from certs.services.revocations import serial_release, serial_revoke, version_release, version_revoke
from portal import clock
from tests import own_ca, stock
from tests.harness import pki

pytestmark = pytest.mark.django_db
DAY = 86_400.0


@pytest.fixture
def ca() -> Authority:
    return own_ca.root()


@pytest.fixture
def leaf(ca: Authority) -> Certificate:
    return own_ca.leaf(ca)


def row_of(certificate: Certificate) -> IssuedCertificate:
    return IssuedCertificate.objects.get(serial=own_ca.version(certificate).serial)


def person(role: str, organization: Organization) -> User:
    user = User.objects.create_user(f"{role}-{organization.pk}@example.com", "a long pass phrase")
    RoleGrant.objects.filter(user=user).delete()
    RoleGrant.objects.create(user=user, role=role, organization=organization)
    return user


def test_register_version_list_and_audit_agree(ca: Authority, leaf: Certificate) -> None:
    version_revoke(own_ca.version(leaf), "affiliationChanged", actor="test")
    row, version = row_of(leaf), own_ca.version(leaf)
    assert (row.reason, version.revocation_reason) == ("affiliationChanged", "affiliationChanged")
    assert row.revoked_at == version.revoked_at
    entry = own_ca.crl(ca).get_revoked_certificate_by_serial_number(int(row.serial, 16))
    assert entry is not None
    assert row.revoked_at is not None
    assert entry.revocation_date_utc == row.revoked_at.replace(microsecond=0)
    event = AuditEvent.objects.get(action="certificate.revoke")
    assert event.after == {"serial": row.serial, "reason": "affiliationChanged", "by": "our CA Our Root"}


def test_what_is_revoked_stays_so_but_for_a_worse_reason(ca: Authority, leaf: Certificate) -> None:
    version_revoke(own_ca.version(leaf), "superseded", actor="test")
    first = row_of(leaf).revoked_at
    for reason in ("certificateHold", "unspecified", "superseded"):
        version_revoke(own_ca.version(leaf), reason, actor="test")
        assert row_of(leaf).reason == "superseded"
    version_revoke(own_ca.version(leaf), "keyCompromise", actor="test")
    assert (row_of(leaf).reason, row_of(leaf).revoked_at) == ("keyCompromise", first)
    with pytest.raises(ConflictError):
        version_release(own_ca.version(leaf), actor="test")
    with pytest.raises(InputError):
        version_revoke(own_ca.version(leaf), "removeFromCRL", actor="test")


def test_a_hold_becomes_a_revocation_for_good(ca: Authority, leaf: Certificate) -> None:
    serial_revoke(ca, row_of(leaf).serial, "certificateHold", actor="test")
    version_revoke(own_ca.version(leaf), "superseded", actor="test")
    assert row_of(leaf).reason == "superseded"
    with pytest.raises(ConflictError):
        serial_release(ca, row_of(leaf).serial, actor="test")


def test_a_compromised_key_is_marked_and_its_successor_has_another(ca: Authority) -> None:
    leaf = own_ca.leaf(ca, auto_renew=True)
    first = own_ca.version(leaf)
    version_revoke(first, "keyCompromise", actor="test")
    second = own_ca.version(leaf)
    assert second.pk != first.pk
    assert second.key_id != first.key_id
    assert first.key is not None
    first.key.refresh_from_db()
    assert first.key.compromised_at is not None
    assert second.revoked_at is None
    assert row_of(leaf).revoked_at is None
    assert IssuedCertificate.objects.get(serial=first.serial).revoked_at is not None


def test_a_root_is_revoked_by_nobody(ca: Authority) -> None:
    with pytest.raises(InputError, match="self-signed"):
        version_revoke(own_ca.version(ca.certificate), "cACompromise", actor="test")


def test_a_ca_that_is_revoked_signs_no_more(ca: Authority) -> None:
    below = own_ca.below(ca)
    leaf = own_ca.leaf(below)

    falls = authority_falls(ca)
    assert falls.authorities == ("Our Intermediate",)
    assert falls.certificates == 2  # the intermediate and its leaf, without the responders
    version_revoke(own_ca.version(below.certificate), "cACompromise", actor="test")
    below.refresh_from_db()
    assert below.retired_at is not None
    assert own_ca.on_list(ca, below.certificate)
    with pytest.raises(NotAllowed):
        authority_issue(below, Wish(hosts=("x.example.com",), days=30), actor="test")
    version_revoke(own_ca.version(leaf), "superseded", actor="test")  # it still tells of what is revoked
    assert own_ca.on_list(below, leaf)


class TestWho:
    def test_an_operator_revokes_what_is_theirs_and_no_ca(self, ca: Authority, leaf: Certificate) -> None:
        bob = person("operator", leaf.organization)
        below = own_ca.below(ca)
        with pytest.raises(NotAllowed):
            version_revoke(own_ca.version(below.certificate), "superseded", actor=bob)
        with pytest.raises(NotAllowed):
            serial_revoke(ca, row_of(leaf).serial, "superseded", actor=bob)
        assert not IssuedCertificate.objects.exclude(revoked_at=None).exists()
        version_revoke(own_ca.version(leaf), "superseded", actor=bob)
        assert row_of(leaf).revoked_at is not None

    def test_who_imports_somebody_elses_certificate_does_not_own_it(self, ca: Authority, leaf: Certificate) -> None:
        other = Organization.objects.create(name="Another Organization")
        eve = person("operator", other)
        taken = Certificate.objects.create(name="mine now", source="uploaded", organization=other)
        version = own_ca.version(leaf)
        version.pk, version.certificate, version.key = None, taken, None
        version._state.adding = True
        version.id = CertificateVersion._meta.get_field("id").get_default()
        version.save()
        for act in (
            lambda: version_revoke(version, "superseded", actor=eve),
            lambda: version_release(version, actor=eve),
        ):
            with pytest.raises(NotAllowed):
                act()
        assert row_of_serial(ca, version.serial).revoked_at is None

    def test_a_forged_certificate_with_its_serial_number_is_another_one(self, ca: Authority, leaf: Certificate) -> None:
        forger = pki.authority("Our Root")  # the same name, another key
        forged = pki.leaf(forger, ["www.example.com"])
        made, _ = certificate_take(Chain(forged.certificate), None, actor="test")
        CertificateVersion.objects.filter(certificate=made).update(serial=row_of(leaf).serial)
        assert issued_of(own_ca.version(made)) is None
        assert issued_of(own_ca.version(leaf)) == row_of_serial(ca, own_ca.version(leaf).serial)


def row_of_serial(ca: Authority, serial: str) -> IssuedCertificate:
    return IssuedCertificate.objects.get(authority=ca, serial=serial)


def test_a_serial_number_is_found_in_every_spelling(ca: Authority, leaf: Certificate) -> None:
    row = row_of(leaf)
    plain = row.serial
    pairs = ":".join(plain.rjust(40, "0")[place : place + 2] for place in range(0, 40, 2))
    for spelling in (plain, plain.upper(), f"0x{plain}", pairs, f" {pairs.upper()} ", f"000{plain}"):
        assert issued_find(ca, spelling) == row
    for wrong in ("", "0", "x", "12 34", "ä", plain + "0", "-" + plain, "9" * 5000):
        with pytest.raises(InputError) as refused:
            issued_find(ca, wrong)
        assert refused.value.code == "serial-unknown"
        assert len(str(refused.value)) < 300


def test_the_register_forgets_only_what_every_list_has_told_of(
    ca: Authority, leaf: Certificate, move_clock: Callable[[float], None]
) -> None:
    other = own_ca.leaf(ca, "other.example.com")
    version_revoke(own_ca.version(leaf), "superseded", actor="test")
    kept, plain = row_of(leaf), row_of(other)
    move_clock(91 * DAY)
    assert register_prune(clock.now()) == 0
    move_clock((91 + REGISTER.days) * DAY)
    # No list was signed since: the revoked one stays, whatever its age.
    register_prune(clock.now())
    assert IssuedCertificate.objects.filter(pk=kept.pk).exists()
    assert not IssuedCertificate.objects.filter(pk=plain.pk).exists()
    crl_sweep()
    assert own_ca.on_list(ca, leaf)
    register_prune(clock.now())
    move_clock((110 + REGISTER.days) * DAY)
    crl_sweep()
    register_prune(clock.now())
    assert not IssuedCertificate.objects.filter(pk=kept.pk).exists()


def test_what_an_outside_ca_signed_is_not_in_the_register(ca: Authority) -> None:
    assert issued_of(own_ca.version(stock.uploaded("a.example"))) is None
