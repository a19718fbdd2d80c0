from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from django.db import IntegrityError

from certs.domain.errors import BinderyError, CertificateRefused, ConflictError, InputError, KeyRefused
from certs.models import AuditEvent, Certificate, CertificateVersion, PortalState, PrivateKey
from certs.selectors import certificate_find, certificates_all
from certs.services.bindings import binding_set
from certs.services.certificate_changes import certificate_update
from certs.services.certificates import certificate_import, certificate_new, certificate_self_sign
from certs.services.deletion import certificate_delete
from certs.services.keys import key_create, key_import, key_open
from certs.services.orders import order_create
from certs.services.portal_state import generation_wanted, state_update
from certs.services.version_history import version_use
from certs.services.versions import version_add
from portal import clock
from tests import stock
from tests.harness import pki

pytestmark = pytest.mark.django_db
MIDDLE = pki.authority("Middle", stock.CA)


def load(pair: pki.Pair, *others: pki.Pair, **options: object) -> Certificate:
    chain = "".join(one.pem for one in (*others, pair)).encode()
    return certificate_import(chain=chain, key=pair.key_pem.encode(), actor="test", **options)  # type: ignore[arg-type]


def test_a_self_signed_certificate_is_rsa_2048_for_365_days() -> None:
    certificate = certificate_self_sign(name="", names=["portal.test", "192.0.2.7"], actor="test")
    version = certificate.current
    assert version is not None
    assert version.lifetime == timedelta(days=365)
    assert version.is_valid_at(clock.now())
    assert version.self_signed
    assert version.names == certificate.names == ["portal.test", "192.0.2.7"]
    assert version.key is not None
    assert version.key.key_type == certificate.key_type == "rsa-2048"
    assert certificate.source == "self-signed"
    assert not certificate.auto_renew


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"names": []}, "needs a name"),
        ({"days": 0}, "1 to 825 days"),
        ({"days": 4000}, "not 4000"),
        ({"key_type": "x"}, "no key type"),
    ],
)
def test_what_cannot_be_self_signed_stores_nothing(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        certificate_self_sign(**{"name": "", "names": ["a.test"], "actor": "test"} | changes)  # type: ignore[arg-type]
    assert not Certificate.objects.exists()


@pytest.mark.parametrize("root_first", [True, False])
def test_an_own_certificate_is_taken_in_with_its_chain_in_order(root_first: bool) -> None:
    pair = pki.leaf(MIDDLE, ["own.example", "www.own.example"])
    others = (stock.CA, MIDDLE) if root_first else (MIDDLE, stock.CA)
    certificate = load(pair, *others)
    version = certificate.current
    assert version is not None
    assert version.leaf_pem == pair.pem
    assert version.chain_pem == MIDDLE.pem  # without the root
    assert certificate.name == "own.example"
    assert certificate.source == "uploaded"
    assert not certificate.auto_renew
    assert sorted(row.reversed for row in certificate.name_rows.filter(kind="san")) == [
        "example.own",
        "example.own.www",
    ]
    assert version.key is not None
    key_open(version.key)
    event = AuditEvent.objects.get(action="certificate.import")
    assert "PRIVATE" not in str(event.after)


def test_the_same_certificate_again_is_recognised() -> None:
    pair = pki.leaf(stock.CA, ["own.example"])
    assert load(pair) == load(pair, stock.CA, name="other")
    assert (Certificate.objects.count(), CertificateVersion.objects.count(), PrivateKey.objects.count()) == (1, 1, 1)


def test_a_successor_is_another_certificate_unless_told() -> None:
    first = load(pki.leaf(stock.CA, ["own.example"]))
    binding_set("", first, actor="test")
    generation = generation_wanted()
    second = load(pki.leaf(stock.CA, ["own.example"]))
    assert second != first
    assert generation_wanted() == generation
    third = load(pki.leaf(stock.CA, ["own.example", "new.example"]), into=first)
    assert third == first
    assert third.versions.count() == 2
    assert third.names == ["own.example", "new.example"]
    assert generation_wanted() == generation + 1


def test_an_upload_never_enters_a_certificate_that_a_ca_renews() -> None:
    certificate = stock.issued("own.example")
    with pytest.raises(ConflictError, match="replaced by the next renewal"):
        load(pki.leaf(stock.CA, ["own.example"]), into=certificate)


PAIR = pki.leaf(stock.CA, ["own.example"])
EXPIRED = pki.leaf(stock.CA, ["own.example"], days=1, start=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("chain", "key", "password", "says"),
    [
        (b"", PAIR.key_pem.encode(), None, "No certificate was given"),
        (PAIR.pem.encode(), b"", None, "No private key was given"),
        (PAIR.key_pem.encode(), PAIR.pem.encode(), None, "This is a certificate, not a private key"),
        (PAIR.pem.encode(), stock.CA.key_pem.encode(), None, "The key does not belong to this certificate"),
        (stock.CA.pem.encode(), PAIR.key_pem.encode(), None, "The key does not belong to this certificate"),
        (EXPIRED.pem.encode(), EXPIRED.key_pem.encode(), None, "expired on 2026-01-02"),
        (PAIR.pem[:-50].encode(), PAIR.key_pem.encode(), None, "cut off"),
        (b"\x00" * 2_000_000, PAIR.key_pem.encode(), None, "larger than 1 MiB"),
    ],
)
def test_what_does_not_fit_is_refused_and_stores_nothing(
    chain: bytes, key: bytes, password: bytes | None, says: str
) -> None:
    with pytest.raises(BinderyError, match=says):
        certificate_import(chain=chain, key=key, actor="test", password=password)
    assert not Certificate.objects.exists()
    assert not PrivateKey.objects.exists()


def test_an_encrypted_key_needs_its_password() -> None:
    key = PAIR.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    for password in (None, b"wrong"):
        with pytest.raises(KeyRefused):
            certificate_import(chain=PAIR.pem.encode(), key=key, actor="test", password=password)
    certificate_import(chain=PAIR.pem.encode(), key=key, actor="test", password=b"secret")


def test_one_that_is_not_valid_yet_is_taken() -> None:
    certificate = load(pki.leaf(stock.CA, ["own.example"], start=datetime.now(UTC) + timedelta(days=1)))
    assert certificate.current is not None


def test_a_new_acme_certificate_waits_for_its_order() -> None:
    certificate = certificate_new(name="", names=["b.example", "a.example"], account=stock.account(), actor="test")
    assert certificate.current is None
    assert certificate.auto_renew
    assert certificate.names == ["a.example", "b.example"]
    assert certificate.key_type == "ec-p256"


def test_a_version_is_added_and_the_old_one_and_its_key_stay() -> None:
    certificate = stock.issued("a.example")
    first = certificate.current
    certificate.failures, certificate.ari = 3, {"selected": "2026-12-01T00:00:00+00:00"}
    certificate.save()
    stock.renewed(certificate)
    certificate.refresh_from_db()
    assert certificate.current != first
    assert certificate.versions.count() == 2
    assert first is not None
    assert PrivateKey.objects.filter(pk=first.key_id).exists()
    assert (certificate.failures, certificate.ari, certificate.next_attempt_at) == (0, {}, None)
    assert certificate.last_renewed_at is not None


def test_a_repeated_step_adds_nothing() -> None:
    certificate = stock.issued("a.example")
    binding_set("", certificate, actor="test")
    generation = generation_wanted()
    pair = pki.leaf(stock.CA, ["a.example"])
    row = key_import(pair.key)  # type: ignore[arg-type] # an EC key
    one = version_add(certificate, leaf=pair.certificate, chain=[], key=row)
    assert version_add(certificate, leaf=pair.certificate, chain=[], key=row) == one
    assert certificate.versions.count() == 2
    assert generation_wanted() == generation + 1


def test_a_version_of_what_is_not_bound_leaves_the_generation() -> None:
    certificate, other = stock.issued("a.example"), stock.issued("b.example")
    binding_set("", other, actor="test")
    generation = generation_wanted()
    stock.renewed(certificate)
    assert generation_wanted() == generation


@pytest.mark.parametrize(
    ("names", "own_key", "days", "code"),
    [
        (["a.example"], False, 90, "pair"),
        (["b.example"], True, 90, "names"),
        (["*.a.example"], True, 90, "names"),
        (["a.example"], True, 0.001, "expired"),
    ],
)
def test_what_a_ca_sends_is_proven_before_anything_changes(
    names: list[str], own_key: bool, days: float, code: str
) -> None:
    certificate = stock.issued("a.example")
    binding_set("", certificate, actor="test")
    before, generation = certificate.current, generation_wanted()
    pair = pki.leaf(stock.CA, names, days=days)
    row = key_import(pair.key) if own_key else key_create("ec-p256")  # type: ignore[arg-type] # an EC key
    with pytest.raises(CertificateRefused) as refusal:
        version_add(certificate, leaf=pair.certificate, chain=[], key=row)
    assert refusal.value.code == code
    certificate.refresh_from_db()
    assert certificate.current == before
    assert (certificate.versions.count(), generation_wanted()) == (1, generation)


def test_a_failure_in_the_middle_leaves_nothing_half_done(monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = stock.issued("a.example")
    before = certificate.current
    target = "certs.services.versions.version_make_current"
    monkeypatch.setattr(target, lambda *_: (_ for _ in ()).throw(IntegrityError))
    with pytest.raises(IntegrityError):
        stock.renewed(certificate)
    certificate.refresh_from_db()
    assert (certificate.current, certificate.versions.count()) == (before, 1)


def test_going_back_to_a_kept_version() -> None:
    certificate = stock.issued("a.example")
    first = certificate.current
    assert first is not None
    stock.renewed(certificate)
    binding_set("", certificate, actor="test")
    generation = generation_wanted()
    version_use(certificate, first, actor="test")
    certificate.refresh_from_db()
    assert certificate.current == first
    assert generation_wanted() == generation + 1
    foreign = stock.issued("b.example").current
    assert foreign is not None
    with pytest.raises(InputError, match="another certificate"):
        version_use(certificate, foreign, actor="test")
    type(first).objects.filter(pk=first.pk).update(not_after=clock.now())
    with pytest.raises(CertificateRefused, match="expired"):
        version_use(certificate, first, actor="test")


def test_nobody_goes_back_to_a_version_that_could_not_be_served() -> None:
    certificate = stock.issued("a.example")
    first = certificate.current
    assert first is not None
    stock.renewed(certificate)
    latest = Certificate.objects.get(pk=certificate.pk).current
    binding_set("a.example", Certificate.objects.get(pk=certificate.pk), actor="test")
    for trouble, words in (
        ({"key": None}, "private key"),
        ({"names": ["other.example"]}, "does not hold a.example"),
        ({"not_before": clock.now() + timedelta(days=1)}, "valid only from"),
    ):
        type(first).objects.filter(pk=first.pk).update(**trouble)
        with pytest.raises(CertificateRefused, match=words):
            version_use(certificate, first, actor="test")
        first.save()  # as it was
    assert Certificate.objects.get(pk=certificate.pk).current == latest


def test_what_is_in_use_is_not_deleted_and_says_where() -> None:
    certificate = stock.issued("a.example", "b.example")
    binding_set("", certificate, actor="test")
    binding_set("b.example", certificate, actor="test")
    with pytest.raises(ConflictError, match=r"is bound: default, b\.example\."):
        certificate_delete(certificate, actor="test")
    ordered = stock.issued("c.example")
    order_create(ordered, reason="asked", actor="test")
    with pytest.raises(ConflictError, match="under way"):
        certificate_delete(ordered, actor="test")
    placeholder = stock.uploaded()
    state_update(placeholder=placeholder)
    with pytest.raises(ConflictError, match="while nothing is bound"):
        certificate_delete(placeholder, actor="test")
    assert Certificate.objects.filter(deleted_at=None).count() == 3


def test_a_deleted_certificate_is_out_of_sight_and_may_come_again() -> None:
    pair = pki.leaf(stock.CA, ["own.example"])
    certificate = load(pair)
    state_update(portal_certificate=certificate)
    certificate_delete(certificate, actor="test")
    assert not certificates_all().exists()
    assert PortalState.objects.get().portal_certificate is None
    assert load(pair) != certificate


def test_settings_change_with_a_trace() -> None:
    certificate = stock.issued("a.example")
    certificate_update(certificate, actor="test", auto_renew=False, renew_before_days=10)
    event = AuditEvent.objects.get(action="certificate.change")
    assert (event.before["auto_renew"], event.after["auto_renew"]) == (True, False)
    with pytest.raises(InputError, match="source"):
        certificate_update(certificate, actor="test", source="uploaded")


def test_the_names_of_a_certificate_stay_what_its_orders_ask_for() -> None:
    certificate = stock.issued("a.example")
    with pytest.raises(InputError, match="names cannot be changed") as caught:
        certificate_update(certificate, actor="test", names=["b.example"])
    assert "new certificate" in caught.value.advice
    certificate.refresh_from_db()
    assert certificate.names == ["a.example"]


def test_a_certificate_is_found_by_what_people_call_it() -> None:
    one = stock.issued("a.example", "www.a.example", name="Main site")
    two = stock.issued("b.example", "www.a.example", name="Second")
    for word in (str(one.pk), "Main site", "main SITE", "a.example"):
        assert certificate_find(word) == one
    assert certificate_find("B.example") == two
    with pytest.raises(InputError, match="several certificates"):
        certificate_find("www.a.example")
    for word in ("nothing", "", "%"):
        with pytest.raises(InputError, match="No certificate is called"):
            certificate_find(word)
