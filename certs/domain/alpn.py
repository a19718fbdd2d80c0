"""The TLS challenge (RFC 8737, RFC 8738): how it is recognised in a ClientHello, and what answers it."""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.x509.oid import NameOID

from certs.domain.csr import alternative_names
from certs.domain.keys import Key, signature_hash
from certs.domain.names import address_canonical

PROTOCOL = b"acme-tls/1"
IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")  # id-pe-acmeIdentifier, RFC 8737 §3
_REVERSED = (".in-addr.arpa", ".ip6.arpa")
_LIFE = timedelta(days=7)  # longer than any authorization is pending, so that a kept certificate never ends first
_SKEW = timedelta(days=1)
_OCTETS = b"\x04\x20"  # DER: an OCTET STRING of 32 bytes


# The certificate that answers.


def challenge_certificate(name: str, key_authorization: str, key: Key, *, now: datetime) -> x509.Certificate:
    """Self-signed, for exactly this name or address, with the digest in a critical extension (RFC 8737 §3)."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ACME challenge")])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFE)
        .add_extension(alternative_names([name]), critical=False)
        .add_extension(x509.UnrecognizedExtension(IDENTIFIER, identifier_value(key_authorization)), critical=True)
        .sign(key, signature_hash(key))
    )


def identifier_value(key_authorization: str) -> bytes:
    """The extension's content: a DER OCTET STRING of the SHA-256 of the key authorization."""
    return _OCTETS + sha256(key_authorization.encode()).digest()


def identifier_of(certificate: x509.Certificate) -> bytes | None:
    """What the extension of a certificate holds, None where it has none. Raises ValueError for one that is broken."""
    try:
        found = certificate.extensions.get_extension_for_oid(IDENTIFIER)
    except x509.ExtensionNotFound:
        return None
    return found.value.value if isinstance(found.value, x509.UnrecognizedExtension) else None


# The name in the ClientHello.


def server_name_of(name: str) -> str:
    """What a CA sends as SNI for a name; for an address its reverse mapping (RFC 8738 §6)."""
    address = address_canonical(name)
    return ipaddress.ip_address(address).reverse_pointer if address else name


def name_of(server_name: str) -> str:
    """The name or address that is meant by an SNI."""
    name = server_name.lower().rstrip(".")
    if name.endswith(_REVERSED[0]):
        return address_canonical(".".join(reversed(name.removesuffix(_REVERSED[0]).split(".")))) or name
    if name.endswith(_REVERSED[1]):
        digits = name.removesuffix(_REVERSED[1]).split(".")[::-1]
        groups = ("".join(digits[start : start + 4]) for start in range(0, len(digits), 4))
        whole = len(digits) == 32 and all(len(digit) == 1 for digit in digits)
        return (whole and address_canonical(":".join(groups))) or name
    return name


# The ClientHello.


@dataclass(frozen=True)
class Hello:
    """What a client says first, as far as it matters here. `server_name` is "" where none was sent."""

    server_name: str
    protocols: tuple[bytes, ...]


def challenge_asked(record: bytes) -> str | None:
    """The server name of a validating CA; None for everybody else.

    A CA offers acme-tls/1 and nothing beside it (RFC 8737 §3). A client that offers more is an ordinary one.
    """
    if PROTOCOL not in record:  # all that an ordinary client costs
        return None
    hello = hello_read(record)
    return hello.server_name if hello is not None and hello.protocols == (PROTOCOL,) else None


def hello_read(record: bytes) -> Hello | None:
    """From the first record of a connection (RFC 8446 §4.1.2); None where that is no whole ClientHello."""
    try:
        return _hello(_Reader(record))
    except (IndexError, UnicodeDecodeError):
        return None


def _hello(record: "_Reader") -> Hello | None:
    if record.number(1) != 22:
        return None
    record.take(2)
    handshake = _Reader(record.block(2))
    if handshake.number(1) != 1:
        return None
    hello = _Reader(handshake.block(3))
    hello.take(2 + 32)
    for width in (1, 2, 1):  # session, cipher suites, compression
        hello.block(width)
    server_name = ""
    protocols: tuple[bytes, ...] = ()
    extensions = _Reader(hello.block(2))
    while extensions:
        kind, content = extensions.number(2), _Reader(extensions.block(2))
        if kind == 0:
            server_name = _server_name(_Reader(content.block(2)))
        elif kind == 16:
            protocols = _protocols(_Reader(content.block(2)))
    return Hello(server_name, protocols)


def _server_name(names: "_Reader") -> str:
    while names:
        kind, name = names.number(1), names.block(2)
        if kind == 0:
            return name.decode("ascii")
    return ""


def _protocols(names: "_Reader") -> tuple[bytes, ...]:
    found = []
    while names:
        found.append(names.block(1))
    return tuple(found)


class _Reader:
    """Vectors with their lengths in front (RFC 8446 §3.4). Raises IndexError where fewer bytes are there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise IndexError("cut short")
        taken, self._at = self._data[self._at : end], end
        return taken

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width))

    def block(self, width: int) -> bytes:
        return self.take(self.number(width))
