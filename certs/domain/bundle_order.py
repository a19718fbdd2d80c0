"""The parts of an upload in order: each certificate with its chain and key, and what a person should know of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from certs.domain.bundle_forms import FoundKey, Heap
from certs.domain.bundle_items import NAME_LIMIT, Item, ItemKind, LeftOver, Remark, name_shown
from certs.domain.certinfo import CertInfo, certificate_info, is_issued_by
from certs.domain.csr import CsrInfo
from certs.domain.errors import InputError, KeyRefused
from certs.domain.keys import key_type_of, spki_sha256
from certs.domain.pem import chain_from

VERIFY_LIMIT = 1500  # signatures that are looked at to find out who issued what
_ALIAS_LIMIT = 255


@dataclass(frozen=True)
class Bundle:
    items: tuple[Item, ...] = ()
    requests: tuple[CsrInfo, ...] = ()
    left_over: tuple[LeftOver, ...] = ()


# Order


def by_subject(certificates: Sequence[x509.Certificate]) -> dict[x509.Name, list[x509.Certificate]]:
    found: dict[x509.Name, list[x509.Certificate]] = {}
    for certificate in certificates:
        found.setdefault(certificate.subject, []).append(certificate)
    return found


_WEAK_HASHES = {"sha1": "SHA-1", "md5": "MD5"}


class Sorter:
    """Who issued whom, which key fits what, and what then stands for itself."""

    def __init__(self, heap: Heap, now: datetime, roots: Sequence[x509.Certificate]) -> None:
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

    def _key_item(self, key: FoundKey) -> Item:
        text = "A key without a certificate is kept as a key pair. Give both together to add it to its certificate."
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
        missing = "" if known else name_shown(top.issuer)
    kept = [remark for remark in item.remarks if remark.code not in _JUDGED]
    return replace(item, missing=missing, remarks=(*_remarks(item, info, now, missing), *kept))


_JUDGED = frozenset({"expired", "not-yet-valid", "sha1", "incomplete", "no-names"})


def _remarks(item: Item, info: CertInfo, now: datetime, missing: str) -> Iterator[Remark]:
    if info.not_after <= now:
        yield Remark("expired", f"It expired on {info.not_after:%Y-%m-%d}.")
    if info.not_before > now + timedelta(minutes=5):
        yield Remark("not-yet-valid", f"It is valid from {info.not_before:%Y-%m-%d %H:%M} UTC on, not yet.")
    if missing and item.chain and item.chain.intermediates:
        why = "If that is the root, nothing is missing: servers do not send it."
        yield Remark("incomplete", f"Its chain ends below “{missing}”, which is not known here. {why}")
    elif missing:
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


def _leaf(item: Item) -> x509.Certificate:
    assert item.chain is not None  # noqa: S101 - only asked of items with a certificate
    return item.chain.leaf
