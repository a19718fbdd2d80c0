"""Java key stores (JKS): read and written as Java's own `sun.security.provider.JavaKeyStore` does it.

The file: magic FEEDFEED, version, number of entries, the entries, and a SHA-1 over password, a fixed phrase and all
before it. Numbers are big-endian, texts are modified UTF-8. Keys are hidden by a SHA-1 keystream
(`sun.security.provider.KeyProtector`, OID 1.3.6.1.4.1.42.2.17.1.1), which is weak by today's measure: the file must be
kept as safe as a key without a password. Java since 9 prefers PKCS#12.
"""

import hashlib
import hmac
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from asn1crypto.core import Null
from asn1crypto.keys import EncryptedPrivateKeyInfo
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certs.domain.errors import BinderyError, CertificateRefused, KeyRefused, StoreRefused
from certs.domain.keys import Key, key_from_der, key_to_der
from certs.domain.pem import certificate_from_der, pair_check

SIZE_LIMIT = 4 * 1024 * 1024  # bytes of a store
ENTRY_LIMIT = 1000
CHAIN_LIMIT = 50  # certificates of one key
ALIAS_LIMIT = 255  # characters

_MAGIC = 0xFEEDFEED
_MAGIC_JCEKS = 0xCECECECE
_PHRASE = b"Mighty Aphrodite"
_DIGEST = 20  # bytes of SHA-1
_PROTECTOR = "1.3.6.1.4.1.42.2.17.1.1"
_KEY_ENTRY, _TRUSTED_ENTRY = 1, 2
_KEY_SIZE_LIMIT = 64 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LATEST = 253402300799999  # milliseconds, the end of the year 9999
_WHOLE = "Copy the whole file again, in binary mode."
_CONVERT = (
    "Convert a copy of it with: keytool -importkeystore -srckeystore FILE -destkeystore NEW.p12 -deststoretype PKCS12"
)


@dataclass(frozen=True)
class KeyEntry:
    """`chain` starts with the certificate of the key. `alias` is in lower case, as Java compares it."""

    alias: str
    created: datetime  # aware, UTC, milliseconds
    key: Key
    chain: tuple[x509.Certificate, ...]


@dataclass(frozen=True)
class TrustedEntry:
    alias: str
    created: datetime
    certificate: x509.Certificate


@dataclass(frozen=True)
class LockedEntry:
    """A key that could not be taken out; `protected` is written again byte for byte. `reason` is for the person."""

    alias: str
    created: datetime
    protected: bytes  # EncryptedPrivateKeyInfo, DER
    chain: tuple[x509.Certificate, ...]
    reason: BinderyError


Entry = KeyEntry | TrustedEntry | LockedEntry


def is_jks(data: bytes) -> bool:
    """By its first bytes; the name of a file says nothing, since newer Java calls PKCS#12 .jks too."""
    return data[:4] == _MAGIC.to_bytes(4, "big")


def is_jceks(data: bytes) -> bool:
    return data[:4] == _MAGIC_JCEKS.to_bytes(4, "big")


def jks_read(data: bytes, password: str, key_passwords: Sequence[str] = ()) -> list[Entry]:
    """The entries in the order of the file.

    Keys are tried with the store's password, then with each of `key_passwords`; one that none opens, or of a kind that
    is not used here, comes back as a LockedEntry. Whether key and chain fit is the caller's to check.
    Raises StoreRefused (code "password-wrong" or "password-needed" where that is the reason), CertificateRefused.
    """
    _kind_check(data)
    reader = _Reader(data[:-_DIGEST])
    reader.take(4)
    version, count = reader.number(), reader.number()
    if version not in (1, 2):
        raise StoreRefused(f"The key store says that it has version {version}; 1 and 2 exist.", advice=_WHOLE)
    if count > ENTRY_LIMIT:
        raise StoreRefused(
            f"The key store says that it holds {count} entries; at most {ENTRY_LIMIT} are read.",
            advice="Take the entries you need into a store of their own.",
        )
    raw = [_raw_entry(reader, version) for _ in range(count)]
    if reader.left:
        raise StoreRefused("There is something behind the last entry of the key store.", advice=_WHOLE)
    secrets = [_utf16(word) for word in dict.fromkeys([password, *key_passwords])]
    entries = [_opened(entry, secrets) for entry in raw]
    _digest_check(data, password, raw)
    return entries


