"""Taking certificates in, what their owner says of them, deleting and restoring, and comparing versions."""

from datetime import timedelta
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from certs.domain.errors import CertificateRefused, ConflictError, InputError, NotAllowed
from certs.domain.pem import Chain
from certs.domain.properties import metadata_check, tag_normalize, tags_check
from certs.models import (
    ApiToken,
    AuditEvent,
    Authority,
    Certificate,
    CertificateName,
    CertificateVersion,
    Department,
    IssuedCertificate,
    Order,
    Organization,
    PrivateKey,
    RoleGrant,
    User,
)
from certs.models.organization import DEFAULT_ORGANIZATION
from certs.selectors import certificate_find, certificate_shown, certificates_due_for_check
from certs.services.access import TokenActor
from certs.services.alarm_certificates import certificates_troubles
from certs.services.bindings import binding_set
from certs.services.certificate_changes import certificate_tags_set, certificate_update
from certs.services.certificate_properties import Properties, certificate_tags
from certs.services.certificates import certificate_keypair_add, certificate_take
from certs.services.deletion import certificate_delete, certificate_restore
from certs.services.keys import key_import
from certs.services.orders import order_create
from certs.services.portal_state import state_update
from certs.services.prune import prune_run
from certs.services.sweeps import sweep_run
from certs.services.version_history import version_compare
from portal import clock
from tests import stock
from tests.harness import pki

pytestmark = pytest.mark.django_db


def take(pair: pki.Pair, *, with_key: bool = True, **properties: object) -> tuple[Certificate, bool]:
    key = key_import(pair.key) if with_key else None  # type: ignore[arg-type] # an EC key
    return certificate_take(Chain(pair.certificate), key, actor="test", properties=Properties(**properties))  # type: ignore[arg-type]


