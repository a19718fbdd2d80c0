"""OCSP by our own authorities: what openssl asks and takes, and everything that is no request."""

import subprocess
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as library
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.domain import ocsp
from certs.domain.keys import Key, key_generate
from certs.domain.ocsp import (
    MALFORMED,
    Answer,
    CertId,
    Issuer,
    OcspRefused,
    Responder,
    ocsp_path_read,
    ocsp_refusal,
    ocsp_request_read,
    ocsp_response,
    responder_certificate,
)
from tests.harness import pki

NOW = datetime.now(UTC).replace(microsecond=0)
CA = pki.authority("Our CA")
OTHER = pki.authority("Another CA")
LEAF = pki.leaf(CA, ["a.example"])
REVOKED_AT = NOW - timedelta(days=3)


def asked(*, digest: hashes.HashAlgorithm | None = None, nonce: bytes | None = None, leaf: pki.Pair = LEAF) -> bytes:
    builder = library.OCSPRequestBuilder()
    builder = builder.add_certificate(leaf.certificate, CA.certificate, digest or hashes.SHA1())
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def delegated(ca: pki.Pair = CA, key_type: str = "ec-p256") -> Responder:
    key, ca_key = key_generate(key_type), ca.key
    certificate = responder_certificate(
        ca.certificate,
        ca_key,  # type: ignore[arg-type]
        key.public_key(),
        name="OCSP of Our CA",
        serial=x509.random_serial_number(),
        not_before=NOW - timedelta(hours=1),
        not_after=NOW + timedelta(days=14),
    )
    return Responder(key, certificate)


def itself(ca: pki.Pair = CA) -> Responder:
    key: Key = ca.key  # type: ignore[assignment]
    return Responder(key)


def answered(der: bytes, responder: Responder, **status: object) -> bytes:
    request = ocsp_request_read(der)
    known = {"known": True, **status}
    answers = [Answer(one, **known) for one in request.ids]  # type: ignore[arg-type]
    return ocsp_response(answers, responder, produced_at=NOW, next_update=NOW + timedelta(hours=8), nonce=request.nonce)


@pytest.mark.parametrize("digest", [hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_the_issuer_is_recognised_in_any_hash(digest: hashes.HashAlgorithm) -> None:
    request = ocsp_request_read(asked(digest=digest))
    (one,) = request.ids
    assert (one.serial, one.digest, request.nonce) == (LEAF.certificate.serial_number, digest.name, None)
    assert Issuer.of(CA.certificate).is_meant(one)
    assert not Issuer.of(OTHER.certificate).is_meant(one)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, library.OCSPCertStatus.GOOD),
        ({"known": False}, library.OCSPCertStatus.UNKNOWN),
        ({"revoked_at": REVOKED_AT, "reason": "keyCompromise"}, library.OCSPCertStatus.REVOKED),
        ({"revoked_at": REVOKED_AT}, library.OCSPCertStatus.REVOKED),
    ],
)
@pytest.mark.parametrize("make", [delegated, itself])
def test_the_library_reads_every_status(
    make: Callable[[], Responder], status: dict[str, object], expected: library.OCSPCertStatus
) -> None:
    responder = make()
    found = library.load_der_ocsp_response(answered(asked(nonce=b"n" * 32), responder, **status))
    assert found.response_status == library.OCSPResponseStatus.SUCCESSFUL
    assert found.certificate_status == expected
    assert (found.this_update_utc, found.next_update_utc) == (NOW, NOW + timedelta(hours=8))
    assert found.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * 32
    assert found.certificates == ([responder.certificate] if responder.certificate else [])
    if expected == library.OCSPCertStatus.REVOKED:
        assert found.revocation_time_utc == REVOKED_AT
        assert (found.revocation_reason is not None) == ("reason" in status)


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048", "ed25519"])
@pytest.mark.parametrize("direct", [False, True])
def test_openssl_takes_the_answer(key_type: str, direct: bool, tmp_path: Path, need: Callable[..., list[Path]]) -> None:
    (openssl,) = need("openssl")
    ca = pki.authority("Signed By Any Key", key=key_generate(key_type))
    good, bad = pki.leaf(ca, ["good.example"]), pki.leaf(ca, ["bad.example"])
    for name, pair in (("ca", ca), ("good", good), ("bad", bad)):
        (tmp_path / f"{name}.pem").write_text(pair.pem)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [openssl, "ocsp", "-issuer", "ca.pem", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)

    # Two certificates in one request, in two kinds of hash, with a nonce.
    ids = ("-cert", "good.pem", "-sha256", "-cert", "bad.pem")
    assert run(*ids, "-reqout", "request.der").returncode == 0
    request = ocsp_request_read((tmp_path / "request.der").read_bytes())
    assert [one.digest for one in request.ids] == ["sha1", "sha256"]
    assert request.nonce
    answers = [Answer(request.ids[0], known=True), Answer(request.ids[1], True, REVOKED_AT, "superseded")]
    responder = itself(ca) if direct else delegated(ca, key_type)
    response = ocsp_response(
        answers, responder, produced_at=NOW, next_update=NOW + timedelta(hours=1), nonce=request.nonce
    )
    (tmp_path / "response.der").write_bytes(response)
    done = run("-reqin", "request.der", "-respin", "response.der", "-CAfile", "ca.pem")
    assert "Response verify OK" in done.stderr
    assert "Nonce" not in done.stderr  # the same as was asked
    done = run(*ids, "-respin", "response.der", "-CAfile", "ca.pem", "-no_nonce")
    assert "Response verify OK" in done.stderr
    assert "good.pem: good" in done.stdout
    assert "bad.pem: revoked" in done.stdout
    assert "Reason: superseded" in done.stdout


