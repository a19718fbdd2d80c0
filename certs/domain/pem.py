"""Certificates as people hand them over: PEM bundles in any order, and the chain in the order of TLS."""

import re
import warnings
from base64 import b64decode
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID

from certs.domain.certinfo import certificate_info, is_issued_by
from certs.domain.errors import CertificateRefused
from certs.domain.keys import Key

SIZE_LIMIT = 1024 * 1024  # bytes of a bundle
COUNT_LIMIT = 50
_LONGEST_SERIAL = 64  # hex digits; RFC 5280 §4.1.2.2 allows 40
_KIND = rb"(?:X509 )?CERTIFICATE"
_BLOCK = re.compile(rb"-----BEGIN (?P<kind>" + _KIND + rb")-----(?P<body>[^-]*)-----END (?P=kind)-----")
_BEGIN = re.compile(rb"-----BEGIN " + _KIND + rb"-----")
_WHOLE_FILE = "Copy the whole file again, in binary mode."
_WHOLE = "Copy the whole file again, with every BEGIN and END line."


@dataclass(frozen=True)
class Chain:
    """`intermediates` run from the leaf's issuer upwards; the root is kept apart, since servers do not send it."""

    leaf: x509.Certificate
    intermediates: tuple[x509.Certificate, ...] = ()
    root: x509.Certificate | None = None

    @property
    def leaf_pem(self) -> str:
        return certificate_pem(self.leaf)

    @property
    def chain_pem(self) -> str:
        return "".join(certificate_pem(certificate) for certificate in self.intermediates)


def certificates_read(data: bytes) -> list[x509.Certificate]:
    """Every certificate of a PEM text, in the order given, duplicates dropped, text around them skipped.

    Raises CertificateRefused; what it returns is known to parse to the last extension.
    """
    if len(data) > SIZE_LIMIT:
        raise CertificateRefused(
            "The file is larger than 1 MiB.", advice="Give just the certificate and its intermediates."
        )
    blocks = [match["body"] for match in _BLOCK.finditer(data)]
    if not blocks:
        message, advice = _no_block(data)
        raise CertificateRefused(message, advice=advice)
    if len(blocks) != len(_BEGIN.findall(data)):
        raise CertificateRefused("A certificate in the text is cut off.", advice=_WHOLE)
    if len(blocks) > COUNT_LIMIT:
        raise CertificateRefused(
            f"The text holds {len(blocks)} certificates; at most {COUNT_LIMIT} are read.",
            advice="Give just the certificate and its intermediates, not a whole trust store.",
        )
    return list(dict.fromkeys(_read(body, number) for number, body in enumerate(blocks, start=1)))


def roots_of(text: str) -> tuple[x509.Certificate, ...]:
    """The certificates of a trust store in PEM form. One that the library does not read is left out: programs that ask
    OpenSSL trust it all the same."""
    found = []
    # Some roots in use have the serial number 0, at which the library frowns.
    with warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning):
        for block in _BLOCK.finditer(text.encode()):
            with suppress(ValueError):
                found.append(x509.load_pem_x509_certificate(block[0]))
    return tuple(found)


def chain_order(certificates: Sequence[x509.Certificate], public_key: PublicKeyTypes | None = None) -> Chain:
    """The leaf with its chain; what belongs to another chain is left out.

    The leaf is the certificate of `public_key` where one is given, otherwise the one that issued none of the others.
    Where a certificate has two issuers (cross-signed), the longer way is taken. Raises CertificateRefused.
    """
    if not certificates:
        raise CertificateRefused("No certificate was given.", advice="Give it in PEM form.")
    leaf = _leaf_of_key(certificates, public_key) if public_key else _leaf_of_graph(certificates)
    return chain_from(leaf, lambda _: certificates)


def chain_from(
    leaf: x509.Certificate,
    above: Callable[[x509.Certificate], Sequence[x509.Certificate]],
    issued_by: Callable[[x509.Certificate, x509.Certificate], bool] = is_issued_by,
) -> Chain:
    """The chain of this leaf. `above` gives the certificates that may have issued one, `issued_by` says whether."""
    path: list[x509.Certificate] = []
    current = leaf
    while not issued_by(current, current):
        issuers = [other for other in above(current) if other not in (leaf, *path) and issued_by(current, other)]
        if not issuers or len(path) >= COUNT_LIMIT:
            return Chain(leaf, tuple(path))
        current = min(issuers, key=lambda other: (issued_by(other, other), -other.not_valid_after_utc.timestamp()))
        path.append(current)
    if current is leaf:
        return Chain(leaf)
    return Chain(leaf, tuple(path[:-1]), current)


