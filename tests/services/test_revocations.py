"""Versions that their CA has revoked are found in its list, by a real server on loopback; and what cannot be told."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certs.domain.errors import ConflictError, InputError
from certs.models import AuditEvent, Certificate, CertificateVersion, IssuedCertificate
from certs.services import revocations
from certs.services.certificates import certificate_new
from certs.services.deletion import certificate_delete
from certs.services.keys import key_import
from certs.services.revocations import (
    key_compromised,
    revocation_check_run,
    same_key_names,
    version_find,
    version_revoke,
)
from certs.services.sweeps import renewal_decision
from certs.services.version_history import version_use
from certs.services.versions import version_add
from portal import clock
from tests import own_ca, stock
from tests.harness import pki

pytestmark = pytest.mark.django_db
CA = pki.authority("List CA")


class Lists:
    """Serves what a test puts under a path; counts what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []

    def __enter__(self) -> Self:
        lists = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                lists.asked.append(self.path)
                status, body = lists.pages.get(self.path, (404, b""))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def publish(self, path: str, *serials: int, signer: pki.Pair = CA) -> None:
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(CA.certificate.subject)
        builder = builder.last_update(now - timedelta(hours=1)).next_update(now + timedelta(days=1))
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - timedelta(days=2))
            reason = x509.CRLReason(x509.ReasonFlags.superseded)
            builder = builder.add_revoked_certificate(entry.add_extension(reason, critical=False).build())
        self.pages[path] = 200, builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.fixture
def lists(settings: Any) -> Iterator[Lists]:
    settings.ALLOW_PRIVATE_CA = True
    with Lists() as running:
        yield running


