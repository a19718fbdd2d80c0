"""What one has read and another changes meanwhile: whoever comes second finds what the first has done.

Here the second holds rows that were read before; `tests/e2e/test_store_races_postgres.py` lets many run at once.
"""

import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography import x509
from django.db import connection

from certs.domain.bundle import GivenFile
from certs.domain.csr import csr_read
from certs.domain.errors import CertificateRefused, ConflictError, NotAllowed
from certs.domain.lint import Finding, lint
from certs.domain.pem import Chain, certificates_read
from certs.domain.wishes import Wish
from certs.models import ApiToken, Binding, BulkJob, Certificate, CertificateVersion, PrivateKey, TrustedAuthority
from certs.services import bulk, deletion, issued
from certs.services.access import TokenActor
from certs.services.authorities import authority_import, authority_retire
from certs.services.bindings import binding_set
from certs.services.bulk import bulk_ask, bulk_run
from certs.services.certificate_properties import Properties
from certs.services.certificates import certificate_take
from certs.services.deletion import certificate_delete, certificate_restore
from certs.services.issued import Item, Outcome, authority_issue, authority_issue_many
from certs.services.jwks import jwks_document
from certs.services.keys import key_import, key_open
from certs.services.organizations import certificate_move, organization_create
from certs.services.prune import prune_run
from certs.services.signing_requests import request_answer, request_create, request_renew
from certs.services.tokens import token_create, token_revoke
from certs.services.trusted import trusted_set
from certs.services.version_history import version_use
from certs.services.versions import version_add
from portal import clock
from tests import stock
from tests.harness import own_ca, pki

pytestmark = pytest.mark.django_db


def again(certificate: Certificate) -> Certificate:
    return Certificate.objects.select_related("current__key", "key").get(pk=certificate.pk)


def current(certificate: Certificate) -> CertificateVersion:
    version = again(certificate).current
    assert version is not None
    return version


def next_version(certificate: Certificate) -> CertificateVersion:
    pair = pki.leaf(stock.CA, certificate.names)
    return version_add(certificate, leaf=pair.certificate, chain=[], key=key_import(pair.key))  # type: ignore[arg-type]


def fits(certificate: Certificate) -> bool:
    version = current(certificate)
    (leaf,) = certificates_read(version.leaf_pem.encode())
    return version.key is not None and key_open(version.key).public_key() == leaf.public_key()


class Linters:
    """In this process, as it takes long to start others."""

    def __enter__(self) -> "Linters":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin(self, asked: Sequence[tuple[x509.Certificate, bool]]) -> None:
        self._found = [lint(certificate, public_style=style) for certificate, style in asked]

    def end(self) -> list[tuple[Finding, ...]]:
        return self._found