class TestTaking:
    def test_one_that_is_only_trusted_is_not_one_whose_key_is_missing(self) -> None:
        pair = pki.leaf(stock.CA, ["own.example"])
        certificate, created = take(pair, with_key=False)
        assert created
        assert certificate.current is not None
        assert certificate.current.key is None
        assert certificate_shown(certificate).kind == "ok"
        assert take(pair) == (certificate, False)  # later its key comes too
        certificate = Certificate.objects.get(pk=certificate.pk)
        assert certificate.current is not None
        assert certificate.current.key is not None
        assert certificate_shown(certificate).words == "valid"
        assert AuditEvent.objects.filter(action="certificate.key").count() == 1
        PrivateKey.objects.update(sealed="")
        assert certificate_shown(Certificate.objects.get(pk=certificate.pk)).words == "key missing"

    def test_what_a_ca_issued_to_us_without_its_key_is_urgent(self) -> None:
        certificate = stock.issued("a.example")
        CertificateVersion.objects.update(key=None)
        assert certificate_shown(Certificate.objects.get(pk=certificate.pk)).words == "key missing"

    def test_a_key_that_does_not_fit_stores_nothing(self) -> None:
        pair, other = pki.leaf(stock.CA, ["a.example"]), pki.leaf(stock.CA, ["b.example"])
        with pytest.raises(CertificateRefused, match="does not belong"):
            certificate_take(Chain(pair.certificate), key_import(other.key), actor="test")  # type: ignore[arg-type]
        assert not Certificate.objects.exists()

    def test_an_expired_one_is_taken_only_where_that_is_meant(self) -> None:
        pair = pki.leaf(stock.CA, ["a.example"], days=1, start=clock.now() - timedelta(days=5))
        with pytest.raises(CertificateRefused, match="expired"):
            take(pair)
        certificate, _ = certificate_take(Chain(pair.certificate), None, actor="test", allow_expired=True)
        assert certificate_shown(certificate).words == "expired"

    def test_the_id_of_a_program_is_kept_unique_and_reserved(self) -> None:
        uid = str(uuid4())
        one, _ = take(pki.leaf(stock.CA, ["a.example"]), api_id="cert_api_example_com")
        two, _ = take(pki.leaf(stock.CA, ["b.example"]), api_id=uid)
        assert (one.api_id, str(two.pk), two.api_id) == ("cert_api_example_com", uid, "")
        assert certificate_find("cert_api_example_com") == one
        certificate_delete(one, actor="test")
        for taken in ("cert_api_example_com", uid):
            with pytest.raises(ConflictError, match="is taken"):
                take(pki.leaf(stock.CA, ["c.example"]), api_id=taken)
        for bad in ("_renew", "a/b", "a b", "x" * 201, "ü"):
            with pytest.raises(InputError, match="An id has"):
                take(pki.leaf(stock.CA, ["c.example"]), api_id=bad)
        assert Certificate.objects.count() == 2

    def test_a_known_one_under_another_id_is_a_conflict_that_names_it(self) -> None:
        pair = pki.leaf(stock.CA, ["a.example"])
        one, _ = take(pair, api_id="one")
        assert take(pair, api_id="one") == (one, False)
        assert take(pair) == (one, False)
        with pytest.raises(ConflictError, match="under the id one"):
            take(pair, api_id="two")

    def test_another_organization_has_its_own(self) -> None:
        pair = pki.leaf(stock.CA, ["a.example"])
        other = Organization.objects.create(name="Other")
        one, _ = take(pair)
        two, created = take(pair, organization=other)
        assert created
        assert two != one
        with pytest.raises(InputError, match="another organization"):
            take(pki.leaf(None, ["b.example"]), organization=other, department=Department.objects.first())

    def test_who_brings_what_they_may_not_see_learns_nothing_of_it(self) -> None:
        """Its name, tags and metadata are its owner's, and a key is added only by those who may change it."""
        trusted, pair = pki.leaf(stock.CA, ["a.example"]), pki.leaf(stock.CA, ["b.example"])
        take(trusted, with_key=False, name="secret name", tags=["theirs"])
        take(pair, name="secret name", tags=["theirs"])
        token = ApiToken.objects.create(name="t", digest="d", hint="h", role="operator", tags=["ours"])
        for one in (trusted, pair):
            with pytest.raises(ConflictError, match="may not see it") as refused:
                certificate_take(
                    Chain(one.certificate),
                    key_import(one.key),  # type: ignore[arg-type] # an EC key
                    actor=TokenActor(token),
                    properties=Properties(tags=["ours"]),
                )
            assert "secret" not in str(refused.value)
        assert CertificateVersion.objects.filter(key=None).count() == 1

    def test_a_key_pair_and_a_request_wait_for_no_certificate(self) -> None:
        key = key_import(ec.generate_private_key(ec.SECP256R1()))
        pair, created = certificate_keypair_add(key, actor="test", properties=Properties(name="Tokens"))
        assert created
        assert certificate_shown(pair).words == "key pair"
        assert certificate_keypair_add(key, actor="test") == (pair, False)
        request, created = certificate_keypair_add(key, actor="test", request_pem="PEM", names=["a.example"])
        assert created
        assert (request.name, certificate_shown(request).kind) == ("a.example", "unknown")
        assert certificate_find("tokens") == pair

    def test_properties_of_a_new_one_are_checked_before_anything_is_stored(self) -> None:
        for properties in (
            {"tags": ["x" * 101]},
            {"metadata": {"": "x"}},
            {"description": "x" * 10_001},
            {"name": "\t\x00"},
        ):
            with pytest.raises(InputError):
                take(pki.leaf(None, ["a.example"]), **properties)
        assert not Certificate.objects.exists()


