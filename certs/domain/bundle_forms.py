"""The forms of one file: told apart by their content, and taken apart into certificates, keys and requests."""

import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field

from asn1crypto import cms
from cryptography import x509

from certs.domain import der
from certs.domain.bundle_items import BundleRefused, GivenFile, LeftOver
from certs.domain.csr import CsrInfo, csr_read
from certs.domain.errors import BinderyError, InputError, KeyRefused
from certs.domain.jks import KeyEntry, LockedEntry, is_jceks, is_jks, jks_read
from certs.domain.keys import Key, key_from_block, key_from_der, key_from_encrypted
from certs.domain.pbe import Effort
from certs.domain.pem import certificate_from_der
from certs.domain.pkcs12 import pkcs12_read
from certs.domain.texts import text_of

PART_LIMIT = 500  # certificates, keys and requests of one upload


@dataclass(frozen=True)
class FoundCertificate:
    certificate: x509.Certificate
    file: str
    alias: str = ""
    trusted: bool = False  # an entry of a store that stands for itself


@dataclass(frozen=True)
class FoundKey:
    key: Key
    file: str
    alias: str = ""


@dataclass
class Heap:
    """The parts of all files, not yet in order."""

    passwords: tuple[str, ...]
    effort: Effort = field(default_factory=Effort)
    certificates: list[FoundCertificate] = field(default_factory=list)
    keys: list[FoundKey] = field(default_factory=list)
    requests: list[CsrInfo] = field(default_factory=list)
    left_over: list[LeftOver] = field(default_factory=list)
    parts: int = 0

    def count(self) -> None:
        self.parts += 1
        if self.parts > PART_LIMIT:
            raise InputError(
                f"The files hold more than {PART_LIMIT} certificates and keys.", advice="Give fewer at a time."
            )


def file_read(file: GivenFile, heap: Heap) -> None:
    before = heap.parts, len(heap.left_over)
    try:
        _content_read(file.data, file.name, heap)
    except BundleRefused:
        raise
    except BinderyError as error:
        raise BundleRefused(
            f"{file.shown}: {error.message}", advice=error.advice, code=error.code, file=file.name
        ) from error
    except BaseException as error:  # parsers of other people's bytes: whatever they meet, the file is to blame
        if not (isinstance(error, Exception) or type(error).__name__ == "PanicException"):  # of a library in Rust
            raise
        raise BundleRefused(
            f"{file.shown} is damaged.", advice="Copy the whole file again, in binary mode.", file=file.name
        ) from error
    if (heap.parts, len(heap.left_over)) == before:
        raise BundleRefused(
            f"{file.shown} holds neither a certificate nor a key.", advice="Was another file meant?", file=file.name
        )


def _content_read(data: bytes, name: str, heap: Heap) -> None:
    if not data.strip():
        raise InputError("The file is empty.", advice="Copy it again.")
    if is_jks(data) or is_jceks(data):
        return _java_read(data, name, heap)
    if data[:1] == b"\x30":
        return _binary_read(data, name, heap)
    _refuse_marked(data, _PACKED)
    text = text_of(data)
    if _BEGIN.search(text):
        return _pem_read(text, name, heap)
    if bare := _bare_base64(text):
        return _binary_read(bare, name, heap)
    return _refuse_marked(data, _INSTEAD)


def _refuse_marked(data: bytes, marks: "tuple[_Mark, ...]") -> None:
    for mark, message, advice in marks:
        if mark.search(data):
            raise InputError(message, advice=advice, code="unknown-form")


_GIVE = "Give a certificate, key, PKCS#12 or Java key store."
_UNPACK = "Unpack it, and give the files that are inside."
_Mark = tuple[re.Pattern[bytes], str, str]
# What people hand over instead: a mark in the data, what it is, what to do. These first, whatever is inside.
_PACKED: tuple[_Mark, ...] = (
    (re.compile(rb"\APK\x03\x04"), "This is a ZIP archive.", _UNPACK),
    (re.compile(rb"\A(\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd|Rar!)"), "This is a compressed file.", _UNPACK),
    (re.compile(rb"\A[\s\S]{257}ustar"), "This is a tar archive.", _UNPACK),
)
_INSTEAD: tuple[_Mark, ...] = (
    (re.compile(rb"\APuTTY-User-Key-File"), "This is a key of PuTTY.", "Keys of SSH are not used for certificates."),
    (re.compile(rb"\A(ssh|ecdsa)-"), "This is a public key of SSH.", "It is not used for certificates."),
    (re.compile(rb"\A%PDF"), "This is a PDF document.", _GIVE),
    (re.compile(rb"(?i)\A\s*<(!doctype|html|\?xml)"), "This is a web page or an XML document.", _GIVE),
    (re.compile(rb"\A\s*[{\[]"), "This is JSON.", "Give the PEM text that is in it."),
    (re.compile(rb"-----END "), "The text is cut off at its beginning.", "Copy all of it, with every BEGIN line."),
    (re.compile(rb""), "This is no form of certificate or key that is known here.", _GIVE),
)
# PEM (RFC 7468)

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9][A-Z0-9 ]{0,39})-----")
_BODY = re.compile(rb"[A-Za-z0-9+/=\s]*\Z")
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]{60,}={0,2}\s*\Z")