def jks_write(entries: Sequence[Entry], password: str, key_password: str = "") -> bytes:
    """A store of version 2, as keytool -storetype JKS makes it.

    Keys are hidden with `key_password`, or the store's own where it is empty. Java wants at least six characters.
    Raises StoreRefused, CertificateRefused where a key and its certificate do not fit.
    """
    passwords_check(password, key_password)
    if not entries:
        raise StoreRefused("A key store needs at least one entry.")
    if len(entries) > ENTRY_LIMIT:
        raise StoreRefused(f"A key store can hold {ENTRY_LIMIT} entries here, not {len(entries)}.")
    aliases = [alias_check(entry.alias) for entry in entries]
    if len(set(aliases)) < len(aliases):
        raise StoreRefused("Two entries have the same alias.", advice="Java does not tell capital letters from small.")
    body = struct.pack(">III", _MAGIC, 2, len(entries))
    for alias, entry in zip(aliases, entries, strict=True):
        body += _written(alias, entry, key_password or password)
    return body + _digest(password, body)


def alias_check(alias: str) -> str:
    """The alias as it is stored: trimmed, in lower case. Raises StoreRefused."""
    alias = alias.strip().lower()
    if not alias or len(alias) > ALIAS_LIMIT or not alias.isprintable():
        raise StoreRefused(
            f"An alias has 1 to {ALIAS_LIMIT} characters that can be printed.", advice="For example: server."
        )
    return alias


def passwords_check(*passwords: str) -> None:
    """Raises StoreRefused unless Java's keytool could open a store with them. An empty one means none is wished."""
    if not passwords[0]:
        raise StoreRefused("A Java key store needs a password.", advice="Type one of at least six characters.")
    if any(0 < len(password) < 6 for password in passwords):
        raise StoreRefused(
            "Java's keytool asks for at least six characters of a password.", advice="Type a longer one."
        )


@dataclass(frozen=True)
class _Raw:
    alias: str
    created: datetime
    protected: bytes | None  # of a key
    certificates: tuple[x509.Certificate, ...]


