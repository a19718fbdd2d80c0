"""Issuer, list and OCSP of our own CAs, as clients ask: whatever they send, never an error of the server."""

from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from unittest.mock import patch
from urllib.parse import quote
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.x509 import ocsp
from django.db import OperationalError
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certs.models import Authority, Certificate, CertificateVersion, IssuedCertificate, PrivateKey
from certs.services.deletion import certificate_delete
from certs.services.portal_state import state_update
from certs.services.prune import prune_run
from certs.services.revocations import serial_revoke, version_release, version_revoke
from certs.views import pki
from portal import clock
from tests import own_ca

pytestmark = pytest.mark.django_db
GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN
DAY = 86_400.0


@pytest.fixture
def ca() -> Authority:
    return own_ca.root()


@pytest.fixture
def leaf(ca: Authority) -> Certificate:
    return own_ca.leaf(ca)


@pytest.fixture
def browser() -> Client:
    """A client that names a host nobody knows, as many will."""
    return Client(headers={"host": "pki.example.com"})


def post(browser: Client, ca: Authority, der: bytes) -> ocsp.OCSPResponse:
    answer = browser.post(f"/pki/ocsp/{ca.pk}", der, content_type="application/ocsp-request")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/ocsp-response")
    assert not answer.cookies
    return ocsp.load_der_ocsp_response(answer.content)


def status(browser: Client, ca: Authority, leaf: Certificate) -> ocsp.OCSPCertStatus:
    return post(browser, ca, own_ca.asked(ca, leaf)).certificate_status


class TestFiles:
    def test_the_issuer(self, browser: Client, ca: Authority) -> None:
        answer = browser.get(f"/pki/aia/{ca.pk}.cer")
        assert answer["Content-Type"] == "application/pkix-cert"
        assert x509.load_der_x509_certificate(answer.content) == own_ca.parsed(ca.certificate)

    def test_the_list(self, browser: Client, ca: Authority) -> None:
        answer = browser.get(f"/pki/crl/{ca.pk}.crl")
        assert answer["Content-Type"] == "application/pkix-crl"
        assert x509.load_der_x509_crl(answer.content) == own_ca.crl(ca)
        assert answer["Cache-Control"] == "max-age=300, public, no-transform"
        assert not answer.cookies

    @pytest.mark.parametrize("path", ["/pki/aia/{}.cer", "/pki/crl/{}.crl"])
    def test_what_is_known_already_is_not_sent_again(self, browser: Client, ca: Authority, path: str) -> None:
        url = path.format(ca.pk)
        first = browser.get(url)
        for header in ({"if-none-match": first["ETag"]}, {"if-none-match": f'W/"x", {first["ETag"]}'}):
            again = browser.get(url, headers=header)
            assert (again.status_code, again.content) == (304, b"")
            assert again["ETag"] == first["ETag"]
        assert browser.get(url, headers={"if-modified-since": first["Last-Modified"]}).status_code == 304
        assert browser.get(url, headers={"if-modified-since": "Mon, 01 Jan 2001 00:00:00 GMT"}).status_code == 200
        assert browser.get(url, headers={"if-modified-since": "yesterday"}).status_code == 200
        assert browser.get(url, headers={"if-none-match": '"another"'}).status_code == 200

    @pytest.mark.parametrize("path", ["/pki/aia/{}.cer", "/pki/crl/{}.crl"])
    def test_the_head_is_that_of_the_body(self, browser: Client, ca: Authority, path: str) -> None:
        got, head = (ask(path.format(ca.pk)) for ask in (browser.get, browser.head))
        assert head.content == b""
        assert head["Content-Length"] == str(len(got.content))
        assert head["ETag"] == got["ETag"]

    def test_a_new_list_is_given_at_once(self, browser: Client, ca: Authority, leaf: Certificate) -> None:
        url = f"/pki/crl/{ca.pk}.crl"
        first = browser.get(url)
        version_revoke(own_ca.version(leaf), "superseded", actor="test")
        second = browser.get(url, headers={"if-none-match": first["ETag"]})
        assert second.status_code == 200
        serial = own_ca.parsed(leaf).serial_number
        assert x509.load_der_x509_crl(second.content).get_revoked_certificate_by_serial_number(serial)

    @pytest.mark.parametrize("path", ["/pki/aia/{}.cer", "/pki/crl/{}.crl", "/pki/ocsp/{}"])
    def test_nobody_else_is_there(self, browser: Client, path: str) -> None:
        answer = browser.post(path.format(uuid4()), b"x", content_type="application/ocsp-request")
        assert answer.status_code in (200, 404, 405)  # 200: OCSP says that this is no request
        assert browser.get(path.format(uuid4())).status_code in (200, 404)
        assert browser.get(path.format("nobody")).status_code == 404