class TestProperties:
    def test_a_change_is_one_event_and_the_label_follows(self) -> None:
        certificate = stock.issued("a.example")
        looked_at = certificate.next_check_at
        changes = {"name": "The Shop", "description": "d", "metadata": {"b": "2", "a": "1"}, "tags": ["B", "a", "b "]}
        assert certificate_update(certificate, actor="test", **changes)
        event = AuditEvent.objects.get(action="certificate.change")
        assert (event.before["tags"], event.after["tags"]) == ([], ["a", "b"])
        assert (event.after["name"], event.after["metadata"]) == ("The Shop", {"a": "1", "b": "2"})
        labels = CertificateName.objects.filter(certificate=certificate, kind="label")
        assert [row.name for row in labels] == ["the shop"]
        certificate.refresh_from_db()
        assert certificate.next_check_at == looked_at  # nothing of its renewal was changed
        assert not certificate_update(certificate, actor="test", **changes)
        assert AuditEvent.objects.filter(action="certificate.change").count() == 1
        stock.renewed(certificate)
        assert [row.name for row in labels.all()] == ["the shop"]

    def test_what_nobody_can_renew_does_not_renew_by_itself(self) -> None:
        certificate = stock.uploaded()
        with pytest.raises(InputError, match="brought from outside"):
            certificate_update(certificate, actor="test", auto_renew=True)

    def test_a_department_is_one_of_its_organization(self) -> None:
        certificate, other = stock.uploaded(), Organization.objects.create(name="Other")
        foreign = Department.objects.create(name="D", organization=other)
        with pytest.raises(InputError, match="another organization"):
            certificate_update(certificate, actor="test", department=foreign)
        own = Department.objects.create(name="D", organization_id=DEFAULT_ORGANIZATION)
        assert certificate_update(certificate, actor="test", department=own)

    def test_a_token_cannot_move_a_certificate_out_of_its_reach(self) -> None:
        certificate = stock.uploaded()
        certificate_tags_set(certificate, ["shop"], actor="test")
        token = ApiToken.objects.create(name="t", digest="d", hint="h", role="operator", tags=["shop"])
        with pytest.raises(NotAllowed):
            certificate_tags_set(certificate, ["other"], actor=TokenActor(token))
        assert certificate_tags(certificate) == ["shop"]
        assert certificate_tags_set(certificate, ["shop", "new"], actor=TokenActor(token))

    @given(st.lists(st.text(max_size=30), max_size=8))
    def test_tags_come_back_as_they_were_kept(self, tags: list[str]) -> None:
        try:
            kept = tags_check(tags)
        except InputError:
            return
        assert kept == tags_check(kept)
        assert all(tag == tag_normalize(tag) for tag in kept)

    @given(st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=5), st.integers(), st.none()), max_size=4))
    def test_metadata_is_text_by_text_or_refused(self, metadata: dict[str, str]) -> None:
        try:
            kept = metadata_check(metadata)
        except InputError:
            return
        assert kept == metadata
        assert all(isinstance(value, str) for value in kept.values())


class TestDeleting:
    def test_every_place_that_would_miss_it_is_named(self) -> None:
        pair = stock.CA
        certificate, _ = take(pair)
        authority = Authority.objects.create(certificate=certificate)
        responder, _ = take(pki.leaf(pair, ["ocsp.example"]))
        other, _ = take(pki.authority("Other"))
        Authority.objects.create(certificate=other, responder=responder)
        IssuedCertificate.objects.create(authority=authority, serial="1", not_after=clock.now() + timedelta(days=1))
        Certificate.objects.filter(pk=responder.pk).update(authority=authority, auto_renew=True)
        binding_set("ocsp.example", responder, actor="test")
        state_update(placeholder=responder)
        with pytest.raises(
            ConflictError,
            match=r"one certificate that it signed is still valid.*the authority that renews 1 certificate",
        ):
            certificate_delete(certificate, actor="test")
        with pytest.raises(ConflictError) as refusal:
            certificate_delete(responder, actor="test")
        for words in ("bound: ocsp.example", "while nothing is bound", "answers for Other"):
            assert words in refusal.value.message
        assert refusal.value.code == "in-use"

    def test_an_authority_whose_certificates_have_all_expired_can_go(self) -> None:
        certificate, _ = take(stock.CA)
        authority = Authority.objects.create(certificate=certificate)
        IssuedCertificate.objects.create(authority=authority, serial="1", not_after=clock.now() - timedelta(days=1))
        certificate_delete(certificate, actor="test")
        Certificate.objects.update(deleted_at=clock.now() - timedelta(days=31))
        prune_run()
        assert Certificate.objects.filter(pk=certificate.pk).exists()  # its register is kept, and so is it

    def test_a_deleted_one_comes_back_as_it_was(self) -> None:
        certificate = stock.issued("a.example", "b.example", name="Both")
        certificate_update(certificate, actor="test", tags=["x"], description="d")
        certificate_delete(certificate, actor="test")
        assert not CertificateName.objects.exists()
        assert not certificates_due_for_check(clock.now() + timedelta(days=2)).exists()
        certificate_restore(certificate, actor="test")
        assert (certificate.deleted_at, certificate.auto_renew) == (None, True)
        assert certificate_tags(certificate) == ["x"]
        for word in ("both", "b.example"):
            assert certificate_find(word) == certificate
        assert certificate in certificates_due_for_check(clock.now())
        assert AuditEvent.objects.filter(action="certificate.restore").count() == 1
        with pytest.raises(InputError, match="not deleted"):
            certificate_restore(certificate, actor="test")

    def test_one_that_did_not_renew_by_itself_does_not_begin_to(self) -> None:
        certificate = stock.issued("a.example")
        certificate_update(certificate, actor="test", auto_renew=False)
        certificate_delete(certificate, actor="test")
        certificate_restore(certificate, actor="test")
        assert not certificate.auto_renew

    def test_one_that_was_taken_in_again_since_is_not_restored_beside_itself(self) -> None:
        pair = pki.leaf(stock.CA, ["a.example"])
        certificate, _ = take(pair)
        certificate_delete(certificate, actor="test")
        again, created = take(pair)
        assert created
        with pytest.raises(ConflictError, match="taken in again"):
            certificate_restore(certificate, actor="test")
        certificate_delete(again, actor="test")
        certificate_restore(certificate, actor="test")

    def test_the_directory_of_the_export_is_not_shared_after_a_return(self) -> None:
        one, two = stock.issued("a.example"), stock.issued("b.example")
        Certificate.objects.filter(pk=one.pk).update(export_name="site")
        certificate_delete(one, actor="test")
        Certificate.objects.filter(pk=two.pk).update(export_name="site")
        certificate_restore(Certificate.objects.get(pk=one.pk), actor="test")
        assert Certificate.objects.get(pk=one.pk).export_name == ""

    def test_after_thirty_days_it_is_gone_and_its_id_is_free(self) -> None:
        certificate, _ = take(pki.leaf(stock.CA, ["a.example"]), api_id="one")
        certificate_delete(certificate, actor="test")
        Certificate.objects.update(deleted_at=clock.now() - timedelta(days=29, hours=23))
        prune_run()
        assert Certificate.objects.exists()
        Certificate.objects.update(deleted_at=clock.now() - timedelta(days=30, hours=1))
        prune_run()
        assert not Certificate.objects.exists()
        take(pki.leaf(stock.CA, ["b.example"]), api_id="one")

    def test_who_only_looks_deletes_and_restores_nothing(self) -> None:
        certificate = stock.issued("a.example")
        bob = User.objects.create_user("bob@example.com", "a long pass phrase")
        RoleGrant.objects.get_or_create(user=bob, role="viewer", organization_id=DEFAULT_ORGANIZATION)
        with pytest.raises(NotAllowed):
            certificate_delete(certificate, actor=bob)
        certificate_delete(certificate, actor="test")
        with pytest.raises(NotAllowed):
            certificate_restore(certificate, actor=bob)