class TestDeleting:
    def test_what_was_deleted_meanwhile_is_not_bound(self) -> None:
        read = stock.uploaded("a.example")
        certificate_delete(again(read), actor="test")
        with pytest.raises(CertificateRefused):
            binding_set("", read, actor="test")
        assert not Binding.objects.exists()

    def test_nor_trusted(self) -> None:
        read = stock.uploaded(pair=pki.authority("A CA"))
        certificate_delete(again(read), actor="test")
        with pytest.raises(ConflictError, match="deleted"):
            trusted_set(read, clients=True, actor="test")
        assert not TrustedAuthority.objects.exists()

    def test_what_is_restored_while_the_old_ones_go_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        certificate = stock.uploaded("a.example")
        certificate_delete(certificate, actor="test")
        Certificate.objects.update(deleted_at=clock.now() - timedelta(days=30, seconds=1))
        real = deletion._removed

        def late(*given: object) -> bool:
            certificate_restore(certificate, actor="test")
            return real(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(deletion, "_removed", late)
        assert prune_run().certificates == 0
        assert fits(certificate)

    def test_what_is_there_already_is_not_moved_beside_itself(self) -> None:
        pair, other = pki.leaf(stock.CA, ["a.example"]), organization_create("Another", actor="test")
        here = stock.uploaded(pair=pair)
        key = key_import(pair.key)  # type: ignore[arg-type]
        there, _ = certificate_take(
            Chain(pair.certificate), key, actor="test", properties=Properties(organization=other)
        )
        with pytest.raises(ConflictError, match="the same certificate"):
            certificate_move(here, other, actor="test")
        assert again(here).organization_id != again(there).organization_id

    def test_what_is_gone_cannot_be_restored(self) -> None:
        certificate = stock.uploaded("a.example")
        certificate_delete(certificate, actor="test")
        Certificate.objects.update(deleted_at=clock.now() - timedelta(days=30, seconds=1))
        prune_run()
        with pytest.raises(Certificate.DoesNotExist):
            certificate_restore(certificate, actor="test")


class TestVersions:
    def test_nobody_goes_back_to_one_that_was_revoked_meanwhile(self) -> None:
        certificate = stock.uploaded("a.example")
        first = current(certificate)
        second = next_version(certificate)
        CertificateVersion.objects.filter(pk=first.pk).update(revoked_at=clock.now())
        with pytest.raises(ConflictError, match="was revoked"):
            version_use(certificate, first, actor="test")
        assert current(certificate) == second

    def test_a_renewal_after_somebody_went_back_retires_what_was_in_use(self) -> None:
        """Its key stays in the JWKS for the overlap, whatever the renewal had read."""
        certificate = stock.uploaded("a.example")
        Certificate.objects.update(exposed=True)
        first = current(certificate)
        second = next_version(certificate)
        renewing = again(certificate)
        version_use(again(certificate), first, actor="test")
        next_version(renewing)
        assert CertificateVersion.objects.get(pk=first.pk).retired_at is not None
        assert CertificateVersion.objects.get(pk=second.pk).retired_at is not None
        assert jwks_document().count(b'"kid"') == 3
        assert fits(certificate)

    def test_a_second_answer_leaves_the_request_that_was_made_since(self) -> None:
        waiting = request_create(hosts=["a.example"], actor="test")
        key = csr_read(waiting.request_pem.encode()).public_key
        start = clock.now() - timedelta(minutes=5)
        answers = [
            pki.Pair(pki.certificate(stock.CA, ["a.example"], key, days=90, start=start), stock.CA.key)  # type: ignore[arg-type]
            for _ in range(2)
        ]
        first, second = again(waiting), again(waiting)
        request_answer(first, [GivenFile("", answers[0].pem.encode())], actor="test")
        renewed = request_renew(again(waiting), actor="test", key_type="ec-p256")
        request_answer(second, [GivenFile("", answers[1].pem.encode())], actor="test")
        kept = again(waiting)
        assert (kept.key_id, kept.request_pem) == (renewed.key_id, renewed.request_pem)
        assert fits(waiting)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_six_who_bring_the_same_one_makes_it() -> None:
    pair, start = pki.leaf(stock.CA, ["a.example"]), threading.Barrier(6)
    key = key_import(pair.key)  # type: ignore[arg-type]
    made: list[bool] = []

    def bring() -> None:
        try:
            start.wait(10)
            made.append(certificate_take(Chain(pair.certificate), key, actor="test")[1])
        finally:
            connection.close()

    threads = [threading.Thread(target=bring) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(made) == [False] * 5 + [True]
    assert Certificate.objects.count() == 1


class TestOwnCa:
    def test_a_ca_that_is_retired_signs_no_more_of_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(issued, "BATCH", 2)
        monkeypatch.setattr(issued, "LintPool", Linters)
        root = own_ca.root()
        signing = authority_issue_many(root, (Item(Wish(hosts=(f"h{n}.example",))) for n in range(8)), actor="test")
        first = [next(signing), next(signing)]
        authority_retire(root, actor="test")
        rest = list(signing)
        assert all(one.certificate for one in first)
        assert [_code(one) for one in rest] == ["authority-retired"] * 6
        assert root.issued.count() == 2 + 1  # and its responder

    def test_a_deleted_one_signs_nothing(self) -> None:
        root = own_ca.root()
        Certificate.objects.filter(pk=root.certificate_id).update(deleted_at=clock.now())
        root.refresh_from_db()
        with pytest.raises(NotAllowed, match="deleted"):
            authority_issue(root, Wish(hosts=("a.example",)), actor="test")

    def test_the_same_request_twice_at_once_has_one_key(self) -> None:
        """In one batch neither finds the row of the other; nor do two who sign at the same moment."""
        waiting = request_create(hosts=["a.example"], actor="test")
        request = csr_read(waiting.request_pem.encode())
        root = own_ca.root()
        Certificate.objects.filter(pk=waiting.pk).delete()
        PrivateKey.objects.filter(spki_sha256=request.spki_sha256).delete()
        outcomes = list(
            authority_issue_many(root, [Item(Wish(), csr=request), Item(Wish(), csr=request)], actor="test")
        )
        made = [one.certificate for one in outcomes if one.certificate]
        assert len({one.pk for one in made}) == 2
        assert len({current(one).key_id for one in made}) == 1

    def test_one_name_with_one_key_is_one_ca_in_every_organization(self) -> None:
        own_ca.address()
        pair = pki.authority("A CA")
        given = {"chain": pair.pem.encode(), "key": pair.key_pem.encode(), "actor": "test"}
        authority_import(**given)  # type: ignore[arg-type]
        other = organization_create("Another", actor="test")
        with pytest.raises(ConflictError, match="an authority already"):
            authority_import(**given, properties=Properties(name="It", organization=other))  # type: ignore[arg-type]


def test_a_token_that_is_revoked_in_the_middle_of_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [stock.uploaded(f"{number}.example") for number in range(3)]
    token, _ = token_create("a job", "operator", actor=stock.administrator())
    job = bulk_ask("tag", [row.pk for row in rows], options={"add": ["x"]}, actor=TokenActor(token))
    monkeypatch.setattr(bulk, "_WRITE_SECONDS", 0.0)
    real = bulk.certificate_tags_set

    def revoked_after(*given: object, **more: object) -> bool:
        token_revoke(ApiToken.objects.get(pk=token.pk), actor="test")
        return real(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(bulk, "certificate_tags_set", revoked_after)
    bulk_run(job.pk)
    assert [line["ok"] for line in BulkJob.objects.get(pk=job.pk).results] == [True, False, False]


def _code(outcome: Outcome) -> str:
    return outcome.error.code if outcome.error else ""
