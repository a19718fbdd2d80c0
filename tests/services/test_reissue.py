"""What our own CAs issued renews itself, once for each due moment."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from certs.domain.errors import ConflictError, KeyRefused
from certs.domain.renewal import Code
from certs.domain.wishes import Wish
from certs.models import Authority, Certificate, CertificateVersion, IssuedCertificate
from certs.services import sweeps
from certs.services.authorities import authority_change, authority_create, authority_renew, authority_retire
from certs.services.certificates import certificate_self_sign
from certs.services.issued import authority_issue
from certs.services.reissue import certificate_reissue
from certs.services.self_issued import certificate_self_issue
from certs.services.sweeps import renewal_decision, sweep_run
from portal import clock
from tests.harness import own_ca

pytestmark = pytest.mark.django_db
LEAF = Wish(hosts=("a.example.com",), days=90)


@pytest.fixture(autouse=True)
def _address() -> None:
    own_ca.address()


def aged(certificate: Certificate, days: float) -> Certificate:
    """As if it had been issued so many days earlier."""
    back = timedelta(days=days)
    for version in certificate.versions.all():
        CertificateVersion.objects.filter(pk=version.pk).update(
            not_before=version.not_before - back,
            not_after=version.not_after - back,
            created_at=version.created_at - back,
        )
    certificate.refresh_from_db()
    assert certificate.current is not None
    Certificate.objects.filter(pk=certificate.pk).update(expires_at=certificate.current.not_after, next_check_at=None)
    return Certificate.objects.get(pk=certificate.pk)


def old_enough(ca: Certificate) -> None:
    CertificateVersion.objects.filter(certificate=ca).update(created_at=clock.now() - timedelta(days=400))


def test_what_is_not_due_stays() -> None:
    made = authority_issue(own_ca.root(), LEAF, actor="test")
    line = sweep_run(only=[made], asked=False)[0]
    assert line.code == Code.NOT_DUE
    assert made.versions.count() == 1


def test_what_is_due_is_renewed_with_a_new_key_at_once(tmp_path: Path) -> None:
    root = own_ca.root()
    old_enough(root.certificate)
    made = aged(authority_issue(root, LEAF, actor="test"), 70)
    assert made.current is not None
    line = next(line for line in sweep_run() if line.certificate == made.pk)
    assert (line.code, line.order) == (Code.DUE_DATE, None)
    new = Certificate.objects.get(pk=made.pk)
    assert new.current is not None
    assert new.current.not_after > clock.now() + timedelta(days=80)
    assert new.current.key_id != made.current.key_id
    assert new.versions.count() == 2
    assert own_ca.openssl_verify(tmp_path, new, own_ca.pem_of(root)) == "ok"
    assert [one for one in sweep_run() if one.due] == []


def test_a_key_that_is_kept_stays() -> None:
    root = own_ca.root()
    made = authority_issue(root, LEAF, actor="test")
    Certificate.objects.filter(pk=made.pk).update(reuse_key=True)
    made.refresh_from_db()
    assert made.current is not None
    assert certificate_reissue(made, actor="test").key_id == made.current.key_id


def test_of_two_who_saw_the_same_version_one_renews() -> None:
    made = authority_issue(own_ca.root(), LEAF, actor="test")
    first, second = (Certificate.objects.get(pk=made.pk) for _ in range(2))
    certificate_reissue(first, actor="one")
    with pytest.raises(ConflictError) as caught:
        certificate_reissue(second, actor="two")
    assert caught.value.code == "busy"
    assert made.versions.count() == 2


def test_a_claim_that_its_process_left_behind_lapses() -> None:
    made = authority_issue(own_ca.root(), LEAF, actor="test")
    Certificate.objects.filter(pk=made.pk).update(retry_after_at=clock.now() + timedelta(minutes=1))
    made.refresh_from_db()
    with pytest.raises(ConflictError):
        certificate_reissue(made, actor="test")
    Certificate.objects.filter(pk=made.pk).update(retry_after_at=clock.now() - timedelta(seconds=1))
    made.refresh_from_db()
    assert certificate_reissue(made, actor="test")


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_six_sweeps_at_once_bring_one_version() -> None:
    root = own_ca.root()
    old_enough(root.certificate)
    made = aged(authority_issue(root, LEAF, actor="test"), 70)
    start = threading.Barrier(6)

    def sweep() -> None:
        try:
            start.wait(10)
            sweep_run()
        finally:
            connection.close()

    threads = [threading.Thread(target=sweep) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert made.versions.count() == 2
    assert IssuedCertificate.objects.filter(authority=root, subject="CN=a.example.com").count() == 2


def test_a_refusal_is_counted_and_puts_the_next_attempt_off() -> None:
    root = own_ca.root()
    old_enough(root.certificate)
    made = authority_issue(root, LEAF, actor="test")
    authority_change(root, profiles=["client"], actor="test")
    aged(made, 80)
    line = next(line for line in sweep_run() if line.certificate == made.pk)
    assert (line.code, line.failed) == (sweeps.FAILED, True)
    made.refresh_from_db()
    assert (made.failures, made.retry_after_at, made.versions.count()) == (1, None, 1)
    assert made.next_attempt_at is not None
    assert "does not sign by" in made.last_decision_text
    assert sweep_run(everything=True, only=None)
    made.refresh_from_db()
    assert made.failures == 1  # held back


def test_a_responder_is_left_to_the_lists() -> None:
    root = own_ca.root()
    assert root.responder is not None
    aged(root.responder, 13)
    decision = renewal_decision(Certificate.objects.get(pk=root.responder_id))
    assert decision.code == Code.NOT_DUE
    with pytest.raises(ConflictError):
        certificate_reissue(root.responder, actor="test")


def test_of_two_who_renew_a_ca_one_does() -> None:
    below = own_ca.below(own_ca.root())
    first, second = (Authority.objects.get(pk=below.pk) for _ in range(2))
    assert first.certificate.current_id == second.certificate.current_id
    authority_renew(first, actor="one")
    with pytest.raises(ConflictError):
        authority_renew(second, actor="two")
    assert below.certificate.versions.count() == 2


class TestOffline:
    def test_a_person_hears_of_it_thirty_days_before(self) -> None:
        root = own_ca.root(passphrase=own_ca.PASSPHRASE)
        old_enough(root.certificate)
        made = authority_issue(root, LEAF, passphrase=own_ca.PASSPHRASE, actor="test")
        assert renewal_decision(aged(made, 58)).code == Code.NOT_DUE
        decision = renewal_decision(aged(made, 4))
        assert decision.code == Code.NEEDS_PERSON
        assert "is offline: a person has to give its passphrase" in decision.text
        sweep_run()
        assert made.versions.count() == 1

    def test_with_the_passphrase_it_is_renewed(self) -> None:
        root = own_ca.root(passphrase=own_ca.PASSPHRASE)
        made = authority_issue(root, LEAF, passphrase=own_ca.PASSPHRASE, actor="test")
        with pytest.raises(KeyRefused):
            certificate_reissue(made, actor="test")
        made.refresh_from_db()
        assert (made.failures, made.retry_after_at) == (0, None)  # a slip of a person is no failure
        assert certificate_reissue(made, passphrase=own_ca.PASSPHRASE, actor="test")
        made.refresh_from_db()
        assert (made.failures, made.next_attempt_at) == (0, None)


class TestCascade:
    def test_leaves_follow_their_ca_the_cut_short_ones_first_and_in_batches(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        root = own_ca.root()
        below = own_ca.below(root, Wish(subject="CN=Short", days=60))
        whole = [authority_issue(below, Wish(hosts=(f"w{n}.example",), days=30), actor="test") for n in range(3)]
        cut = authority_issue(below, Wish(hosts=("cut.example",), days=90), actor="test")
        sweep_run()
        authority_renew(below, days=365, actor="test")
        monkeypatch.setattr(sweeps, "SIGNED_AT_ONCE", 2)
        lines = {line.certificate: line for line in sweep_run()}
        assert lines[cut.pk].code == Code.ISSUER_RENEWED
        renewed = [one for one in (cut, *whole) if one.versions.count() == 2]
        assert len(renewed) == 2
        assert cut in renewed
        held = [line for line in lines.values() if line.code == Code.HELD_BACK]
        assert len(held) == 2
        assert "Its turn comes soon" in held[0].text
        sweep_run(everything=True)
        assert all(one.versions.count() == 2 for one in (cut, *whole))
        cut.refresh_from_db()
        assert cut.current is not None
        assert cut.current.lifetime > timedelta(days=89)
        assert own_ca.pem_of(below.certificate) in cut.current.chain_pem
        assert own_ca.openssl_verify(tmp_path, cut, own_ca.pem_of(root)) == "ok"
        sweep_run(everything=True)
        assert cut.versions.count() == 2

    def test_leaves_move_to_a_successor(self, tmp_path: Path) -> None:
        old = own_ca.root()
        made = authority_issue(old, LEAF, actor="test")
        new = authority_create(Wish(subject="CN=New Root"), actor="test")
        authority_retire(old, successor=new, actor="test")
        sweep_run()
        made = Certificate.objects.get(pk=made.pk)
        assert made.authority == new
        assert own_ca.openssl_verify(tmp_path, made, own_ca.pem_of(new)) == "ok"

    def test_an_intermediate_is_renewed_by_its_parent(self) -> None:
        root = own_ca.root()
        old_enough(root.certificate)
        below = own_ca.below(root, Wish(subject="CN=Mid", days=730))
        aged(below.certificate, 500)
        line = next(line for line in sweep_run() if line.certificate == below.certificate_id)
        assert line.code == Code.DUE_DATE
        assert below.certificate.versions.count() == 2
        keys = set(below.certificate.versions.values_list("key", flat=True))
        assert len(keys) == 1


def test_what_ends_with_its_ca_makes_no_loop() -> None:
    root = own_ca.root(Wish(subject="CN=Ending", days=40))
    made = authority_issue(root, LEAF, actor="test")
    root.refresh_from_db()
    aged(root.certificate, 35)
    aged(made, 35)
    decision = renewal_decision(Certificate.objects.get(pk=made.pk))
    assert decision.code == Code.NEEDS_PERSON
    assert "renew that CA first" in decision.text


def test_a_self_signed_one_renews_itself() -> None:
    made = certificate_self_sign(name="own", names=["own.example.com"], key_type="ec-p256", days=90, actor="test")
    Certificate.objects.filter(pk=made.pk).update(auto_renew=True)
    made = aged(made, 75)
    line = next(line for line in sweep_run() if line.certificate == made.pk)
    assert line.code == Code.DUE_DATE, line.text
    new = Certificate.objects.get(pk=made.pk)
    assert new.current is not None
    assert new.current.self_signed
    assert new.current.names == ["own.example.com"]
    assert new.current.key_type == "ec-p256"
    assert 89 <= new.current.lifetime.days <= 90


def test_a_self_issued_one_keeps_its_wish(tmp_path: Path) -> None:
    wish = Wish(profile="both", hosts=("own.example.com",), key_type="ec-p521", days=30)
    made = certificate_self_issue(wish, auto_renew=True, actor="test")
    assert own_ca.openssl_verify(tmp_path, made, own_ca.pem_of(made)) == "ok"
    sweep_run()
    made = aged(made, 20)
    sweep_run()
    new = Certificate.objects.get(pk=made.pk)
    assert new.versions.count() == 2
    assert new.current is not None
    assert (new.current.key_type, new.current.is_client, new.current.self_signed) == ("ec-p521", True, True)
