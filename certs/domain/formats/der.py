"""DER: one certificate or key, binary."""

from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from certs.domain.formats.base import Format, Group, Material, Need
from certs.domain.keys import key_to_der


def _leaf(material: Material, _options: Any) -> bytes:
    return material.whole_chain.leaf.public_bytes(Encoding.DER)


def _key(material: Material, _options: Any) -> bytes:
    return key_to_der(material.private_key)


LEAF = Format(
    "der",
    "Certificate (DER)",
    "The certificate alone, as Windows and Java import it.",
    Group.BINARY,
    ".cer",
    "application/pkix-cert",
    frozenset({Need.CERTIFICATE}),
    _leaf,
)
KEY = Format(
    "key-der",
    "Private key (DER)",
    "PKCS#8, not encrypted: whoever has the file has the key.",
    Group.BINARY,
    ".key.der",
    "application/pkcs8",
    frozenset({Need.KEY}),
    _key,
)
