"""What people hand over, in any form: recognised by its content, put in order, paired, told before it is kept.

`bundle_read` takes any number of files: PEM text with certificates, keys, requests and PKCS#7 in any order and any
encoding of text; binary certificates, keys, PKCS#7; PKCS#12 and Java key stores. It gives Items (a certificate with
its chain and key, a certificate to trust, a key pair) and says of every part that is left over why. Names of files are
shown only, never believed. Everything is bounded: bytes, parts, rounds of key derivation, signatures verified.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property

from asn1crypto import cms
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import AuthorityInformationAccessOID

from certs.domain import der
from certs.domain.certinfo import CertInfo, certificate_info, common_name_of, is_issued_by
from certs.domain.csr import CsrInfo, csr_read
from certs.domain.errors import BinderyError, InputError, KeyRefused
from certs.domain.jks import KeyEntry, LockedEntry, is_jceks, is_jks, jks_read
from certs.domain.keys import Key, key_from_block, key_from_der, key_from_encrypted, key_type_of, spki_sha256
from certs.domain.pbe import Effort, password_check
from certs.domain.pem import Chain, certificate_from_der, chain_from
from certs.domain.pkcs12 import pkcs12_read
from certs.domain.texts import text_of

SIZE_LIMIT = 1024 * 1024  # bytes of one file; Java's whole trust store has 170 KiB
TOTAL_LIMIT = 4 * 1024 * 1024
FILE_LIMIT = 50
PART_LIMIT = 500  # certificates, keys and requests of one upload
NAME_LIMIT = 1000  # of one certificate; public CAs give 100, a few 250
VERIFY_LIMIT = 1500  # signatures that are looked at to find out who issued what
_ALIAS_LIMIT = 255


class BundleRefused(InputError):
    """A file of the upload cannot be used. `file` is its name as given."""

    code = "bundle-refused"

    def __init__(self, message: str, *, advice: str = "", code: str = "", file: str = "") -> None:
        super().__init__(message, advice=advice, code=code)
        self.file = file


@dataclass(frozen=True)
class GivenFile:
    name: str  # as the person's machine calls it; "" for pasted text
    data: bytes

    @property
    def shown(self) -> str:
        name = "".join(letter for letter in self.name if letter.isprintable())
        return f"“{name[:80]}”" if name else "The pasted text"


class ItemKind(StrEnum):
    PAIR = "pair"  # a certificate with its key
    TRUST = "trust-only"  # a certificate without a key
    KEY = "key-pair"  # a key without a certificate


@dataclass(frozen=True)
class Remark:
    """`code` is one of: expired, not-yet-valid, sha1, incomplete, superseded, companion, no-names, key-alone,
    key-missing; besides them what a service adds."""

    code: str
    text: str


@dataclass(frozen=True)
class LeftOver:
    file: str
    text: str


@dataclass(frozen=True)
class Item:
    """What would be kept as one thing. `refused` says why it cannot be; "" where it can."""

    kind: ItemKind
    chain: Chain | None = None
    key: Key | None = None
    alias: str = ""
    file: str = ""
    remarks: tuple[Remark, ...] = ()
    refused: str = ""
    missing: str = ""  # the name of the issuer that is not there; "" where the chain ends at a root
    wanted: bool = True  # whether saving all would save it

    @cached_property
    def info(self) -> CertInfo | None:
        return certificate_info(self.chain.leaf) if self.chain else None

    @property
    def public_key(self) -> PublicKeyTypes:
        """Of either; there is always one."""
        if self.chain is not None:
            return self.chain.leaf.public_key()
        assert self.key is not None  # noqa: S101 - an item is a certificate, a key, or both
        return self.key.public_key()

    @property
    def spki_sha256(self) -> str:
        return spki_sha256(self.public_key)

    @property
    def top(self) -> x509.Certificate | None:
        """The last certificate of the chain: whom to ask for the next one."""
        if self.chain is None:
            return None
        return self.chain.root or (self.chain.intermediates[-1] if self.chain.intermediates else self.chain.leaf)

    @property
    def ends_at(self) -> str:
        """The name of the root that the chain leads to, there or not."""
        return "" if self.top is None else _name_shown(self.top.issuer)

    @property
    def title(self) -> str:
        """What to call it where its owner says nothing."""
        info = self.info
        if info is None:
            return self.alias or f"Key {self.spki_sha256[:12]}"
        common = common_name_of(self.chain.leaf.subject) if self.chain else ""
        return (info.names[0] if info.names else common) or self.alias or info.fingerprint_sha256[:12]


@dataclass(frozen=True)
class Bundle:
    items: tuple[Item, ...] = ()
    requests: tuple[CsrInfo, ...] = ()
    left_over: tuple[LeftOver, ...] = ()


def bundle_read(
    files: Sequence[GivenFile], passwords: Sequence[str] = (), *, now: datetime, roots: Sequence[x509.Certificate] = ()
) -> Bundle:
    """Everything that is in the files, each password tried where one is needed. `roots` are known besides: a chain
    that leads to one of them is complete.

    Raises BundleRefused for a file that cannot be read at all (its name is in the sentence), with the code
    "password-needed" or "password-wrong" where that is the reason; InputError where there is nothing in them.
    """
    _limits_check(files, passwords)
    heap = _Heap(tuple(dict.fromkeys(passwords)))
    for file in files:
        _file_read(file, heap)
    return _Sorter(heap, now, roots).bundle()


@dataclass
class _Heap:
    """The parts of all files, not yet in order."""

    passwords: tuple[str, ...]
    effort: Effort = field(default_factory=Effort)
    certificates: list["_Certificate"] = field(default_factory=list)
    keys: list["_Key"] = field(default_factory=list)
    requests: list[CsrInfo] = field(default_factory=list)
    left_over: list[LeftOver] = field(default_factory=list)
    parts: int = 0

    def count(self) -> None:
        self.parts += 1
        if self.parts > PART_LIMIT:
            raise InputError(
                f"The files hold more than {PART_LIMIT} certificates and keys.", advice="Give fewer at a time."
            )


@dataclass(frozen=True)
class _Certificate:
    certificate: x509.Certificate
    file: str
    alias: str = ""
    trusted: bool = False  # an entry of a store that stands for itself


@dataclass(frozen=True)
class _Key:
    key: Key
    file: str
    alias: str = ""


def _limits_check(files: Sequence[GivenFile], passwords: Sequence[str]) -> None:
    if not files or not any(file.data.strip() for file in files):
        raise InputError("Nothing was given.", advice="Choose a file, or paste the text of a certificate.")
    if len(files) > FILE_LIMIT:
        raise InputError(f"These are {len(files)} files; at most {FILE_LIMIT} are read at once.", advice="Give fewer.")
    if large := next((file for file in files if len(file.data) > SIZE_LIMIT), None):
        raise BundleRefused(
            f"{large.shown} is larger than 1 MiB, too large for certificates.",
            advice="Was another file meant?",
            file=large.name,
            code="too-large",
        )
    if sum(len(file.data) for file in files) > TOTAL_LIMIT:
        raise InputError("The files are larger than 4 MiB in all.", advice="Give fewer at a time.", code="too-large")
    for password in passwords:
        password_check(password)


def _file_read(file: GivenFile, heap: _Heap) -> None:
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


def _content_read(data: bytes, name: str, heap: _Heap) -> None:
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


def _pem_read(text: bytes, name: str, heap: _Heap) -> None:
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


def _block_read(label: str, block: bytes, body: bytes, name: str, heap: _Heap) -> None:
    if label.endswith("PRIVATE KEY"):
        heap.count()
        heap.keys.append(_Key(_key_of_block(label, block, heap), name))
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


def _key_of_block(label: str, block: bytes, heap: _Heap) -> Key:
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


def _unlocked(heap: _Heap, open_: Callable[[str], Key]) -> Key:
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


def _binary_read(data: bytes, name: str, heap: _Heap) -> None:
    """Told apart by what the outermost SEQUENCE begins with."""
    kind = der.kind_of(data)
    reader = _BINARY.get(kind)
    if reader is None:
        message, advice = _NOT_BINARY[kind]
        raise InputError(message, advice=advice)
    reader(data, name, heap)


def _certificate_read(octets: bytes, name: str, heap: _Heap) -> None:
    heap.count()
    heap.certificates.append(_Certificate(certificate_from_der(octets), name))


def _trusted_certificate_read(octets: bytes, name: str, heap: _Heap) -> None:
    """OpenSSL's own form: the certificate, then what it is trusted for."""
    _certificate_read(octets[: der.length_of(octets)], name, heap)