def pair_check(certificate: x509.Certificate, key: Key) -> None:
    """Raises CertificateRefused unless the certificate was made for this private key."""
    if _spki(certificate.public_key()) != _spki(key.public_key()):
        raise CertificateRefused(
            "The key does not belong to this certificate.",
            advice="Give the key that the certificate was requested with.",
            code="pair",
        )


def chain_prefer(chains: Sequence[Chain], common_name: str) -> Chain:
    """The first whose topmost issuer has this common name; none, or no name wanted: the first, the CA's default.

    The topmost issuer is whom the last certificate names, which is most often a root that is not sent itself.
    """
    wanted = common_name.strip().casefold()
    if not wanted:
        return chains[0]
    return next((chain for chain in chains if wanted in _top_names(chain)), chains[0])


def _top_names(chain: Chain) -> set[str]:
    last = chain.root or (chain.intermediates[-1] if chain.intermediates else chain.leaf)
    found = last.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return {str(attribute.value).casefold() for attribute in found}


def certificate_from_der(der: bytes) -> x509.Certificate:
    """One certificate in binary form, known to parse to the last extension. Raises CertificateRefused."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        if certificate.serial_number < 0:
            raise ValueError("negative serial number")  # RFC 5280 §4.1.2.2; the library will refuse it too
        # Parsed lazily by the library: ask now, so that nothing later meets a broken part.
        info = certificate_info(certificate)
        certificate.public_key()
        if len(info.serial) > _LONGEST_SERIAL or any(len(name) > 255 or not name.isprintable() for name in info.names):
            raise ValueError("a serial number or a name that nothing in use has")
    except _UNREADABLE as error:
        raise CertificateRefused("The certificate cannot be read.", advice=_WHOLE_FILE) from error
    return certificate


def certificate_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def _read(body: bytes, number: int) -> x509.Certificate:
    try:
        return certificate_from_der(b64decode(b"".join(body.split()), validate=True))
    except (ValueError, CertificateRefused) as error:  # binascii.Error is a ValueError
        raise CertificateRefused(f"Certificate {number} of the text cannot be read.", advice=_WHOLE) from error


_GIVE = "Give the text that begins with -----BEGIN CERTIFICATE-----."
# What people hand over instead: a mark in the text, what it is, what to do.
_INSTEAD: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (re.compile(rb"\A\s*\Z"), "No certificate was given.", _GIVE),
    (_BEGIN, "The certificate is cut off.", _WHOLE),
    (
        re.compile(rb"CERTIFICATE REQUEST-----"),
        "This is a signing request, not yet a certificate.",
        "Give the certificate that the CA made of it.",
    ),
    (re.compile(rb"PRIVATE KEY-----"), "This is a private key, not a certificate.", _GIVE),
    (
        re.compile(rb"-----BEGIN PKCS7"),
        "This is a PKCS#7 bundle.",
        "Convert it with: openssl pkcs7 -print_certs -in FILE",
    ),
    (
        re.compile(rb"-----BEGIN TRUSTED CERTIFICATE"),
        "This is a certificate in OpenSSL's own form.",
        "Convert it with: openssl x509 -in FILE",
    ),
    (
        re.compile(rb"\A\x30"),
        "The certificate is in binary form (DER or PKCS#12).",
        "Convert it with: openssl x509 -inform der -in FILE, or openssl pkcs12 -in FILE",
    ),
    (re.compile(rb""), "This is not a certificate in PEM form.", _GIVE),
)


def _no_block(data: bytes) -> tuple[str, str]:
    return next((message, advice) for mark, message, advice in _INSTEAD if mark.search(data))


def _leaf_of_key(certificates: Sequence[x509.Certificate], public_key: PublicKeyTypes) -> x509.Certificate:
    wanted = _spki(public_key)
    fitting = [certificate for certificate in certificates if _spki(certificate.public_key()) == wanted]
    if not fitting:
        count = "this certificate" if len(certificates) == 1 else f"any of these {len(certificates)} certificates"
        raise CertificateRefused(
            f"The key does not belong to {count}.",
            advice="Give the key that the certificate was requested with.",
            code="pair",
        )
    # An older certificate for the same key may lie in the same file.
    return max(fitting, key=lambda certificate: certificate.not_valid_after_utc)


def _leaf_of_graph(certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    leaves = [
        certificate
        for certificate in certificates
        if not any(other != certificate and is_issued_by(other, certificate) for other in certificates)
    ]
    if len(leaves) > 1:
        leaves = [leaf for leaf in leaves if not certificate_info(leaf).is_ca] or leaves
    if len(leaves) != 1:
        raise CertificateRefused(
            f"The text holds {len(leaves) or len(certificates)} certificates that do not belong to one chain.",
            advice="Give one certificate with its intermediates at a time.",
        )
    return leaves[0]


def _spki(public_key: PublicKeyTypes) -> bytes:
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
