"""PKCS#12 (RFC 7292): certificate, chain and key in one file with a password; and trust stores for Java."""

from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from certs.domain.formats.base import (
    Format,
    Group,
    Material,
    Need,
    TrustStoreOptions,
    alias_of,
    chain_certificates,
    password_check,
    password_option,
    trusted_aliases,
    trusted_of,
)
from certs.domain.options import OptionRefused, option

MODERN, LEGACY, NONE = "modern", "legacy", "none"
# Iterations of the key derivation: Java's own default, and what old Windows expects. More would not help against
# guessing, since the library gives the check value (MAC) 2,048: the password's length is what counts.
_ROUNDS = {MODERN: 10_000, LEGACY: 2_048}


@dataclass(frozen=True)
class Options:
    encryption: str = option(
        "Encryption",
        default=MODERN,
        choices=(
            (MODERN, "modern: AES-256 with SHA-256"),
            (LEGACY, "legacy: 3DES with SHA-1, for Windows Server 2016 and older, older macOS, Java before 8u301"),
            (NONE, "none, without a password; Java does not read it"),
        ),
    )
    password: str = password_option(default="", help="At least six characters; empty only without encryption.")
    alias: str = option("Alias", default="", help="The name of the entry. Empty: the certificate's name.")
    root: bool = option("With the root", default=False)


def key_store(material: Material, options: Options) -> bytes:
    chain = chain_certificates(material.whole_chain, root=options.root)
    return pkcs12.serialize_key_and_certificates(
        alias_of(material, options.alias).encode(),
        material.private_key,
        chain[0],
        chain[1:],
        _encryption(options.encryption, options.password),
    )


def _trust_store(material: Material, options: TrustStoreOptions) -> bytes:
    """With Oracle's attribute trustedKeyUsage, without which Java shows no certificate of a PKCS#12 file."""
    certificates = trusted_of(material, options.what)
    entries = [
        pkcs12.PKCS12Certificate(certificate, alias.encode())
        for certificate, alias in zip(certificates, trusted_aliases(certificates), strict=True)
    ]
    return pkcs12.serialize_java_truststore(entries, _encryption(MODERN, options.password))


def _encryption(kind: str, password: str) -> KeySerializationEncryption:
    if kind == NONE:
        if password:
            raise OptionRefused(
                "Without encryption there is no password.", field="password", advice="Leave it empty, or encrypt."
            )
        return NoEncryption()
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(_ROUNDS[kind])
    if kind == LEGACY:
        old = hashes.SHA1()  # noqa: S303 - all that those readers know
        builder = builder.key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC).hmac_hash(old)
    else:
        builder = builder.key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC).hmac_hash(hashes.SHA256())
    return builder.build(password_check(password).encode())


PKCS12 = Format(
    "pkcs12",
    "PKCS#12 (.p12, .pfx)",
    "Java, Tomcat, Micronaut, Kestra, Windows and IIS, browsers and mail programs.",
    Group.STORE,
    ".p12",
    "application/x-pkcs12",
    frozenset({Need.CERTIFICATE, Need.KEY}),
    key_store,
    Options,
)
TRUST_STORE = Format(
    "truststore-p12",
    "PKCS#12 trust store",
    "The CAs to trust, for Java from 8u301 on. It holds no key.",
    Group.TRUST,
    ".truststore.p12",
    "application/x-pkcs12",
    frozenset({Need.TRUSTED}),
    _trust_store,
    TrustStoreOptions,
)