def issued(name: str, url: str = "", *, chain: bool = True) -> CertificateVersion:
    """A certificate of CA that names the list at `url`."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(CA.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=80))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
    )
    if url:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
    leaf = builder.sign(CA.key, hashes.SHA256())
    account = stock.account()
    certificate = certificate_new(name=name, names=[name], account=account, actor="test")
    return version_add(certificate, leaf=leaf, chain=[CA.certificate] if chain else [], key=key_import(key))


def serial(version: CertificateVersion) -> int:
    return int(version.serial, 16)


def test_a_version_on_the_list_is_revoked_and_due_at_once(lists: Lists) -> None:
    bad, good = issued("bad.example", lists.url("/1")), issued("good.example", lists.url("/1"))
    lists.publish("/1", serial(bad))
    assert revocation_check_run() == 1
    assert lists.asked == ["/1"], "one list is asked for once, however many it is about"
    bad.refresh_from_db()
    good.refresh_from_db()
    assert bad.revoked_at is not None
    assert bad.revoked_at < clock.now() - timedelta(days=1), "as the list says, not when it was found"
    assert bad.revocation_reason == "superseded"
    assert (good.revoked_at, good.revocation_trouble) == (None, "")
    assert good.revocation_checked_at is not None
    assert renewal_decision(bad.certificate).code == "revoked"
    assert renewal_decision(bad.certificate).due
    assert renewal_decision(good.certificate).code == "not-due"
    bad.certificate.refresh_from_db()
    assert bad.certificate.next_check_at is not None
    assert bad.certificate.next_check_at <= clock.now()
    event = AuditEvent.objects.get(action="certificate.revoke")
    assert (event.actor_text, event.after["reason"]) == ("schedule", "superseded")


def test_each_is_looked_up_once_a_day(lists: Lists, move_clock: Callable[[float], None]) -> None:
    issued("a.example", lists.url("/1"))
    lists.publish("/1")
    revocation_check_run()
    revocation_check_run()
    assert lists.asked == ["/1"]
    move_clock(86400 + 60)
    revocation_check_run()
    assert lists.asked == ["/1", "/1"]


def _nothing(lists: Lists) -> None:
    pass


def _foreign(lists: Lists) -> None:
    lists.publish("/1", signer=pki.authority("Foreign"))


def _page(lists: Lists) -> None:
    lists.pages["/1"] = 200, b"<html>Welcome</html>"


def _large(lists: Lists) -> None:
    lists.pages["/1"] = 200, b"\x30" * 70_000


@pytest.mark.parametrize(
    ("publish", "why"),
    [(_nothing, "status 404"), (_foreign, "not signed"), (_page, "not a revocation list"), (_large, "more than")],
)
def test_what_could_not_be_checked_says_why_and_is_not_revoked(
    lists: Lists, monkeypatch: pytest.MonkeyPatch, publish: Callable[[Lists], None], why: str
) -> None:
    monkeypatch.setattr(revocations, "CRL_BYTES", 65_536)
    version = issued("a.example", lists.url("/1"))
    publish(lists)
    assert revocation_check_run() == 0
    version.refresh_from_db()
    assert version.revoked_at is None
    assert why in version.revocation_trouble
    assert version.revocation_checked_at is not None


def test_a_certificate_without_a_list_or_an_issuer_says_so(lists: Lists) -> None:
    bare, alone = issued("bare.example"), issued("alone.example", lists.url("/1"), chain=False)
    revocation_check_run()
    bare.refresh_from_db()
    alone.refresh_from_db()
    assert "names no revocation list" in bare.revocation_trouble
    assert "issuer is not here" in alone.revocation_trouble
    assert not lists.asked


def test_a_private_address_is_asked_only_where_the_operator_permits_it(lists: Lists, settings: Any) -> None:
    version = issued("a.example", lists.url("/1"))
    lists.publish("/1", serial(version))
    settings.ALLOW_PRIVATE_CA = False
    assert revocation_check_run() == 0
    version.refresh_from_db()
    assert "not on the Internet" in version.revocation_trouble
    assert not lists.asked


def test_a_dead_server_costs_only_its_own(lists: Lists) -> None:
    dead = issued("dead.example", "http://127.0.0.1:1/x")
    bad = issued("bad.example", lists.url("/1"))
    lists.publish("/1", serial(bad))
    assert revocation_check_run() == 1
    dead.refresh_from_db()
    assert "cannot be reached" in dead.revocation_trouble


def test_time_is_bounded_and_the_rest_keeps_its_turn(lists: Lists) -> None:
    version = issued("a.example", lists.url("/1"))
    lists.publish("/1", serial(version))
    assert revocation_check_run(seconds=0) == 0
    version.refresh_from_db()
    assert version.revocation_checked_at is None
    assert revocation_check_run() == 1


def test_deleted_expired_and_former_versions_are_nobodys_concern(lists: Lists, django_assert_num_queries: Any) -> None:
    gone = issued("gone.example", lists.url("/1"))
    certificate_delete(gone.certificate, actor="test")
    expired = issued("old.example", lists.url("/1"))
    CertificateVersion.objects.filter(pk=expired.pk).update(not_after=clock.now() - timedelta(days=1))
    former = issued("former.example", lists.url("/1"))
    Certificate.objects.filter(pk=former.certificate_id).update(current=None)
    with django_assert_num_queries(1):
        assert revocation_check_run() == 0
    assert not lists.asked


def test_a_compromised_key_makes_whatever_uses_it_due(lists: Lists) -> None:
    first, second = issued("a.example"), issued("b.example")
    CertificateVersion.objects.filter(pk=second.pk).update(key=first.key)
    second.refresh_from_db()
    assert first.key is not None
    assert same_key_names(first) == ["b.example"]
    key_compromised(first.key, actor="test")
    key_compromised(first.key, actor="test")
    assert AuditEvent.objects.filter(action="key.compromised").count() == 1
    decision = renewal_decision(Certificate.objects.get(name="b.example"))
    assert (decision.code, decision.text) == ("revoked", "Its private key is compromised.")


def test_what_was_not_ordered_here_cannot_be_revoked_here() -> None:
    own = stock.uploaded("own.example")
    assert own.current is not None
    with pytest.raises(InputError, match="not ordered here"):
        version_revoke(own.current, "superseded", actor="test")
    with pytest.raises(InputError, match="is no reason"):
        version_revoke(own.current, "certificateHold", actor="test")


def test_what_our_ca_signed_before_its_register_knew_of_it_is_revoked() -> None:
    authority = own_ca.root()
    row = own_ca.leaf(authority)
    version = own_ca.version(row)
    IssuedCertificate.objects.filter(serial=version.serial).delete()  # as after an older copy was restored
    Certificate.objects.filter(pk=row.pk).update(source=Certificate.Source.UPLOADED, authority=None)
    version_revoke(own_ca.version(row), "superseded", actor="test")
    assert own_ca.on_list(authority, row)
    assert own_ca.version(row).revocation_reason == "superseded"
    version_revoke(own_ca.version(row), "superseded", actor="test")
    assert IssuedCertificate.objects.filter(serial=version.serial).count() == 1


def test_a_version_is_found_by_its_fingerprint() -> None:
    version = issued("a.example")
    digits = version.fingerprint_sha256
    for word in (digits, digits[:8], ":".join(digits[i : i + 2] for i in range(0, 16, 2)).upper()):
        assert version_find(word) == version
    for word in (digits[:7], "", "zzzzzzzz", "0" * 64):
        with pytest.raises(InputError):
            version_find(word)


def test_a_revoked_version_is_not_gone_back_to(lists: Lists) -> None:
    version = issued("a.example")
    CertificateVersion.objects.filter(pk=version.pk).update(revoked_at=clock.now())
    version.refresh_from_db()
    with pytest.raises(ConflictError, match="was revoked"):
        version_use(version.certificate, version, actor="test")
