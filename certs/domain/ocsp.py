"""OCSP as an authority of our own answers it (RFC 6960, and RFC 5019 for what may be cached).

cryptography's own classes know one certificate per request, and make the identifiers anew. Requests are read with
asn1crypto instead and answers are written out here, so that every identifier comes back byte by byte as it was asked.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import new as digest_new
from hashlib import sha1
from typing import cast
from urllib.parse import unquote

from asn1crypto import algos, core, keys, ocsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.domain.errors import InputError
from certs.domain.issuer import key_identifier_of
from certs.domain.keys import Key, signature_hash
from certs.domain.revocation import OWN_REASONS, UNSPECIFIED

REQUEST_BYTES = 16 * 1024
MOST = 16  # certificates of one request
NONCE_BYTES = range(1, 129)  # RFC 9654 §2.1
# Response status, RFC 6960 §4.2.1.
MALFORMED, INTERNAL_ERROR, TRY_LATER, UNAUTHORIZED = 1, 2, 3, 6
_DIGESTS = frozenset({"sha1", "sha256", "sha384", "sha512"})


class OcspRefused(InputError):
    """There is no signed answer; `status` is what the client is told instead."""

    code = "ocsp"

    def __init__(self, message: str, status: int = MALFORMED) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class CertId:
    """What a client asks about. `der` is the identifier as it came."""

    der: bytes
    digest: str  # a name of hashlib
    name_hash: bytes  # of the issuer's subject
    key_hash: bytes  # of the issuer's key
    serial: int


@dataclass(frozen=True)
class OcspRequest:
    ids: tuple[CertId, ...]
    nonce: bytes | None = None  # content of the extension as it came


@dataclass(frozen=True)
class Issuer:
    """Name (DER) and key (bits) of an authority, by which clients name it in hashes of their choice."""

    name: bytes
    key: bytes

    @classmethod
    def of(cls, certificate: x509.Certificate) -> "Issuer":
        return cls(certificate.subject.public_bytes(), _key_bits(certificate.public_key()))

    def is_meant(self, wanted: CertId) -> bool:
        hashed = (digest_new(wanted.digest, part).digest() for part in (self.name, self.key))
        return tuple(hashed) == (wanted.name_hash, wanted.key_hash)


@dataclass(frozen=True)
class Answer:
    """Of one certificate: unknown where it was never signed here, revoked where `revoked_at` says so, else good."""

    id: CertId
    known: bool
    revoked_at: datetime | None = None
    reason: str = ""  # a name of RFC 5280 §5.3.1


@dataclass(frozen=True)
class Responder:
    """Who signs: a certificate that the authority signed for it, or the authority itself, without one."""

    key: Key
    certificate: x509.Certificate | None = None


def ocsp_request_read(der: bytes) -> OcspRequest:
    """Signatures of requests are not looked at (RFC 5019 §2.1.1). Raises OcspRefused."""
    if not der or len(der) > REQUEST_BYTES:
        raise OcspRefused(f"A request has 1 to {REQUEST_BYTES} bytes.")
    try:
        return _request(der)
    except OcspRefused:
        raise
    except Exception as error:  # the parser is lazy, and what a broken part raises is not said
        raise OcspRefused("This is not an OCSP request.") from error


def ocsp_path_read(path: str) -> bytes:
    """The request from the last part of the path of a GET (RFC 6960 appendix A.1), as the server has decoded it.

    Base64, percent-encoded once more or not, with or without its padding. Raises OcspRefused.
    """
    # A plus sign that some client took for a blank.
    text = unquote(path).replace(" ", "+").rstrip("=")
    if len(text) > REQUEST_BYTES * 2:
        raise OcspRefused("The request is too long.")
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (Base64Error, ValueError) as error:
        raise OcspRefused("This is not base64.") from error


def ocsp_refusal(status: int) -> bytes:
    """The DER of an answer that is not signed."""
    return bytes((0x30, 3, 0x0A, 1, status))


def ocsp_response(
    answers: Sequence[Answer],
    responder: Responder,
    *,
    produced_at: datetime,
    next_update: datetime,
    nonce: bytes | None = None,
) -> bytes:
    """The DER of a signed answer, valid from when it is produced. Moments have whole seconds."""
    times = _time(produced_at), _tlv(0xA0, _time(next_update))
    singles = [_tlv(_SEQUENCE, answer.id.der, _status(answer), *times) for answer in answers]
    certificate = responder.certificate
    public_key = certificate.public_key() if certificate else responder.key.public_key()
    by_key = _tlv(0xA2, _tlv(_OCTETS, sha1(_key_bits(public_key), usedforsecurity=False).digest()))
    echoed = () if nonce is None else (_tlv(0xA1, _tlv(_SEQUENCE, _tlv(_SEQUENCE, _NONCE_OID, _tlv(_OCTETS, nonce)))),)
    data = _tlv(_SEQUENCE, by_key, times[0], _tlv(_SEQUENCE, *singles), *echoed)
    algorithm, signature = _sign(responder, data)
    chain = () if certificate is None else (_tlv(0xA0, _tlv(_SEQUENCE, certificate.public_bytes(Encoding.DER))),)
    basic = _tlv(_SEQUENCE, data, algorithm, _tlv(_BITS, b"\0", signature), *chain)
    return _tlv(_SEQUENCE, b"\x0a\1\0", _tlv(0xA0, _tlv(_SEQUENCE, _BASIC_OID, _tlv(_OCTETS, basic))))


def responder_certificate(
    issuer: x509.Certificate,
    issuer_key: Key,
    public_key: CertificatePublicKeyTypes,
    *,
    name: str,
    serial: int,
    not_before: datetime,
    not_after: datetime,
) -> x509.Certificate:
    """The certificate of a delegated responder (RFC 6960 §4.2.2.2). Nobody asks whether it was revoked (nocheck,
    §4.2.2.2.1): it therefore ends soon, and never after its issuer."""
    # Of the issuer's own attributes, so that name constraints above it have nothing new to say.
    others = [part for part in issuer.subject if part.oid != NameOID.COMMON_NAME]
    usage = dict.fromkeys(_OTHER_USAGES, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([*others, x509.NameAttribute(NameOID.COMMON_NAME, name[:64])]))
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(max(not_before, issuer.not_valid_before_utc))
        .not_valid_after(min(not_after, issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
        .add_extension(x509.OCSPNoCheck(), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(key_identifier_of(issuer), critical=False)
    )
    return builder.sign(issuer_key, signature_hash(issuer_key))


_OTHER_USAGES = (
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _request(der: bytes) -> OcspRequest:
    whole = ocsp.OCSPRequest.load(der, strict=True)
    asked = whole["tbs_request"]
    if asked["version"].native != "v1":
        raise OcspRefused("Only version 1 is known.")
    singles = asked["request_list"]
    if not 1 <= len(singles) <= MOST:
        raise OcspRefused(f"A request is about 1 to {MOST} certificates.")
    ids = tuple(_cert_id(single) for single in singles)
    return OcspRequest(ids, _nonce(asked["request_extensions"]))


def _cert_id(single: ocsp.Request) -> CertId:
    found = single["req_cert"]
    _no_critical(single["single_request_extensions"])
    digest = found["hash_algorithm"]["algorithm"].native
    if digest not in _DIGESTS:
        raise OcspRefused("The identifier is hashed in a way that is not known here.")
    return CertId(
        found.dump(),
        digest,
        found["issuer_name_hash"].native,
        found["issuer_key_hash"].native,
        int(found["serial_number"].native),
    )


def _nonce(extensions: ocsp.TBSRequestExtensions) -> bytes | None:
    _no_critical(extensions, but="nonce")
    found = [each["extn_value"].contents for each in extensions if each["extn_id"].native == "nonce"]
    if not found:
        return None
    content = core.OctetString.load(found[0], strict=True).native
    if len(found) > 1 or len(content) not in NONCE_BYTES:
        raise OcspRefused(f"A nonce has 1 to {NONCE_BYTES[-1]} bytes.")
    return bytes(found[0])


def _no_critical(extensions: ocsp.TBSRequestExtensions | ocsp.RequestExtensions, but: str = "") -> None:
    """What is absent is iterable, too."""
    if any(each["critical"].native and each["extn_id"].native != but for each in extensions):
        raise OcspRefused("The request insists on an extension that is not known here.")


def _status(answer: Answer) -> bytes:
    if not answer.known:
        return _tlv(0x82)
    if answer.revoked_at is None:
        return _tlv(0x80)
    number = 0 if answer.reason in ("", UNSPECIFIED) else OWN_REASONS[answer.reason][0]
    reason = (_tlv(0xA0, bytes((0x0A, 1, number))),) if number else ()
    return _tlv(0xA1, _time(answer.revoked_at), *reason)


def _sign(responder: Responder, data: bytes) -> tuple[bytes, bytes]:
    """The AlgorithmIdentifier and the signature."""
    key = responder.key
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return _algorithm("ed25519"), key.sign(data)
    hashed = signature_hash(key) or hashes.SHA256()
    if isinstance(key, rsa.RSAPrivateKey):
        return _algorithm(f"{hashed.name}_rsa"), key.sign(data, padding.PKCS1v15(), hashed)
    return _algorithm(f"{hashed.name}_ecdsa"), key.sign(data, ec.ECDSA(hashed))


@cache
def _algorithm(name: str) -> bytes:
    parameters = {"parameters": core.Null()} if name.endswith("_rsa") else {}
    return cast(bytes, algos.SignedDigestAlgorithm({"algorithm": name, **parameters}).dump())


def _key_bits(public_key: CertificatePublicKeyTypes) -> bytes:
    """The content of the BIT STRING of its SubjectPublicKeyInfo, without the count of unused bits."""
    spki = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return bytes(keys.PublicKeyInfo.load(spki)["public_key"].contents[1:])


def _time(moment: datetime) -> bytes:
    return _tlv(0x18, f"{moment.astimezone(UTC):%Y%m%d%H%M%SZ}".encode())


def _tlv(tag: int, *parts: bytes) -> bytes:
    """One element of DER (X.690 §8.1, §10.1)."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


_SEQUENCE, _OCTETS, _BITS = 0x30, 0x04, 0x03
_BASIC_OID = core.ObjectIdentifier("1.3.6.1.5.5.7.48.1.1").dump()
_NONCE_OID = core.ObjectIdentifier("1.3.6.1.5.5.7.48.1.2").dump()
