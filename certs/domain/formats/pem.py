"""PEM: what web servers read."""

from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from certs.domain.errors import CertificateRefused, InputError
from certs.domain.formats.base import (
    Format,
    Group,
    Material,
    Need,
    chain_certificates,
    password_check,
    password_option,
    trusted_of,
    what_option,
)
from certs.domain.options import OptionRefused, option
from certs.domain.pem import certificate_pem

_PEM = "application/x-pem-file"
_ROOT = "Servers do not send it; some readers of files want it."


@dataclass(frozen=True)
class ChainOptions:
    root: bool = option("With the root", default=False, help=_ROOT)


@dataclass(frozen=True)
class KeyOptions:
    form: str = option(
        "Form",
        default="pkcs8",
        choices=(
            ("pkcs8", "PKCS#8, which everything of today reads"),
            ("traditional", "PKCS#1 or SEC 1, for old readers"),
        ),
    )


@dataclass(frozen=True)
class EncryptedKeyOptions:
    password: str = password_option()


@dataclass(frozen=True)
class TrustOptions:
    what: str = what_option()


def _leaf(material: Material, _options: Any) -> bytes:
    return material.whole_chain.leaf_pem.encode()


def _chain(material: Material, options: ChainOptions) -> bytes:
    above = chain_certificates(material.whole_chain, leaf=False, root=options.root)
    if not above:
        raise CertificateRefused(
            f"{material.name} has no intermediates.",
            advice="It signs itself, or its root signed it directly: take the certificate alone.",
        )
    return "".join(map(certificate_pem, above)).encode()


def fullchain_pem(material: Material, options: ChainOptions) -> bytes:
    return "".join(map(certificate_pem, chain_certificates(material.whole_chain, root=options.root))).encode()


def key_pem(material: Material, options: KeyOptions) -> bytes:
    key = material.private_key
    if options.form == "pkcs8":
        return _key(material, PrivateFormat.PKCS8, NoEncryption())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raise OptionRefused("An Ed25519 key exists in PKCS#8 form only.", field="form", advice="Choose PKCS#8.")
    return _key(material, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def _encrypted_key(material: Material, options: EncryptedKeyOptions) -> bytes:
    password = password_check(options.password).encode()
    return _key(material, PrivateFormat.PKCS8, BestAvailableEncryption(password))


def _key(material: Material, form: PrivateFormat, encryption: KeySerializationEncryption) -> bytes:
    return material.private_key.private_bytes(Encoding.PEM, form, encryption)


def _bundle(material: Material, options: ChainOptions) -> bytes:
    return fullchain_pem(material, options) + key_pem(material, KeyOptions())


def _public_key(material: Material, _options: Any) -> bytes:
    if material.public_key is None:
        raise InputError(f"{material.name} has no key yet.")
    return material.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _trusted(material: Material, options: TrustOptions) -> bytes:
    return "".join(map(certificate_pem, trusted_of(material, options.what))).encode()


_CERTIFICATE = frozenset({Need.CERTIFICATE})

FULLCHAIN = Format(
    "fullchain",
    "Certificate with its chain",
    "What nginx, Apache and most servers call the certificate file.",
    Group.PEM,
    ".fullchain.pem",
    _PEM,
    _CERTIFICATE,
    fullchain_pem,
    ChainOptions,
)
LEAF = Format(
    "leaf", "Certificate alone", "Without its intermediates.", Group.PEM, ".cert.pem", _PEM, _CERTIFICATE, _leaf
)
CHAIN = Format(
    "chain",
    "Intermediates alone",
    "Where a server wants them in a file of their own.",
    Group.PEM,
    ".chain.pem",
    _PEM,
    _CERTIFICATE,
    _chain,
    ChainOptions,
)
KEY = Format(
    "key",
    "Private key",
    "Not encrypted: whoever has the file has the key.",
    Group.PEM,
    ".key.pem",
    _PEM,
    frozenset({Need.KEY}),
    key_pem,
    KeyOptions,
)
KEY_ENCRYPTED = Format(
    "key-encrypted",
    "Private key, encrypted",
    "PKCS#8 with AES-256, opened with the password.",
    Group.PEM,
    ".encrypted.key.pem",
    _PEM,
    frozenset({Need.KEY}),
    _encrypted_key,
    EncryptedKeyOptions,
)
BUNDLE = Format(
    "bundle",
    "Certificate, chain and key in one file",
    "What HAProxy reads.",
    Group.PEM,
    ".pem",
    _PEM,
    frozenset({Need.CERTIFICATE, Need.KEY}),
    _bundle,
    ChainOptions,
)
PUBLIC_KEY = Format(
    "public-key",
    "Public key",
    "For programs that check signatures.",
    Group.PEM,
    ".pub.pem",
    _PEM,
    frozenset({Need.PUBLIC_KEY}),
    _public_key,
)
TRUST = Format(
    "trust-pem",
    "CA file",
    "PEM of the CAs to trust, for curl --cacert, Python and most programs.",
    Group.TRUST,
    ".ca.pem",
    _PEM,
    frozenset({Need.TRUSTED}),
    _trusted,
    TrustOptions,
)