def test_an_order_made_for_a_deleted_certificate_changes_nothing_of_its_return() -> None:
    certificate = stock.issued("a.example")
    order = order_create(certificate, reason="asked", actor="test")
    with pytest.raises(ConflictError, match="under way"):
        certificate_delete(certificate, actor="test")
    Order.objects.filter(pk=order.pk).update(finished_at=clock.now(), state="cancelled")
    certificate_delete(certificate, actor="test")
    certificate_restore(certificate, actor="test")
    assert certificate.orders.count() == 1


def test_the_differences_of_two_versions_are_data() -> None:
    old = pki.leaf(stock.CA, ["a.example", "b.example"], days=90)
    new = pki.leaf(pki.authority("B Root"), ["b.example", "c.example"], days=47)
    one, _ = take(old)
    two, _ = take(new)
    assert one.current is not None
    assert two.current is not None
    found = version_compare(one.current, two.current)
    assert (found.names_added, found.names_removed, found.key_changed) == (("c.example",), ("a.example",), True)
    changed = {fact.name: (fact.before, fact.after) for fact in found.differences}
    assert changed["lifetime"] == ("90 days", "47 days")
    assert changed["issuer"] == ("CN=A Root", "CN=B Root")
    assert {"serial", "to", "spki", "fingerprint"} <= changed.keys()
    assert "key" not in changed
    same = version_compare(one.current, one.current)
    assert same.as_json() == {"differences": [], "names_added": [], "names_removed": [], "key_changed": False}


def test_the_index_of_parts_of_names_is_kept_by_the_database() -> None:
    """A later migration that makes the table anew must make its triggers again."""
    stock.uploaded("own.example")
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'certs_certificatename'")
        assert len(cursor.fetchall()) == 3
        cursor.execute("INSERT INTO certs_name_trigram(certs_name_trigram, rank) VALUES ('integrity-check', 1)")


def test_what_is_only_trusted_raises_no_alarm_and_a_lost_key_does() -> None:
    take(stock.CA, with_key=False)
    lost = stock.issued("a.example")
    sweep_run(actor="test")
    assert {row.last_decision for row in Certificate.objects.filter(source="uploaded")} == {"not-due"}
    assert not [trouble.key for trouble in certificates_troubles(clock.now())]
    CertificateVersion.objects.filter(certificate=lost).update(key=None)
    assert [trouble.key for trouble in certificates_troubles(clock.now())] == [f"key:{lost.pk}"]