class TestStatus:
    def test_good_revoked_and_unknown(self, browser: Client, ca: Authority, leaf: Certificate) -> None:
        other = own_ca.leaf(ca, "other.example.com")
        assert status(browser, ca, leaf) == GOOD
        version_revoke(own_ca.version(leaf), "keyCompromise", actor="test")
        answer = post(browser, ca, own_ca.asked(ca, leaf, sha256=True))
        assert answer.certificate_status == REVOKED
        assert answer.revocation_reason == x509.ReasonFlags.key_compromise
        assert status(browser, ca, other) == GOOD
        IssuedCertificate.objects.filter(serial=own_ca.version(other).serial).delete()
        assert status(browser, ca, other) == UNKNOWN

    def test_a_hold_and_its_release(self, browser: Client, ca: Authority, leaf: Certificate) -> None:
        version_revoke(own_ca.version(leaf), "certificateHold", actor="test")
        assert status(browser, ca, leaf) == REVOKED
        assert own_ca.on_list(ca, leaf)
        version_release(own_ca.version(leaf), actor="test")
        assert status(browser, ca, leaf) == GOOD
        assert not own_ca.on_list(ca, leaf)
        assert own_ca.version(leaf).revoked_at is None

    def test_deleted_and_pruned_it_stays_revoked(
        self, browser: Client, ca: Authority, leaf: Certificate, move_clock: Callable[[float], None]
    ) -> None:
        der, serial = own_ca.asked(ca, leaf), own_ca.version(leaf).serial
        version_revoke(own_ca.version(leaf), "cessationOfOperation", actor="test")
        certificate_delete(leaf, actor="test")
        move_clock(40 * DAY)
        prune_run()
        assert not CertificateVersion.objects.filter(serial=serial).exists()
        assert post(browser, ca, der).certificate_status == REVOKED
        assert own_ca.crl(ca).get_revoked_certificate_by_serial_number(int(serial, 16))

    def test_what_was_signed_and_never_stored_is_revoked_by_its_number(
        self, browser: Client, ca: Authority, leaf: Certificate
    ) -> None:
        der, serial = own_ca.asked(ca, leaf), own_ca.version(leaf).serial
        leaf.current = None
        leaf.save()
        CertificateVersion.objects.filter(serial=serial).delete()
        shown = ":".join(serial.rjust(40, "0")[place : place + 2] for place in range(0, 40, 2)).upper()
        serial_revoke(ca, shown, "superseded", actor="test")
        assert post(browser, ca, der).certificate_status == REVOKED

    def test_the_certificates_of_others_are_nobodys_business_here(
        self, browser: Client, ca: Authority, leaf: Certificate
    ) -> None:
        other = own_ca.root("Another Root")
        answer = post(browser, other, own_ca.asked(ca, leaf))
        assert answer.response_status == ocsp.OCSPResponseStatus.UNAUTHORIZED

    def test_a_responder_that_lapsed_is_stood_in_for(
        self, browser: Client, ca: Authority, leaf: Certificate, move_clock: Callable[[float], None]
    ) -> None:
        assert len(post(browser, ca, own_ca.asked(ca, leaf)).certificates) == 1
        move_clock(20 * DAY)
        answer = post(browser, ca, own_ca.asked(ca, leaf))
        assert answer.certificate_status == GOOD
        assert answer.certificates == []  # by the CA's own key

    def test_its_key_gone_it_is_stood_in_for_too(self, browser: Client, ca: Authority, leaf: Certificate) -> None:
        assert ca.responder is not None
        PrivateKey.objects.filter(versions__certificate=ca.responder).update(sealed="")
        assert post(browser, ca, own_ca.asked(ca, leaf)).certificates == []

    def test_an_offline_ca_says_that_it_is_to_be_asked_later(
        self, browser: Client, move_clock: Callable[[float], None]
    ) -> None:
        offline = own_ca.root("Offline Root", passphrase=own_ca.PASSPHRASE, crl_days=60)
        leaf = own_ca.leaf(offline, passphrase=own_ca.PASSPHRASE)
        assert status(browser, offline, leaf) == GOOD
        version_revoke(own_ca.version(leaf), "superseded", actor="test")
        assert status(browser, offline, leaf) == REVOKED  # at once, though the list waits for a person
        assert not own_ca.on_list(offline, leaf)
        move_clock(61 * DAY)
        later = post(browser, offline, own_ca.asked(offline, leaf))
        assert later.response_status == ocsp.OCSPResponseStatus.TRY_LATER

    def test_no_answer_outlives_what_signed_it(
        self, browser: Client, ca: Authority, leaf: Certificate, move_clock: Callable[[float], None]
    ) -> None:
        move_clock(14 * DAY - 3600)
        answer = post(browser, ca, own_ca.asked(ca, leaf))
        assert answer.next_update_utc is not None
        assert ca.responder is not None
        assert answer.next_update_utc <= own_ca.version(ca.responder).not_after