def _request_read(octets: bytes, _name: str, heap: _Heap) -> None:
    heap.count()
    heap.requests.append(csr_read(octets))


def _plain_key_read(octets: bytes, name: str, heap: _Heap) -> None:
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
    heap.keys.append(_Key(key, name))


def _encrypted_key_read(octets: bytes, name: str, heap: _Heap) -> None:
    heap.count()
    if len(octets) > _KEY_LIMIT:
        raise KeyRefused("The private key is too large.", advice="Give an RSA, EC or Ed25519 key.")
    key = _unlocked(heap, lambda password: key_from_encrypted(octets, password, heap.effort))
    heap.keys.append(_Key(key, name))


def _pkcs7_read(octets: bytes, name: str, heap: _Heap) -> None:
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


def _pkcs12_take(octets: bytes, name: str, heap: _Heap) -> None:
    found = pkcs12_read(octets, heap.passwords, heap.effort)
    for key in found.keys:
        heap.count()
        heap.keys.append(_Key(key.key, name, key.alias))
    for each in found.certificates:
        heap.count()
        heap.certificates.append(_Certificate(each.certificate, name, each.alias, each.trusted))
    heap.left_over += [LeftOver(name, text) for text in found.passed_over]
    if not (found.keys or found.certificates or found.passed_over):
        heap.left_over.append(LeftOver(name, "The PKCS#12 file is empty."))


