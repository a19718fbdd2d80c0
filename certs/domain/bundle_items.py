"""What an upload consists of: the files given, and the things that would be kept of them."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from certs.domain.certinfo import CertInfo, certificate_info, common_name_of
from certs.domain.errors import InputError
from certs.domain.keys import Key, spki_sha256
from certs.domain.pem import Chain

NAME_LIMIT = 1000  # of one certificate; public CAs give 100, a few 250


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
        return "" if self.top is None else name_shown(self.top.issuer)

    @property
    def title(self) -> str:
        """What to call it where its owner says nothing."""
        info = self.info
        if info is None:
            return self.alias or f"Key {self.spki_sha256[:12]}"
        common = common_name_of(self.chain.leaf.subject) if self.chain else ""
        return (info.names[0] if info.names else common) or self.alias or info.fingerprint_sha256[:12]


def name_shown(name: x509.Name) -> str:
    return common_name_of(name) or name.rfc4514_string() or "without a name"