def _pem_read(text: bytes, name: str, heap: Heap) -> None:
    place = 0
    while begin := _BEGIN.search(text, place):
        label = begin[1].decode("ascii")
        end = b"-----END " + begin[1] + b"-----"
        stop = text.find(end, begin.end())
        following = _BEGIN.search(text, begin.end())
        if stop < 0 or (following and following.start() < stop):
            raise InputError(
                f"A block “{label}” is cut off: its END line is not there.",
                advice="Copy the whole text again, with every BEGIN and END line.",
            )
        _block_read(label, text[begin.start() : stop + len(end)], text[begin.end() : stop], name, heap)
        place = stop + len(end)


def _block_read(label: str, block: bytes, body: bytes, name: str, heap: Heap) -> None:
    if label.endswith("PRIVATE KEY"):
        heap.count()
        heap.keys.append(FoundKey(_key_of_block(label, block, heap), name))
        return
    if label in _SKIPPED:
        return
    if label in _NOT_KEPT:
        heap.left_over.append(LeftOver(name, _NOT_KEPT[label]))
        return
    reader = _BLOCKS.get(label)
    if reader is None:
        heap.left_over.append(LeftOver(name, f"A block “{label}” is not kept here."))
        return
    if not _BODY.match(body):
        raise InputError(
            f"A block “{label}” has characters in it that do not belong there.", advice="Copy the whole text again."
        )
    try:
        octets = b64decode(b"".join(body.split()), validate=True)
    except ValueError as error:
        raise InputError(f"A block “{label}” is damaged.", advice="Copy the whole text again.") from error
    reader(octets, name, heap)


def _key_of_block(label: str, block: bytes, heap: Heap) -> Key:
    if label == "OPENSSH PRIVATE KEY":
        raise KeyRefused(
            "This is a key in OpenSSH's own form.", advice="Convert a copy of it with: ssh-keygen -p -m PKCS8 -f FILE"
        )
    # Indented by a mail program or an editor.
    plain = b"\n".join(line.strip() for line in block.splitlines())
    if len(plain) > _KEY_LIMIT:
        raise KeyRefused("The private key is too large.", advice="Give an RSA, EC or Ed25519 key.")
    if label != "ENCRYPTED PRIVATE KEY" and b"Proc-Type: 4,ENCRYPTED" not in plain:
        return key_from_block(plain, None, heap.effort)
    return _unlocked(heap, lambda password: key_from_block(plain, password.encode(), heap.effort))


def _unlocked(heap: Heap, open_: Callable[[str], Key]) -> Key:
    """By the first password that fits."""
    refusal = KeyRefused("The private key is encrypted.", advice="Give its password as well.", code="password-needed")
    for password in filter(None, heap.passwords):
        try:
            return open_(password)
        except KeyRefused as error:
            if error.code != "password-wrong":
                raise
            refusal = error
    raise refusal


_KEY_LIMIT = 64 * 1024  # bytes


def _bare_base64(text: bytes) -> bytes:
    """Base64 without BEGIN and END, as some CAs' pages show it; empty where it is not that."""
    if not _BASE64.match(text.strip()):
        return b""
    try:
        octets = b64decode(b"".join(text.split()), validate=True)
    except ValueError:
        return b""
    return octets if octets[:1] == b"\x30" else b""


# Binary forms


def _binary_read(data: bytes, name: str, heap: Heap) -> None:
    """Told apart by what the outermost SEQUENCE begins with."""
    kind = der.kind_of(data)
    reader = _BINARY.get(kind)
    if reader is None:
        message, advice = _NOT_BINARY[kind]
        raise InputError(message, advice=advice)
    reader(data, name, heap)


def _certificate_read(octets: bytes, name: str, heap: Heap) -> None:
    heap.count()
    heap.certificates.append(FoundCertificate(certificate_from_der(octets), name))


def _trusted_certificate_read(octets: bytes, name: str, heap: Heap) -> None:
    """OpenSSL's own form: the certificate, then what it is trusted for."""
    _certificate_read(octets[: der.length_of(octets)], name, heap)


def _request_read(octets: bytes, _name: str, heap: Heap) -> None:
    heap.count()
    heap.requests.append(csr_read(octets))


def _plain_key_read(octets: bytes, name: str, heap: Heap) -> None:
    heap.count()
    if len(octets) > _KEY_LIMIT:
        raise KeyRefused("The private key is too large.", advice="Give an RSA, EC or Ed25519 key.")
    try:
        key = key_from_der(octets)
    except KeyRefused as error:
        if error.message != "The stored private key cannot be read.":
            raise
        raise KeyRefused(
            "The private key is damaged or of a kind that is not known here.", advice="Copy the whole file again."
        ) from error
    heap.keys.append(FoundKey(key, name))


