"""PKCS#7 (RFC 2315): certificates in one file, never a key."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from certs.domain.formats.base import Format, Group, Material, Need, chain_certificates
from certs.domain.options import option


@dataclass(frozen=True)
class Options:
    form: str = option("Form", default="der", choices=(("der", "binary (DER)"), ("pem", "text (PEM)")))
    root: bool = option("With the root", default=False)


def _bundle(material: Material, options: Options) -> bytes:
    certificates = chain_certificates(material.whole_chain, root=options.root)
    return pkcs7.serialize_certificates(certificates, Encoding.PEM if options.form == "pem" else Encoding.DER)


PKCS7 = Format(
    "pkcs7",
    "PKCS#7",
    "The certificate with its chain, as Windows reads it.",
    Group.BINARY,
    ".p7b",
    "application/x-pkcs7-certificates",
    frozenset({Need.CERTIFICATE}),
    _bundle,
    Options,
)