class TestHttp:
    def test_get_is_cached_until_the_next_update(self, browser: Client, ca: Authority, leaf: Certificate) -> None:
        text = b64encode(own_ca.asked(ca, leaf)).decode()
        answers = [browser.get(f"/pki/ocsp/{ca.pk}/{path}") for path in (text, quote(text, safe=""))]
        for answer in answers:
            found = ocsp.load_der_ocsp_response(answer.content)
            assert found.certificate_status == GOOD
            assert found.next_update_utc is not None
            left = found.next_update_utc - clock.now()
            seconds = int(answer["Cache-Control"].split(",")[0].removeprefix("max-age="))
            assert abs(left - timedelta(seconds=seconds)) < timedelta(seconds=10)
            assert "public" in answer["Cache-Control"]
        url = f"/pki/ocsp/{ca.pk}/{text}"
        with patch.object(clock, "now", return_value=clock.now()):
            first = browser.get(url)
            assert browser.get(url, headers={"if-none-match": first["ETag"]}).status_code == 304
        head = browser.head(url)
        assert head.content == b""

    def test_with_a_nonce_nothing_is_cached(self, browser: Client, ca: Authority, leaf: Certificate) -> None:
        text = b64encode(own_ca.asked(ca, leaf, nonce=b"n" * 32)).decode()
        answer = browser.get(f"/pki/ocsp/{ca.pk}/{text}")
        assert answer["Cache-Control"] == "no-store"
        assert "ETag" not in answer
        found = ocsp.load_der_ocsp_response(answer.content)
        assert found.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * 32

    def test_a_kept_answer_is_not_given_once_it_is_wrong(
        self, browser: Client, ca: Authority, leaf: Certificate
    ) -> None:
        assert status(browser, ca, leaf) == status(browser, ca, leaf) == GOOD
        version_revoke(own_ca.version(leaf), "superseded", actor="test")
        assert status(browser, ca, leaf) == REVOKED

    def test_too_much_is_not_read(self, browser: Client, ca: Authority) -> None:
        class Unread(BytesIO):
            def read(self, *_: object) -> bytes:
                raise AssertionError("it was read")

        for size in ("16385", "99999999999", "-1", "x", "0", ""):
            answer = browser.generic("POST", f"/pki/ocsp/{ca.pk}", b"", CONTENT_LENGTH=size, **{"wsgi.input": Unread()})
            assert ocsp.load_der_ocsp_response(answer.content).response_status.value == 1

    def test_other_methods_are_refused(self, browser: Client, ca: Authority) -> None:
        for path, allowed in ((f"/pki/ocsp/{ca.pk}", "GET, HEAD, POST"), (f"/pki/crl/{ca.pk}.crl", "GET, HEAD")):
            answer = browser.put(path, b"")
            assert (answer.status_code, answer["Allow"]) == (405, allowed)

    def test_force_ssl_and_strange_hosts_change_nothing(self, ca: Authority, leaf: Certificate) -> None:
        state_update(force_ssl=True, public_url="https://portal.example.com", hsts=True, hsts_host="pki.example.com")
        text = b64encode(own_ca.asked(ca, leaf)).decode()
        for host in ("pki.example.com", "old.example.com:8000", "evil", "x" * 300, "a b", ""):
            for path in (f"aia/{ca.pk}.cer", f"crl/{ca.pk}.crl", f"ocsp/{ca.pk}/{text}"):
                answer = Client(headers={"host": host}).get(f"/pki/{path}")
                assert answer.status_code == 200
                assert "Strict-Transport-Security" not in answer
                assert not answer.cookies

    def test_nothing_is_written_and_little_asked(
        self,
        browser: Client,
        ca: Authority,
        leaf: Certificate,
        django_assert_num_queries: Callable[[int], object],
    ) -> None:
        der, revoked = own_ca.asked(ca, leaf), f"/pki/crl/{ca.pk}.crl"
        post(browser, ca, der)
        browser.get(revoked)
        with django_assert_num_queries(2):  # type: ignore[attr-defined]
            post(browser, ca, der)
        with django_assert_num_queries(1):  # type: ignore[attr-defined]
            browser.get(revoked)

    def test_a_flood_leaves_threads_for_people(self, browser: Client, ca: Authority, leaf: Certificate) -> None:
        taken = 0
        while pki._ROOM.acquire(blocking=False):
            taken += 1
        try:
            later = post(browser, ca, own_ca.asked(ca, leaf))
            assert later.response_status == ocsp.OCSPResponseStatus.TRY_LATER
            busy = browser.get(f"/pki/crl/{ca.pk}.crl")
            assert (busy.status_code, busy["Retry-After"]) == (503, "10")
        finally:
            for _ in range(taken):
                pki._ROOM.release()
        assert taken == 8  # half of the threads of a process
        assert status(browser, ca, leaf) == GOOD

    def test_the_database_away_it_is_to_be_asked_later(self, browser: Client, ca: Authority, leaf: Certificate) -> None:
        with patch.object(pki, "ocsp_answer", side_effect=OperationalError("gone")):
            later = post(browser, ca, own_ca.asked(ca, leaf))
        assert later.response_status == ocsp.OCSPResponseStatus.TRY_LATER
        with patch.object(pki, "ocsp_answer", side_effect=RuntimeError("the ring is away")):
            failed = post(browser, ca, own_ca.asked(ca, leaf))
        assert failed.response_status == ocsp.OCSPResponseStatus.INTERNAL_ERROR


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_sent_the_server_is_not_at_fault(
    data: st.DataObject, browser: Client, ca: Authority, leaf: Certificate
) -> None:
    der = bytearray(own_ca.asked(ca, leaf, nonce=b"n" * 16))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(der) - 1))
        der[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    answers = [
        browser.post(f"/pki/ocsp/{ca.pk}", bytes(der), content_type=data.draw(st.sampled_from(["", "text/html"]))),
        browser.get(f"/pki/ocsp/{ca.pk}/{quote(b64encode(bytes(der)).decode())}"),
        browser.get(f"/pki/ocsp/{ca.pk}/{quote(data.draw(st.text(max_size=60)))}"),
    ]
    for answer in answers:
        assert answer.status_code in (200, 404)
        if answer.status_code == 200:
            assert ocsp.load_der_ocsp_response(answer.content).response_status.value in (0, 1, 6)