def _encrypted_key_read(octets: bytes, name: str, heap: Heap) -> None:
    heap.count()
    if len(octets) > _KEY_LIMIT:
        raise KeyRefused("The private key is too large.", advice="Give an RSA, EC or Ed25519 key.")
    key = _unlocked(heap, lambda password: key_from_encrypted(octets, password, heap.effort))
    heap.keys.append(FoundKey(key, name))


def _pkcs7_read(octets: bytes, name: str, heap: Heap) -> None:
    """RFC 2315 §9.1, RFC 5652 §5.1: the certificates of a signed message, most often an empty one."""
    message = cms.ContentInfo.load(octets)
    if message["content_type"].native != "signed_data":
        raise InputError("This PKCS#7 message holds no certificates.", advice="Give the certificate itself.")
    found = message["content"]["certificates"]
    if not isinstance(found, cms.CertificateSet) or not len(found):
        raise InputError("This PKCS#7 bundle is empty.", advice="Ask for the one with the certificates.")
    for each in found:
        if each.name == "certificate":
            _certificate_read(each.chosen.untag().dump(), name, heap)
        else:
            heap.left_over.append(LeftOver(name, "A certificate of an old kind is not kept here."))
    if isinstance(message["content"]["crls"], cms.RevocationInfoChoices):
        heap.left_over.append(LeftOver(name, _NOT_KEPT["X509 CRL"]))


def _pkcs12_take(octets: bytes, name: str, heap: Heap) -> None:
    found = pkcs12_read(octets, heap.passwords, heap.effort)
    for key in found.keys:
        heap.count()
        heap.keys.append(FoundKey(key.key, name, key.alias))
    for each in found.certificates:
        heap.count()
        heap.certificates.append(FoundCertificate(each.certificate, name, each.alias, each.trusted))
    heap.left_over += [LeftOver(name, text) for text in found.passed_over]
    if not (found.keys or found.certificates or found.passed_over):
        heap.left_over.append(LeftOver(name, "The PKCS#12 file is empty."))


def _java_read(data: bytes, name: str, heap: Heap) -> None:
    refusal: BinderyError | None = None
    for password in heap.passwords or ("",):
        try:
            entries = jks_read(data, password, heap.passwords)
            break
        except BinderyError as error:
            refusal = error
            if error.code not in {"password-wrong", "password-needed"}:
                raise
    else:
        assert refusal is not None  # noqa: S101 - the loop ran at least once
        if not any(heap.passwords):
            raise InputError("The Java key store has a password.", advice="Give it.", code="password-needed")
        raise refusal
    if not entries:
        heap.left_over.append(LeftOver(name, "The Java key store is empty."))
    for entry in entries:
        heap.count()
        if isinstance(entry, KeyEntry):
            heap.keys.append(FoundKey(entry.key, name, entry.alias))
            heap.certificates += [FoundCertificate(each, name) for each in entry.chain]
        elif isinstance(entry, LockedEntry):
            heap.left_over.append(LeftOver(name, f"Entry “{entry.alias}” was left out: {entry.reason.message}"))
            heap.certificates += [FoundCertificate(each, name) for each in entry.chain]
        else:
            heap.certificates.append(FoundCertificate(entry.certificate, name, entry.alias, trusted=True))


_Reader = Callable[[bytes, str, Heap], None]
_BLOCKS: dict[str, _Reader] = {
    "CERTIFICATE": _certificate_read,
    "X509 CERTIFICATE": _certificate_read,
    "TRUSTED CERTIFICATE": _trusted_certificate_read,
    "CERTIFICATE REQUEST": _request_read,
    "NEW CERTIFICATE REQUEST": _request_read,
    "PKCS7": _pkcs7_read,
    "CMS": _pkcs7_read,
    "PKCS12": _pkcs12_take,
}
_SKIPPED = frozenset({"EC PARAMETERS", "DH PARAMETERS", "DSA PARAMETERS"})
_NOT_KEPT = {
    "X509 CRL": "A list of revoked certificates is not kept here.",
    "PUBLIC KEY": "A public key alone is not kept here.",
    "RSA PUBLIC KEY": "A public key alone is not kept here.",
}
_BINARY: dict[der.Kind, _Reader] = {
    der.Kind.CERTIFICATE: _certificate_read,
    der.Kind.REQUEST: _request_read,
    der.Kind.KEY: _plain_key_read,
    der.Kind.ENCRYPTED_KEY: _encrypted_key_read,
    der.Kind.PKCS7: _pkcs7_read,
    der.Kind.PKCS12: _pkcs12_take,
}
_NOT_BINARY = {
    der.Kind.PUBLIC_KEY: ("This is a public key alone.", "Give the certificate, or the private key."),
    der.Kind.CRL: ("This is a list of revoked certificates.", "Give the certificate itself."),
    der.Kind.CUT_OFF: ("The file is cut off.", "Copy the whole file again, in binary mode."),
    der.Kind.UNKNOWN: ("This is no form of certificate or key that is known here.", _GIVE),
}
