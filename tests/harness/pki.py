"""Throw-away authorities and certificates for tests."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
    CertificatePublicKeyTypes,
)
from cryptography.x509.oid import NameOID

_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class Pair:
    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()


def authority(
    name: str = "Test Root", issuer: Pair | None = None, *, key: CertificateIssuerPrivateKeyTypes | None = None
) -> Pair:
    """A root, or an intermediate of `issuer`."""
    return _make(name, [], issuer, is_ca=True, days=3650, start=None, key=key)


def cross_sign(pair: Pair, issuer: Pair) -> x509.Certificate:
    """The authority `pair` once more, with the same name and key, signed by another."""
    (name,) = pair.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    public = pair.certificate.public_key()
    return _sign(str(name.value), [], issuer, issuer.key, public, is_ca=True, days=3650, start=None)


def leaf(
    issuer: Pair | None,
    names: list[str],
    *,
    days: float = 90,
    start: datetime | None = None,
    key: CertificateIssuerPrivateKeyTypes | None = None,
) -> Pair:
    """Names may be DNS names, addresses and e-mail addresses; self-signed without an issuer."""
    return _make("", names, issuer, is_ca=False, days=days, start=start, key=key)


def certificate(
    issuer: Pair, names: list[str], public_key: CertificatePublicKeyTypes, *, days: float, start: datetime
) -> x509.Certificate:
    """For a key that somebody else holds, as a CA makes it from a request."""
    return _sign("", names, issuer, issuer.key, public_key, is_ca=False, days=days, start=start)


def _make(
    subject: str,
    names: list[str],
    issuer: Pair | None,
    *,
    is_ca: bool,
    days: float,
    start: datetime | None,
    key: CertificateIssuerPrivateKeyTypes | None = None,
) -> Pair:
    key = key or ec.generate_private_key(ec.SECP256R1())
    signer = issuer.key if issuer else key
    return Pair(_sign(subject, names, issuer, signer, key.public_key(), is_ca=is_ca, days=days, start=start), key)


def _sign(
    subject: str,
    names: list[str],
    issuer: Pair | None,
    signer: CertificateIssuerPrivateKeyTypes,
    public_key: CertificatePublicKeyTypes,
    *,
    is_ca: bool,
    days: float,
    start: datetime | None,
) -> x509.Certificate:
    start = start or datetime.now(UTC) - timedelta(minutes=5)
    common = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (subject or names[0])[:64])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(common)
        .issuer_name(issuer.certificate.subject if issuer else common)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    if is_ca:  # Python 3.13 takes no authority without it (RFC 5280 section 4.2.1.3)
        usage = dict.fromkeys(_USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
        builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    if issuer:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    return builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    if "@" in name:
        return x509.RFC822Name(name)
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
