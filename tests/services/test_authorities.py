"""Our own CAs, judged by openssl and GnuTLS."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certs.domain.csr import csr_make, csr_read
from certs.domain.errors import BinderyError, ConflictError, InputError, KeyRefused, NotAllowed
from certs.domain.keys import key_generate
from certs.domain.lint import LintRefused
from certs.domain.pem import certificates_read
from certs.domain.wishes import Wish
from certs.models import (
    Authority,
    Certificate,
    CertificateVersion,
    IssuedCertificate,
    PrivateKey,
    RoleGrant,
    User,
)
from certs.services import issued
from certs.services.authorities import (
    authority_change,
    authority_create,
    authority_import,
    authority_renew,
    authority_retire,
)
from certs.services.authority_keys import authority_key
from certs.services.certificate_properties import Properties
from certs.services.issued import Item, authority_issue, authority_issue_many, authority_preview
from certs.services.keys import key_open
from certs.services.profiles import profile_create, profile_delete
from certs.services.revocations import version_revoke
from tests.harness import own_ca, pki
from tests.harness.need import need

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _address() -> None:
    own_ca.address()


def extension(certificate: Certificate, kind: type[x509.ExtensionType]) -> x509.Extension[x509.ExtensionType]:
    found = certificates_read(own_ca.pem_of(certificate).encode())[0]
    return found.extensions.get_extension_for_class(kind)


def test_openssl_and_gnutls_accept_what_an_intermediate_issues(tmp_path: Path) -> None:
    need("certtool")
    root = own_ca.root()
    below = own_ca.below(root)
    made = authority_issue(below, Wish(hosts=("www.example.com", "10.0.0.7")), actor="test")
    anchor = own_ca.pem_of(root)
    strict = ("-purpose", "sslserver", "-verify_hostname", "www.example.com")
    assert own_ca.openssl_verify(tmp_path, made, anchor, *strict) == "ok"
    assert own_ca.openssl_verify(tmp_path, made, anchor, "-purpose", "sslclient") != "ok"
    assert own_ca.certtool_verify(tmp_path, made, anchor) == "ok"
    assert made.current is not None
    assert made.current.key is not None
    assert made.names == ["www.example.com", "10.0.0.7"]
    assert made.auto_renew
    assert IssuedCertificate.objects.filter(authority=below, serial=made.current.serial).exists()
    urls = [one.access_location.value for one in extension(made, x509.AuthorityInformationAccess).value]  # type: ignore[attr-defined]
    assert all(url.startswith(own_ca.BASE) for url in urls)


def test_no_ca_is_made_before_the_address_is_confirmed() -> None:
    from certs.services.portal_state import state_update

    state_update(pki_base_url="", pki_base_url_confirmed_at=None)
    with pytest.raises(NotAllowed) as caught:
        authority_create(own_ca.ROOT, actor="test")
    assert caught.value.code == "pki-base-url"
    assert not Authority.objects.exists()
    assert not PrivateKey.objects.exists()


class TestOffline:
    def test_it_publishes_at_its_creation_and_signs_nothing_without_a_person(self) -> None:
        row = own_ca.root(passphrase=own_ca.PASSPHRASE)
        assert row.offline
        assert row.crl_der
        assert row.responder is not None
        before = CertificateVersion.objects.count(), IssuedCertificate.objects.count()
        for passphrase, code in (("", "passphrase-needed"), ("wrong horse battery", "passphrase-wrong")):
            with pytest.raises(KeyRefused) as caught:
                authority_issue(row, Wish(hosts=("a.example.com",)), actor="test", passphrase=passphrase)
            assert caught.value.code == code
            with pytest.raises(KeyRefused):
                own_ca.below(row, parent_passphrase=passphrase)
            with pytest.raises(KeyRefused):
                authority_renew(row, passphrase=passphrase, actor="test")
            with pytest.raises(KeyRefused):
                next(iter(authority_issue_many(row, [Item(Wish())], actor="test", passphrase=passphrase)))
        assert (CertificateVersion.objects.count(), IssuedCertificate.objects.count()) == before
        made = authority_issue(row, Wish(hosts=("a.example.com",)), actor="test", passphrase=own_ca.PASSPHRASE)
        assert made.current is not None

    def test_its_key_is_sealed_encrypted_and_opened_by_nothing_else(self) -> None:
        row = own_ca.root(passphrase=own_ca.PASSPHRASE)
        assert row.certificate.current is not None
        key = row.certificate.current.key
        assert key is not None
        assert key.locked
        assert own_ca.PASSPHRASE not in key.sealed
        with pytest.raises(KeyRefused) as caught:
            key_open(key)
        assert caught.value.code == "passphrase-needed"
        assert authority_key(row, own_ca.PASSPHRASE)

    def test_a_short_passphrase_is_refused_and_nothing_kept(self) -> None:
        with pytest.raises(KeyRefused, match="12 to"):
            own_ca.root(passphrase="short")
        assert not PrivateKey.objects.exists()

    def test_a_preview_needs_no_passphrase_and_writes_nothing(self) -> None:
        row = own_ca.root(passphrase=own_ca.PASSPHRASE)
        before = PrivateKey.objects.count(), IssuedCertificate.objects.count()
        plan, findings = authority_preview(row, Wish(hosts=("a.example.com",)))
        assert plan.usages == ("server",)
        assert not [finding for finding in findings if finding.stops]
        assert (PrivateKey.objects.count(), IssuedCertificate.objects.count()) == before


class TestNameConstraints:
    def test_openssl_agrees_on_what_is_inside(self, tmp_path: Path) -> None:
        root = own_ca.root(
            Wish(
                subject="CN=Narrow Root",
                permitted=("dns:example.com", "ip:10.0.0.0/8", "email:example.com", "uri:.example.com"),
                excluded=("dns:secret.example.com",),
            )
        )
        below = own_ca.below(root)
        inside = ("a.example.com", "*.web.example.com", "10.1.2.3", "me@example.com", "https://x.example.com/y")
        made = authority_issue(below, Wish(profile="custom", hosts=inside), actor="test")
        assert own_ca.openssl_verify(tmp_path, made, own_ca.pem_of(root)) == "ok"

    @pytest.mark.parametrize(
        ("host", "said"),
        [
            ("a.example.org", "permits only dns:example.com"),
            ("x.secret.example.com", "excludes dns:secret.example.com"),
            ("*.example.com", "excludes dns:secret.example.com"),
            ("192.0.2.1", "permits only ip:10.0.0.0/8"),
            ("me@other.org", "permits only email:example.com"),
            ("https://example.org/", "permits only uri:.example.com"),
            ("urn:uuid:1", "permits only uri:.example.com"),
        ],
    )
    def test_what_is_outside_is_refused_naming_the_constraint(self, host: str, said: str) -> None:
        root = own_ca.root(
            Wish(
                subject="CN=Narrow Root",
                permitted=("dns:example.com", "ip:10.0.0.0/8", "email:example.com", "uri:.example.com"),
                excluded=("dns:secret.example.com",),
            )
        )
        with pytest.raises(InputError) as caught:
            authority_issue(own_ca.below(root), Wish(profile="custom", hosts=(host,)), actor="test")
        assert said in caught.value.message
        assert "Narrow Root" in caught.value.message
        assert caught.value.code == "name-constraint"


class TestImport:
    def test_a_ca_from_elsewhere_signs_here(self, tmp_path: Path) -> None:
        other = pki.authority("Old Root")
        row = authority_import(chain=other.pem.encode(), key=other.key_pem.encode(), actor="test")
        made = authority_issue(row, Wish(hosts=("a.example.com",)), actor="test")
        assert own_ca.openssl_verify(tmp_path, made, other.pem) == "ok"
        assert str(row) == "Old Root"
        with pytest.raises(ConflictError, match="authority already"):
            authority_import(chain=other.pem.encode(), key=other.key_pem.encode(), actor="test")
        version = authority_renew(row, actor="test", days=30)
        assert version.subject == "CN=Old Root"
        renewed = certificates_read(version.leaf_pem.encode())[0]
        assert renewed.subject.public_bytes() == other.certificate.subject.public_bytes()
        assert own_ca.openssl_verify(tmp_path, made, version.leaf_pem) == "ok"

    def test_with_a_passphrase_it_is_offline(self) -> None:
        other = pki.authority("Old Root")
        row = authority_import(
            chain=other.pem.encode(), key=other.key_pem.encode(), actor="test", passphrase=own_ca.PASSPHRASE
        )
        assert row.offline
        with pytest.raises(KeyRefused):
            authority_issue(row, Wish(hosts=("a.example.com",)), actor="test")

    def test_a_leaf_is_no_ca(self) -> None:
        leaf = pki.leaf(pki.authority("Old Root"), ["a.example.com"])
        with pytest.raises(InputError, match="not that of a CA"):
            authority_import(chain=leaf.pem.encode(), key=leaf.key_pem.encode(), actor="test")
        assert not PrivateKey.objects.exists()


def test_a_request_keeps_its_key_and_gives_its_names(tmp_path: Path) -> None:
    root = own_ca.root()
    key = key_generate("ec-p384")
    csr = csr_read(csr_make(key, ["a.example.com"]).encode())
    made = authority_issue(root, Wish(days=30), csr=csr, actor="test")
    assert made.current is not None
    assert made.current.key is not None
    assert made.current.key.held == PrivateKey.Held.OUTSIDE
    assert made.names == ["a.example.com"]
    assert own_ca.openssl_verify(tmp_path, made, own_ca.pem_of(root)) == "ok"


def test_a_path_length_of_zero_allows_no_ca_below() -> None:
    below = own_ca.below(own_ca.root())
    with pytest.raises(NotAllowed) as caught:
        own_ca.below(below, Wish(subject="CN=Third"))
    assert caught.value.code == "path-length"


def test_a_ca_is_not_called_as_one_above_it() -> None:
    """Its chain would look as if it ended there."""
    root = own_ca.root()
    with pytest.raises(InputError, match="the same name"):
        own_ca.below(root, replace(own_ca.BELOW, subject=own_ca.ROOT.subject))
    assert Authority.objects.count() == 1


def test_nothing_is_signed_below_a_revoked_ca() -> None:
    root = own_ca.root()
    middle = own_ca.below(root, replace(own_ca.BELOW, path_length=1))
    lowest = own_ca.below(middle, replace(own_ca.BELOW, subject="CN=Lowest"))
    assert middle.certificate.current is not None
    version_revoke(middle.certificate.current, "cessationOfOperation", actor="test")
    for row in (middle, lowest):
        with pytest.raises(NotAllowed) as refused:
            authority_issue(Authority.objects.get(pk=row.pk), Wish(hosts=("a.example.com",)), actor="test")
        assert refused.value.code in {"authority-retired", "authority-revoked"}


def test_nothing_lasts_longer_than_its_ca() -> None:
    root = own_ca.root(Wish(subject="CN=Short Root", days=20))
    made = authority_issue(root, Wish(hosts=("a.example.com",), days=90), actor="test")
    assert made.current is not None
    assert root.certificate.current is not None
    assert made.current.not_after == root.certificate.current.not_after


def test_what_breaks_a_public_rule_is_not_signed() -> None:
    root = own_ca.root()
    with pytest.raises(LintRefused) as caught:
        authority_issue(root, Wish(profile="public", hosts=("intranet",)), actor="test")
    assert "internal" in str(caught.value)
    assert caught.value.findings
    assert not IssuedCertificate.objects.exclude(subject__startswith="OCSP of").exists()
    made = authority_issue(root, Wish(profile="public", hosts=("www.example.com",)), actor="test")
    assert made.current is not None


def test_a_profile_of_the_operators_own_limits_and_completes() -> None:
    root = own_ca.root()
    rules = {
        "usages": ["server"],
        "longest_days": 30,
        "usual_days": 20,
        "hosts": ["dns:shop.example"],
        "subject_fixed": ["O=Shop Ltd"],
        "key_types": ["ec-p256"],
    }
    row = profile_create("Shop", rules, actor="test")
    made = authority_issue(root, Wish(profile="shop", hosts=("a.shop.example",)), actor="test")
    assert made.current is not None
    assert made.current.subject == "CN=a.shop.example,O=Shop Ltd"
    assert made.current.lifetime.days == 19  # a second less than twenty
    for wish, said in (
        (Wish(profile="shop", hosts=("other.example",)), "does not allow other.example"),
        (Wish(profile="shop", hosts=("a.shop.example",), days=31), "1 to 30 days"),
        (Wish(profile="shop", hosts=("a.shop.example",), key_type="ec-p384"), "does not take ec-p384"),
        (Wish(profile="shop", hosts=("a.shop.example",), usages=("client",)), "is not for TLS client"),
        (Wish(profile="shop", hosts=("a.shop.example",), subject="CN=a,O=Else"), "wants O=Shop Ltd"),
    ):
        with pytest.raises(InputError) as caught:
            authority_issue(root, wish, actor="test")
        assert said in caught.value.message
    with pytest.raises(ConflictError, match="1 certificates"):
        profile_delete(row, actor="test")


def test_an_authority_signs_by_its_profiles_only() -> None:
    root = own_ca.root()
    authority_change(root, profiles=["client"], actor="test")
    with pytest.raises(NotAllowed, match="does not sign by"):
        authority_issue(root, Wish(hosts=("a.example.com",)), actor="test")
    assert authority_issue(root, Wish(profile="client", subject="CN=Alice"), actor="test")


def test_a_retired_ca_signs_no_more() -> None:
    root = own_ca.root()
    authority_retire(root, actor="test")
    with pytest.raises(NotAllowed, match="was retired"):
        authority_issue(root, Wish(hosts=("a.example.com",)), actor="test")


class TestMany:
    def test_one_that_is_refused_stops_no_other(self, tmp_path: Path) -> None:
        root = own_ca.root()
        items = [Item(Wish(hosts=(name,))) for name in ("a.example.com", "no host", "b.example.com")]
        items.append(Item(Wish(hosts=("c.example.com",)), Properties(name="c", tags=("shop",), api_id="c-1")))
        items.append(Item(Wish(hosts=("d.example.com",)), Properties(api_id="c-1")))
        outcomes = list(authority_issue_many(root, items, actor="test"))
        made = [one.certificate for one in outcomes if one.certificate]
        assert [one.names for one in made] == [["a.example.com"], ["b.example.com"], ["c.example.com"]]
        assert isinstance(outcomes[1].error, InputError)
        assert isinstance(outcomes[4].error, ConflictError)
        for one in made:
            row = Certificate.objects.get(pk=one.pk)
            assert own_ca.openssl_verify(tmp_path, row, own_ca.pem_of(root)) == "ok"
            assert row.current is not None
            assert row.current.key is not None
            assert key_open(row.current.key)
            assert row.name_rows.filter(name=row.names[0]).exists()

    def test_more_than_a_batch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(issued, "BATCH", 4)
        root = own_ca.root()
        seen = list(authority_issue_many(root, (Item(Wish(hosts=(f"h{n}.example",))) for n in range(9)), actor="test"))
        assert len({one.certificate.pk for one in seen if one.certificate}) == 9


class TestKilledOnTheWay:
    """Between the register and the store: what was signed is known, whatever became of it."""

    def test_the_register_knows_the_serial(self, monkeypatch: pytest.MonkeyPatch) -> None:
        signed: list[str] = []
        root = own_ca.root()
        real = issued.sign

        def noted(prepared: issued.Prepared, key: object) -> x509.Certificate:
            rows = IssuedCertificate.objects.filter(authority=root)
            assert f"{prepared.serial:x}" in rows.values_list("serial", flat=True)  # before the key signs
            certificate = real(prepared, key)  # type: ignore[arg-type]
            signed.append(f"{certificate.serial_number:x}")
            return certificate

        def dies(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(issued, "sign", noted)
        monkeypatch.setattr(issued, "certificate_take", dies)
        monkeypatch.setattr(issued, "certificates_add_many", dies)
        with pytest.raises(KeyboardInterrupt):
            authority_issue(root, Wish(hosts=("a.example.com",)), actor="test")
        with pytest.raises(KeyboardInterrupt):
            list(authority_issue_many(root, [Item(Wish(hosts=("b.example.com",)))], actor="test"))
        known = IssuedCertificate.objects.filter(authority=root).values_list("serial", flat=True)
        assert set(signed) <= set(known)
        assert len(signed) == 2


def test_an_unknown_profile_and_a_bad_field_are_sentences() -> None:
    root = own_ca.root()
    for wish in (
        Wish(profile="nope", hosts=("a.example",)),
        Wish(hosts=("a.example",), digest="md5"),
        Wish(hosts=("a.example",), key_type="dsa"),
        Wish(hosts=("a.example",), usages=("coffee",)),
        Wish(hosts=("a.example",), path_length=1),
        Wish(hosts=("a.example",), permitted=("dns:a",)),
        Wish(hosts=("a.example",), subject="=="),
        Wish(hosts=("a.example",), pss=True),
        Wish(hosts=()),
    ):
        with pytest.raises(BinderyError) as caught:
            authority_issue(root, wish, actor="test")
        assert caught.value.message.endswith(".")
    assert key_pem_unused() == 0


def key_pem_unused() -> int:
    return PrivateKey.objects.filter(versions=None).count()


def test_the_key_of_a_ca_may_be_pkcs8_der_of_any_kind() -> None:
    for kind in ("ed25519", "ec-p521"):
        row = own_ca.root(Wish(subject=f"CN=Root {kind}", key_type=kind))
        made = authority_issue(row, Wish(hosts=("a.example.com",)), actor="test")
        assert made.current is not None
        assert authority_key(row).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


class TestRights:
    def test_an_operator_issues_leaves_but_makes_no_ca(self, roles: dict[str, User]) -> None:
        root = own_ca.root()
        operator, viewer = roles["operator"], roles["viewer"]
        assert authority_issue(root, Wish(hosts=("a.example.com",)), actor=operator)
        for refused in (
            lambda: authority_issue(root, Wish(profile="intermediate", subject="CN=Sub"), actor=operator),
            lambda: authority_issue(root, Wish(profile="custom", subject="CN=Sub", is_ca=True), actor=operator),
            lambda: authority_create(Wish(subject="CN=Mine"), actor=operator),
            lambda: authority_create(Wish(subject="CN=Mine"), parent=root, actor=operator),
            lambda: authority_renew(root, actor=operator),
            lambda: authority_retire(root, actor=operator),
            lambda: authority_change(root, profiles=[], actor=operator),
            lambda: authority_issue(root, Wish(hosts=("b.example.com",)), actor=viewer),
            lambda: profile_create("X", {"usages": ["server"]}, actor=operator),
        ):
            with pytest.raises(NotAllowed):
                refused()
        many = list(authority_issue_many(root, [Item(Wish(profile="intermediate", subject="CN=S"))], actor=operator))
        assert isinstance(many[0].error, NotAllowed)

    @pytest.fixture
    def roles(self) -> dict[str, User]:
        found = {}
        for role in ("operator", "viewer"):
            found[role] = User.objects.create(email=f"{role}@example.com", name=role)
            RoleGrant.objects.create(user=found[role], role=role)
        return found