class _Reader:
    """Takes the file apart; what is asked for and not there ends in StoreRefused, before anything is allocated."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise StoreRefused("The key store is damaged or cut off.", advice=_WHOLE)
        self._at += count
        return bytes(self._data[self._at - count : self._at])

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def text(self) -> str:
        return _modified_utf8_read(self.take(int.from_bytes(self.take(2), "big")))

    def moment(self) -> datetime:
        milliseconds = int.from_bytes(self.take(8), "big", signed=True)
        # Only shown; a date that no calendar has is no reason to give the key up.
        return _EPOCH + timedelta(milliseconds=min(max(milliseconds, 0), _LATEST))


def _kind_check(data: bytes) -> None:
    if is_jceks(data):
        raise StoreRefused("This is a key store of the kind JCEKS, which is not read here.", advice=_CONVERT)
    if data[:1] == b"\x30":
        raise StoreRefused(
            "This is not a JKS key store but binary ASN.1, most likely PKCS#12.", advice="Give it as .p12."
        )
    if not is_jks(data):
        raise StoreRefused("This is not a Java key store (JKS).", advice=_WHOLE)
    if len(data) > SIZE_LIMIT:
        raise StoreRefused(
            f"The key store is larger than {SIZE_LIMIT // 1024 // 1024} MiB.",
            advice="Take the entries you need into a store of their own.",
        )
    if len(data) < 12 + _DIGEST:
        raise StoreRefused("The key store is damaged or cut off.", advice=_WHOLE)


def _raw_entry(reader: _Reader, version: int) -> _Raw:
    tag, alias, created = reader.number(), reader.text().lower(), reader.moment()
    if tag == _TRUSTED_ENTRY:
        return _Raw(alias, created, None, (_certificate(reader, version, alias),))
    if tag != _KEY_ENTRY:
        raise StoreRefused(f"The key store has an entry of the unknown kind {tag}.", advice=_WHOLE)
    protected = reader.take(reader.number())
    count = reader.number()
    if count > CHAIN_LIMIT:
        raise StoreRefused(
            f"The entry {_shown(alias)} says that it has {count} certificates; at most {CHAIN_LIMIT} are read.",
            advice=_WHOLE,
        )
    return _Raw(alias, created, protected, tuple(_certificate(reader, version, alias) for _ in range(count)))


def _certificate(reader: _Reader, version: int, alias: str) -> x509.Certificate:
    kind = reader.text() if version == 2 else "X.509"
    der = reader.take(reader.number())
    if kind.upper() not in {"X.509", "X509"}:
        raise StoreRefused(f"The entry {_shown(alias)} holds a certificate that is not X.509.", advice=_CONVERT)
    try:
        return certificate_from_der(der)
    except CertificateRefused as error:
        raise CertificateRefused(
            f"A certificate of the entry {_shown(alias)} cannot be read.", advice=_WHOLE
        ) from error


def _opened(entry: _Raw, secrets: Sequence[bytes]) -> Entry:
    if entry.protected is None:
        return TrustedEntry(entry.alias, entry.created, entry.certificates[0])
    try:
        hidden = _hidden_key(entry.protected, entry.alias)
        der = next((der for secret in secrets if (der := _revealed(hidden, secret)) is not None), None)
        if der is None:
            raise KeyRefused(
                f"The key of {_shown(entry.alias)} has a password of its own.",
                advice="Give the key's password as well.",
                code="password-needed",
            )
        return KeyEntry(entry.alias, entry.created, _key(der, entry.alias), entry.certificates)
    except KeyRefused as error:
        return LockedEntry(entry.alias, entry.created, entry.protected, entry.certificates, error)


def _key(der: bytes, alias: str) -> Key:
    try:
        return key_from_der(der)
    except KeyRefused as error:
        raise KeyRefused(f"The key of {_shown(alias)} cannot be used: {error.message}", advice=error.advice) from error


def _hidden_key(protected: bytes, alias: str) -> bytes:
    """Salt, ciphertext and check value. Raises KeyRefused."""
    try:
        info = EncryptedPrivateKeyInfo.load(protected, strict=True)
        algorithm = info["encryption_algorithm"]["algorithm"].dotted
        hidden: bytes = info["encrypted_data"].native
    except (ValueError, TypeError) as error:
        raise KeyRefused(f"The key of {_shown(alias)} is damaged.", advice=_WHOLE) from error
    if algorithm != _PROTECTOR:
        raise KeyRefused(f"The key of {_shown(alias)} is encrypted in a way that JKS does not have.", advice=_CONVERT)
    if not 2 * _DIGEST < len(hidden) <= _KEY_SIZE_LIMIT:
        raise KeyRefused(f"The key of {_shown(alias)} is damaged.", advice=_WHOLE)
    return hidden


def _revealed(hidden: bytes, secret: bytes) -> bytes | None:
    """The PKCS#8 DER, or None where the password is another."""
    salt, cipher, check = hidden[:_DIGEST], hidden[_DIGEST:-_DIGEST], hidden[-_DIGEST:]
    plain = _keystream(cipher, secret, salt)
    return plain if hmac.compare_digest(check, _sha1(secret + plain)) else None


def _protected(der: bytes, secret: bytes) -> bytes:
    salt = os.urandom(_DIGEST)
    hidden = salt + _keystream(der, secret, salt) + _sha1(secret + der)
    algorithm = {"algorithm": _PROTECTOR, "parameters": Null()}
    info: bytes = EncryptedPrivateKeyInfo({"encryption_algorithm": algorithm, "encrypted_data": hidden}).dump()
    return info