def _java_read(data: bytes, name: str, heap: _Heap) -> None:
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
            heap.keys.append(_Key(entry.key, name, entry.alias))
            heap.certificates += [_Certificate(each, name) for each in entry.chain]
        elif isinstance(entry, LockedEntry):
            heap.left_over.append(LeftOver(name, f"Entry “{entry.alias}” was left out: {entry.reason.message}"))
            heap.certificates += [_Certificate(each, name) for each in entry.chain]
        else:
            heap.certificates.append(_Certificate(entry.certificate, name, entry.alias, trusted=True))


_Reader = Callable[[bytes, str, _Heap], None]
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


# Order


def by_subject(certificates: Sequence[x509.Certificate]) -> dict[x509.Name, list[x509.Certificate]]:
    found: dict[x509.Name, list[x509.Certificate]] = {}
    for certificate in certificates:
        found.setdefault(certificate.subject, []).append(certificate)
    return found


_WEAK_HASHES = {"sha1": "SHA-1", "md5": "MD5"}


class _Sorter:
    """Who issued whom, which key fits what, and what then stands for itself."""

    def __init__(self, heap: _Heap, now: datetime, roots: Sequence[x509.Certificate]) -> None:
        self._heap, self._now = heap, now
        self._roots = by_subject(roots)
        self._all = list(dict.fromkeys(each.certificate for each in heap.certificates))
        self._first = {each.certificate: each for each in reversed(heap.certificates)}
        self._keys = {spki_sha256(each.key.public_key()): each for each in reversed(heap.keys)}
        self._spki = {certificate: spki_sha256(certificate.public_key()) for certificate in self._all}
        self._subjects = by_subject(self._all)
        self._issuers: dict[x509.Name, list[x509.Certificate]] = {}
        for certificate in self._all:
            self._issuers.setdefault(certificate.issuer, []).append(certificate)
        self._issued: dict[tuple[x509.Certificate, x509.Certificate], bool] = {}

    def bundle(self) -> Bundle:
        items = [self._item(certificate) for certificate in self._all if self._stands_alone(certificate)]
        if any(item.info and not item.info.is_ca for item in items):
            items = [self._without_company(item) for item in items]
        items = _superseded(items)
        alone = [self._key_item(key) for spki, key in self._keys.items() if spki not in self._spki.values()]
        if alone:
            items = [_without_key(item) for item in items]
        return Bundle((*items, *alone), tuple(self._heap.requests), tuple(self._heap.left_over))

    def issued_by(self, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        if certificate.issuer != issuer.subject:
            return False
        pair = certificate, issuer
        if pair not in self._issued:
            if len(self._issued) >= VERIFY_LIMIT:
                raise InputError(
                    "The certificates are too entangled to be put in order: too many have the same name.",
                    advice="Give one certificate with its chain at a time.",
                )
            self._issued[pair] = is_issued_by(certificate, issuer)
        return self._issued[pair]

    def _stands_alone(self, certificate: x509.Certificate) -> bool:
        """It has its key here, is an entry of a store, or issued none of the others."""
        if self._spki[certificate] in self._keys or self._first[certificate].trusted:
            return True
        return not any(
            other != certificate and self.issued_by(other, certificate) for other in self._below(certificate)
        )

    def _below(self, certificate: x509.Certificate) -> Sequence[x509.Certificate]:
        return self._issuers.get(certificate.subject, ())

    def _item(self, certificate: x509.Certificate) -> Item:
        given, stored = self._first[certificate], self._keys.get(self._spki[certificate])
        chain = chain_from(certificate, self._above, self.issued_by)
        alias = (stored.alias if stored else "") or given.alias
        item = Item(
            kind=ItemKind.PAIR if stored else ItemKind.TRUST,
            chain=chain,
            key=stored.key if stored else None,
            alias=alias[:_ALIAS_LIMIT],
            file=given.file,
            refused=_refusal(certificate),
        )
        return item_judge(item, self._now, lambda name: self._roots.get(name, []))

    def _above(self, certificate: x509.Certificate) -> Sequence[x509.Certificate]:
        return self._subjects.get(certificate.issuer, ())

    def _key_item(self, key: _Key) -> Item:
        text = "A key without a certificate: it would be kept as a key pair."
        if self._all:
            text = "This key fits none of the certificates. It would be kept as a key pair."
        remarks = (Remark("key-alone", text),)
        return Item(ItemKind.KEY, key=key.key, alias=key.alias, file=key.file, remarks=remarks, wanted=not self._all)

    def _without_company(self, item: Item) -> Item:
        """A CA that belongs to none of the other certificates of the upload is most often there by mistake."""
        info = item.info
        if info is None or not info.is_ca or item.kind == ItemKind.PAIR or self._first[_leaf(item)].trusted:
            return item
        remark = Remark("companion", "None of the other certificates was issued by it.")
        return replace(item, remarks=(*item.remarks, remark), wanted=False)


def item_judge(item: Item, now: datetime, roots_of: Callable[[x509.Name], Sequence[x509.Certificate]]) -> Item:
    """The item with what its chain and dates say now: to be asked again when the chain was mended. `roots_of` gives
    the known roots of a name."""
    info, top = item.info, item.top
    if info is None or top is None:
        return item
    missing = ""
    if item.chain and item.chain.root is None and not is_issued_by(top, top):
        known = any(is_issued_by(top, root) for root in roots_of(top.issuer))
        missing = "" if known else _name_shown(top.issuer)
    kept = [remark for remark in item.remarks if remark.code not in _JUDGED]
    return replace(item, missing=missing, remarks=(*_remarks(item, info, now, missing), *kept))


_JUDGED = frozenset({"expired", "not-yet-valid", "sha1", "incomplete", "no-names"})


def _remarks(item: Item, info: CertInfo, now: datetime, missing: str) -> Iterator[Remark]:
    if info.not_after <= now:
        yield Remark("expired", f"It expired on {info.not_after:%Y-%m-%d}.")
    if info.not_before > now + timedelta(minutes=5):
        yield Remark("not-yet-valid", f"It is valid from {info.not_before:%Y-%m-%d %H:%M} UTC on, not yet.")
    if missing:
        yield Remark("incomplete", f"The certificate of its issuer “{missing}” is not there.")
    weak = next((hash_ for each in _sent(item) if (hash_ := _weak_hash(each))), "")
    if weak:
        yield Remark("sha1", f"It or its chain is signed with {weak}, which clients refuse.")
    if not info.names and not info.is_ca and not info.other_names:
        yield Remark("no-names", "It holds no names; browsers accept no server by it.")


def _sent(item: Item) -> list[x509.Certificate]:
    """All that is sent to a client; the signature of a root is looked at by nobody."""
    chain = item.chain
    return [] if chain is None else [each for each in (chain.leaf, *chain.intermediates) if each.issuer != each.subject]


def _weak_hash(certificate: x509.Certificate) -> str:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return ""
    return _WEAK_HASHES.get(algorithm.name, "") if algorithm else ""


def _refusal(certificate: x509.Certificate) -> str:
    """Why this certificate cannot be kept; "" where it can."""
    try:
        key_type_of(certificate.public_key())
    except KeyRefused as error:
        return str(error)
    count = len(certificate_info(certificate).names)
    if count > NAME_LIMIT:
        return f"The certificate holds {count} names; at most {NAME_LIMIT} are taken."
    return ""


def _without_key(item: Item) -> Item:
    """A certificate beside keys that are not its own."""
    if item.kind != ItemKind.TRUST or (item.info and item.info.is_ca):
        return item
    return replace(item, remarks=(*item.remarks, Remark("key-missing", "None of the keys given belongs to it.")))


def _superseded(items: list[Item]) -> list[Item]:
    """Of several certificates of one key and the same names the latest is meant."""
    latest: dict[tuple[str, frozenset[str]], datetime] = {}
    for item in items:
        if item.info:
            place = item.spki_sha256, frozenset(item.info.names)
            latest[place] = max(latest.get(place, item.info.not_after), item.info.not_after)
    return [_superseded_mark(item, latest) for item in items]


def _superseded_mark(item: Item, latest: dict[tuple[str, frozenset[str]], datetime]) -> Item:
    info = item.info
    if info is None or latest[item.spki_sha256, frozenset(info.names)] == info.not_after:
        return item
    remark = Remark("superseded", "A later certificate of the same key and names is here, too.")
    return replace(item, remarks=(*item.remarks, remark), wanted=False)


def _name_shown(name: x509.Name) -> str:
    return common_name_of(name) or name.rfc4514_string() or "without a name"


def _leaf(item: Item) -> x509.Certificate:
    assert item.chain is not None  # noqa: S101 - only asked of items with a certificate
    return item.chain.leaf


def issuer_urls(certificate: x509.Certificate) -> list[str]:
    """Where its issuer's certificate is said to be (caIssuers, RFC 5280 §4.2.2.1); http and https only."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return []
    return [
        place.access_location.value
        for place in access
        if place.access_method == AuthorityInformationAccessOID.CA_ISSUERS
        and isinstance(place.access_location, x509.UniformResourceIdentifier)
        and place.access_location.value.lower().startswith(("http://", "https://"))
    ]