def test_the_responders_certificate_is_what_rfc_6960_asks() -> None:
    certificate = delegated().certificate
    assert certificate is not None
    certificate.verify_directly_issued_by(CA.certificate)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.ExtendedKeyUsageOID.OCSP_SIGNING]
    assert certificate.extensions.get_extension_for_class(x509.OCSPNoCheck)
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature


def test_it_never_outlives_its_issuer() -> None:
    made = responder_certificate(
        CA.certificate,
        CA.key,  # type: ignore[arg-type]
        key_generate("ec-p256").public_key(),
        name="x" * 80,
        serial=1,
        not_before=NOW - timedelta(days=4000),
        not_after=NOW + timedelta(days=90_000),
    )
    assert made.not_valid_before_utc == CA.certificate.not_valid_before_utc
    assert made.not_valid_after_utc == CA.certificate.not_valid_after_utc


@pytest.mark.parametrize("length", [1, 16, 32, 128])
def test_a_nonce_comes_back(length: int) -> None:
    answer = library.load_der_ocsp_response(answered(asked(nonce=b"x" * length), itself()))
    assert answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"x" * length


@pytest.mark.parametrize("length", [0, 129, 4000])
def test_a_nonce_of_another_length_does_not(length: int) -> None:
    with pytest.raises(OcspRefused) as refused:
        ocsp_request_read(asked(nonce=b"x" * length))
    assert refused.value.status == MALFORMED


def test_seventeen_certificates_are_too_many() -> None:
    (one,) = ocsp_request_read(asked()).ids
    with pytest.raises(OcspRefused, match="1 to 16"):
        ocsp_request_read(_of(one, 17))
    assert len(ocsp_request_read(_of(one, 16)).ids) == 16
    with pytest.raises(OcspRefused, match="1 to 16"):
        ocsp_request_read(_of(one, 0))


def _of(one: CertId, times: int) -> bytes:
    return ocsp._tlv(0x30, ocsp._tlv(0x30, ocsp._tlv(0x30, ocsp._tlv(0x30, one.der) * times)))


def test_an_extension_that_must_be_known_and_is_not() -> None:
    builder = library.OCSPRequestBuilder().add_certificate(LEAF.certificate, CA.certificate, hashes.SHA256())
    strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    for critical in (False, True):
        der = builder.add_extension(strange, critical=critical).build().public_bytes(Encoding.DER)
        if critical:
            with pytest.raises(OcspRefused, match="insists"):
                ocsp_request_read(der)
        else:
            assert ocsp_request_read(der).ids


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x30\x00", b"\x30\x80\x00\x00", b"x" * 16385, b"\xff" * 100])
def test_what_is_no_request(der: bytes) -> None:
    with pytest.raises(OcspRefused) as refused:
        ocsp_request_read(der)
    assert refused.value.status == MALFORMED


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused(der: bytes) -> None:
    with suppress(OcspRefused):
        ocsp_request_read(der)


WHOLE = asked(nonce=b"n" * 32)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_broken_request_is_read_or_refused(data: st.DataObject) -> None:
    """Bytes changed, cut out and put in; what is read can be answered, and the answer can be read."""
    broken = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(broken) - 1))
        broken[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        request = ocsp_request_read(bytes(broken))
    except OcspRefused:
        return
    for one in request.ids:
        Issuer.of(CA.certificate).is_meant(one)
    answers = [Answer(one, known=False) for one in request.ids]
    answer = ocsp_response(answers, ITSELF, produced_at=NOW, next_update=NOW, nonce=request.nonce)
    assert library.load_der_ocsp_response(answer).response_status == library.OCSPResponseStatus.SUCCESSFUL


ITSELF = itself()


@given(st.binary(min_size=1, max_size=200))
@settings(deadline=None)
def test_the_path_of_a_get_in_every_spelling(der: bytes) -> None:
    text = b64encode(der).decode()
    for path in (text, quote(text, safe=""), text.rstrip("=")):
        assert ocsp_path_read(path) == der
    assert ocsp_path_read(text.replace("+", " ")) == der


@pytest.mark.parametrize("path", ["ä", "%00", "MEE\x00", "!", "A", "MFQ-_", "A" * 40_000])
def test_a_path_that_is_no_base64(path: str) -> None:
    with pytest.raises(OcspRefused):
        ocsp_path_read(path)


@pytest.mark.parametrize("status", [ocsp.MALFORMED, ocsp.INTERNAL_ERROR, ocsp.TRY_LATER, ocsp.UNAUTHORIZED])
def test_a_refusal_is_an_answer_too(status: int) -> None:
    assert library.load_der_ocsp_response(ocsp_refusal(status)).response_status.value == status