def _keystream(data: bytes, secret: bytes, salt: bytes) -> bytes:
    """XOR with SHA-1(secret, salt), then SHA-1(secret, the block before), and so on."""
    stream, block = bytearray(), salt
    while len(stream) < len(data):
        block = _sha1(secret + block)
        stream += block
    mixed = int.from_bytes(data, "big") ^ int.from_bytes(stream[: len(data)], "big")
    return mixed.to_bytes(len(data), "big")


def _written(alias: str, entry: Entry, key_password: str) -> bytes:
    tag = _TRUSTED_ENTRY if isinstance(entry, TrustedEntry) else _KEY_ENTRY
    head = struct.pack(">I", tag) + _modified_utf8(alias) + struct.pack(">Q", (entry.created - _EPOCH) // _MILLISECOND)
    if isinstance(entry, TrustedEntry):
        return head + _certificate_written(entry.certificate)
    if isinstance(entry, LockedEntry):
        protected = entry.protected
    else:
        if not entry.chain:
            raise StoreRefused(f"The key {_shown(alias)} has no certificate, which a Java key store asks for.")
        pair_check(entry.chain[0], entry.key)
        protected = _protected(key_to_der(entry.key), _utf16(key_password))
    chain = b"".join(_certificate_written(certificate) for certificate in entry.chain)
    return head + struct.pack(">I", len(protected)) + protected + struct.pack(">I", len(entry.chain)) + chain


def _certificate_written(certificate: x509.Certificate) -> bytes:
    der = certificate.public_bytes(Encoding.DER)
    return _modified_utf8("X.509") + struct.pack(">I", len(der)) + der


def _digest_check(data: bytes, password: str, raw: Sequence[_Raw]) -> None:
    """The check value covers password and contents alike; a key that opens tells which of them is wrong."""
    if hmac.compare_digest(data[-_DIGEST:], _digest(password, data[:-_DIGEST])):
        return
    if not password:
        raise StoreRefused("The key store has a password.", advice="Give its password as well.", code="password-needed")
    secret = _utf16(password)
    if any(_opens(entry, secret) for entry in raw):
        raise StoreRefused("The password is right, but the key store was changed or is damaged.", advice=_WHOLE)
    raise StoreRefused(
        "The key store cannot be opened with this password.",
        advice="Type the password again; if it is right, the file is damaged.",
        code="password-wrong",
    )


def _opens(entry: _Raw, secret: bytes) -> bool:
    try:
        return entry.protected is not None and _revealed(_hidden_key(entry.protected, ""), secret) is not None
    except KeyRefused:
        return False


def _digest(password: str, body: bytes) -> bytes:
    return _sha1(_utf16(password) + _PHRASE + body)


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _utf16(password: str) -> bytes:
    """As Java's `char[]`, high byte first."""
    return password.encode("utf-16-be", "surrogatepass")


def _modified_utf8(text: str) -> bytes:
    """`java.io.DataInput`: a length, then UTF-8 with NUL as two bytes and surrogates one by one."""
    units = text.encode("utf-16-be")
    pairs = [chr(int.from_bytes(units[at : at + 2], "big")) for at in range(0, len(units), 2)]
    octets = "".join(pairs).encode("utf-8", "surrogatepass").replace(b"\0", b"\xc0\x80")
    return struct.pack(">H", len(octets)) + octets


def _modified_utf8_read(octets: bytes) -> str:
    try:
        text = octets.replace(b"\xc0\x80", b"\0").decode("utf-8", "surrogatepass")
        return text.encode("utf-16-be", "surrogatepass").decode("utf-16-be")
    except UnicodeDecodeError as error:
        raise StoreRefused("A text in the key store is damaged.", advice=_WHOLE) from error


def _shown(alias: str) -> str:
    """For a sentence: short, and nothing that a terminal would act on."""
    return "“" + "".join(letter if letter.isprintable() else "?" for letter in alias[:60]) + "”"
