"""Who may take what away, what is written about it, and what never is."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from pytest_django import Settings

from certs.domain.errors import ConflictError, InputError, KeyRefused, NotAllowed
from certs.domain.formats.base import formats
from certs.domain.jks import jks_read
from certs.domain.keys import spki_sha256
from certs.domain.pem import certificates_read
from certs.models import ApiToken, AuditEvent, Certificate, CertificateVersion, PrivateKey, RoleGrant, User
from certs.services.access import TokenActor
from certs.services.chains import chain_of
from certs.services.downloads import download_make, downloads_offered, trust_store_make
from certs.services.keys import key_create, key_import
from certs.services.versions import version_add
from portal import clock
from tests import stock
from tests.harness import pki

pytestmark = pytest.mark.django_db
ROOT = pki.authority("Our Root")
MIDDLE = pki.authority("Our Middle", ROOT)
PASSWORD = "never-in-any-record"


@pytest.fixture
def own(settings: Settings, tmp_path: Any) -> Certificate:
    """Uploaded with its intermediate; its root is not known here."""
    roots = tmp_path / "roots.pem"
    roots.write_text(pki.authority("A Public Root").pem)
    settings.PUBLIC_ROOTS = str(roots)
    pair = pki.leaf(MIDDLE, ["shop.example.com"])
    chained = stock.uploaded(pair=pki.Pair(pair.certificate, pair.key))
    assert chained.current is not None
    CertificateVersion.objects.filter(pk=chained.current.pk).update(chain_pem=MIDDLE.pem)
    return Certificate.objects.select_related("current__key").get(pk=chained.pk)


def ca_certificate(pair: pki.Pair, name: str) -> Certificate:
    """A CA certificate in the store, without its key."""
    row = Certificate.objects.create(name=name, source=Certificate.Source.UPLOADED)
    version_add(row, leaf=pair.certificate, chain=[], key=key_row(pair))
    CertificateVersion.objects.filter(certificate=row).update(key=None)
    row.refresh_from_db()
    return row


def person(**more: Any) -> User:
    return User.objects.create_user("bob@example.com", "a long pass phrase", **more)


def test_a_key_leaves_with_a_line_in_the_audit_trail_that_holds_no_secret(own: Certificate) -> None:
    alice = stock.administrator()
    made = download_make(own, "pkcs12", {"password": PASSWORD}, actor=alice)
    assert made.name == "shop.example.com.p12"
    event = AuditEvent.objects.get(action="certificate.export")
    assert event.actor == alice
    assert own.current is not None
    assert event.after == {"format": "pkcs12", "fingerprint": own.current.fingerprint_sha256}
    for row in AuditEvent.objects.values():
        assert PASSWORD not in json.dumps(row, default=str)
    assert PASSWORD not in repr(made)


def test_public_parts_need_no_permission_and_leave_no_line(own: Certificate) -> None:
    bob = person()
    stock_grant(bob)
    for each in formats().values():
        if not each.has_key:
            values = {"password": PASSWORD} if "password" in each.options.__dataclass_fields__ else {}
            assert download_make(own, each.id, values, actor=bob).data
    assert not AuditEvent.objects.filter(action="certificate.export").exists()


def stock_grant(user: User) -> None:
    RoleGrant.objects.get_or_create(user=user, role="admin", organization=None, department=None)


@pytest.mark.parametrize("format_id", [each.id for each in formats().values() if each.has_key])
def test_even_an_administrator_by_role_exports_no_key_without_the_permission(own: Certificate, format_id: str) -> None:
    bob = person()
    stock_grant(bob)
    with pytest.raises(NotAllowed, match="export permission"):
        download_make(own, format_id, {"password": PASSWORD}, actor=bob)
    event = AuditEvent.objects.get(action="certificate.export")
    assert (event.result, event.actor, event.after["format"]) == ("refused", bob, format_id)


def test_nobody_reads_what_is_not_theirs(own: Certificate) -> None:
    with pytest.raises(NotAllowed):
        download_make(own, "leaf", actor=None)
    with pytest.raises(NotAllowed):
        download_make(own, "key", actor=None)


@pytest.mark.parametrize(("can_export", "allowed"), [(True, True), (False, False)])
def test_a_token_exports_only_where_it_says_so(own: Certificate, can_export: bool, allowed: bool) -> None:
    token = TokenActor(ApiToken.objects.create(name="t", digest="0" * 64, role="admin", can_export=can_export))
    if allowed:
        assert load_pem_private_key(download_make(own, "key", actor=token).data, None)
        assert AuditEvent.objects.get(action="certificate.export").actor_text == "token t"
    else:
        with pytest.raises(NotAllowed):
            download_make(own, "key", actor=token)


def test_a_token_never_exports_more_than_its_owner_may(own: Certificate) -> None:
    owner = person()
    stock_grant(owner)
    row = ApiToken.objects.create(name="t", digest="0" * 64, role="admin", can_export=True, owner=owner)
    with pytest.raises(NotAllowed):
        download_make(own, "key", actor=TokenActor(row))


def test_what_the_options_refuse_writes_no_line(own: Certificate) -> None:
    with pytest.raises(InputError, match="no option"):
        download_make(own, "key", {"passwort": "x"}, actor="test")
    with pytest.raises(InputError, match="Password of the store"):
        download_make(own, "jks", {}, actor="test")
    assert not AuditEvent.objects.filter(action="certificate.export").exists()


def test_an_earlier_version_is_had_by_itself(own: Certificate) -> None:
    first = own.current
    assert first is not None
    newer = pki.leaf(MIDDLE, ["shop.example.com"])
    version_add(own, leaf=newer.certificate, chain=[MIDDLE.certificate], key=key_row(newer))
    own.refresh_from_db()
    assert certificates_read(download_make(own, "leaf", actor="test").data) == [newer.certificate]
    assert download_make(first, "leaf", actor="test").data.decode() == first.leaf_pem
    assert first.key is not None
    key = load_pem_private_key(download_make(first, "key", actor="test").data, None)
    assert spki_sha256(key.public_key()) == first.key.spki_sha256


def key_row(pair: pki.Pair) -> PrivateKey:
    return key_import(pair.key)  # type: ignore[arg-type]


def test_a_key_that_is_elsewhere_or_locked_is_named(own: Certificate) -> None:
    key = PrivateKey.objects.get(versions__certificate=own)
    PrivateKey.objects.filter(pk=key.pk).update(locked=True)
    with pytest.raises(KeyRefused, match="passphrase") as refused:
        download_make(reread(own), "key", actor="test")
    assert refused.value.code == "key-locked"
    PrivateKey.objects.filter(pk=key.pk).update(locked=False, held="outside", sealed="")
    with pytest.raises(KeyRefused, match="not held here") as refused:
        download_make(reread(own), "pkcs12", {"password": PASSWORD}, actor="test")
    assert refused.value.code == "key-not-here"
    refusals = {each.format.id: each.refusal for each in downloads_offered(reread(own), actor="test")}
    assert "not held here" in refusals["jks"]
    assert not refusals["fullchain"]


def reread(row: Certificate) -> Certificate:
    return Certificate.objects.select_related("current__key").get(pk=row.pk)


def test_a_pair_that_does_not_fit_never_leaves(own: Certificate) -> None:
    CertificateVersion.objects.filter(certificate=own).update(key=key_create("ec-p256"))
    for format_id in ("bundle", "pkcs12", "kubernetes-tls", "key"):
        with pytest.raises(InputError, match="does not belong"):
            download_make(reread(own), format_id, {"password": PASSWORD} if format_id == "pkcs12" else {}, actor="test")


def test_a_deleted_certificate_is_restored_first(own: Certificate) -> None:
    Certificate.objects.filter(pk=own.pk).update(deleted_at=clock.now())
    with pytest.raises(ConflictError, match="deleted"):
        download_make(reread(own), "leaf", actor="test")


def test_a_key_pair_has_its_keys_and_nothing_else() -> None:
    key = key_create("ec-p256")
    pair = Certificate.objects.create(name="signing", source=Certificate.Source.UPLOADED, key=key)
    public = load_pem_public_key(download_make(pair, "public-key", actor="test").data)
    private = load_pem_private_key(download_make(pair, "key", actor="test").data, None)
    assert spki_sha256(public) == spki_sha256(private.public_key()) == key.spki_sha256  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no certificate yet"):
        download_make(pair, "fullchain", actor="test")
    had = {each.format.id for each in downloads_offered(pair, actor="test") if not each.refusal}
    assert had == {"key", "key-encrypted", "key-der", "public-key"}


def test_the_root_is_found_in_the_store_and_among_the_public_ones(own: Certificate, settings: Settings) -> None:
    assert own.current is not None
    assert chain_of(own.current).root is None
    forged = pki.authority("Our Root")  # the same name with another key
    ca_certificate(forged, "forged")
    assert chain_of(own.current).root is None
    ca_certificate(ROOT, "root")
    assert chain_of(own.current).root == ROOT.certificate
    made = download_make(own, "fullchain", {"root": True}, actor="test")
    assert certificates_read(made.data)[1:] == [MIDDLE.certificate, ROOT.certificate]
    Certificate.objects.filter(name="root").update(deleted_at=clock.now())
    assert chain_of(own.current).root is None
    with open(settings.PUBLIC_ROOTS, "a") as stream:
        stream.write("\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + ROOT.pem)
    assert chain_of(own.current).root == ROOT.certificate


def test_a_trust_store_of_chosen_authorities(own: Certificate) -> None:
    chosen = [ca_certificate(ROOT, "root"), ca_certificate(MIDDLE, "middle")]
    made = trust_store_make(chosen, "truststore-jks", {"password": PASSWORD}, actor="test")
    assert made.name == "trust.truststore.jks"
    assert [entry.alias for entry in jks_read(made.data, PASSWORD)] == ["our_root", "our_middle"]
    with pytest.raises(InputError, match="no CA certificate"):
        trust_store_make([own], "truststore-jks", {"password": PASSWORD}, actor="test")
    with pytest.raises(InputError, match="no trust store"):
        trust_store_make(chosen, "pkcs12", {"password": PASSWORD}, actor="test")
    with pytest.raises(InputError, match="at least one"):
        trust_store_make([], "truststore-jks", {"password": PASSWORD}, actor="test")
    with pytest.raises(NotAllowed):
        trust_store_make(chosen, "truststore-jks", {"password": PASSWORD}, actor=None)


@pytest.mark.parametrize("name", ["../x", "a b.p12", 'x"; y', "", ".hidden", "ä.p12"])
def test_a_wished_file_name_is_taken_only_where_it_is_safe(own: Certificate, name: str) -> None:
    assert download_make(own, "leaf", actor="test", file_name=name).name == "shop.example.com.cert.pem"
    assert download_make(own, "leaf", actor="test", file_name="server.crt").name == "server.crt"
