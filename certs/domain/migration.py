"""What another ACME client left on a disk, in our own terms. `certbot.py` and `acmesh.py` read a Tree into a Found.

Whatever cannot be taken is a Left with its reason: a broken file never keeps the others from being taken.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certs.domain.certinfo import certificate_info
from certs.domain.errors import BinderyError
from certs.domain.keys import Key, key_from_pem, key_type_of
from certs.domain.pem import Chain, certificates_read, chain_order, pair_check

_HOPS = 8  # of links from one to the next
EXPORT_INSTEAD = (
    "Let the portal export the certificate (Configuration ➜ Export), and reload the server when the files change."
)
BY_PORTAL = "The portal answers by itself: port 80 of the names has to lead to it, or pass the challenge's path on."
_RSA_ORDERED = (2048, 3072, 4096)


@dataclass(frozen=True)
class Tree:
    """A directory as it was read once. Paths are relative to `place`, with / between their parts.

    `links` lead to paths inside the tree; what leads out of it, or cannot be read, is in `unread` with the reason.
    `beside` are files of an archive that stand outside of the tree, by their absolute path.
    """

    place: str
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    links: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def below_home(self, home: str) -> "Tree":
        """Of a tree that has the whole machine's paths, what is below the absolute path `home`; else itself."""
        start = f"{home.strip('/')}/"
        if not any(path.startswith(start) for path in self.files):
            return self
        links = {path: target for path, target in self.links.items() if target.startswith(start)}
        return Tree(
            self.place,
            {path.removeprefix(start): data for path, data in self.files.items() if path.startswith(start)},
            {path.removeprefix(start): target.removeprefix(start) for path, target in links.items()},
            {path.removeprefix(start): why for path, why in self.unread.items()},
            {f"/{path}": data for path, data in self.files.items() if not path.startswith(start)},
        )

    def resolve(self, path: str) -> str:
        """Where the links on the way lead; the path itself where there are none."""
        for _ in range(_HOPS):
            parts = PurePosixPath(path).parts
            cuts = ("/".join(parts[:end]) for end in range(1, len(parts) + 1))
            link = next((cut for cut in cuts if cut in self.links), None)
            if link is None:
                return path
            path = self.links[link] + path[len(link) :]
        return path

    def read(self, path: str) -> bytes | None:
        return self.files.get(self.resolve(path))

    def why_unread(self, path: str) -> str:
        """The reason why there is no file of this path, as the end of a sentence."""
        return self.unread.get(path) or self.unread.get(self.resolve(path)) or "there is no such file"

    def below(self, folder: str) -> Iterator[str]:
        """The files and links anywhere below it, sorted."""
        start = f"{folder}/" if folder else ""
        return (path for path in sorted({*self.files, *self.links}) if path.startswith(start))


@dataclass(frozen=True)
class Left:
    """Something that was not taken: what it is, why, and what to do instead. `kind` is account or certificate where it
    is one that was lost as a whole."""

    what: str
    why: str
    advice: str = ""
    kind: str = "other"

    def __str__(self) -> str:
        return " ".join(part for part in (f"{self.what}:", self.why, self.advice) if part)


@dataclass(frozen=True)
class FoundAccount:
    """An account at a CA. `id` is what lineages call it by; `url` is the CA's name of it, "" where it is not known."""

    id: str
    directory_url: str
    url: str
    email: str
    key: Key = field(repr=False)


@dataclass(frozen=True)
class FoundVersion:
    """`label` is how the other client tells its versions apart."""

    label: str
    chain: Chain
    key: Key = field(repr=False)


@dataclass(frozen=True)
class Proof:
    """How the names are proven from now on. `kind` is a solver of ours, "" for the portal itself, None where we have
    none that fits; `given` are its options as typed, secrets among them."""

    kind: str | None
    given: Mapping[str, str] = field(default_factory=dict, repr=False)
    was: str = ""  # what the other client did, for people
    advice: str = ""


@dataclass(frozen=True)
class FoundLineage:
    """A certificate with its versions, the oldest first; `current` is the one in use, which is among them."""

    name: str
    versions: tuple[FoundVersion, ...]
    current: FoundVersion
    directory_url: str
    account: str
    proof: Proof
    key_type: str
    reuse_key: bool = False
    preferred_chain: str = ""
    profile: str = ""
    renew_before_days: int | None = None
    auto_renew: bool = True
    left: tuple[Left, ...] = ()

    @property
    def names(self) -> list[str]:
        return sorted(certificate_info(self.current.chain.leaf).names)


@dataclass(frozen=True)
class Found:
    client: str  # certbot or acme.sh
    place: str
    accounts: tuple[FoundAccount, ...] = ()
    lineages: tuple[FoundLineage, ...] = ()
    left: tuple[Left, ...] = ()


def version_read(label: str, certificate: bytes, issuers: bytes, key: bytes) -> FoundVersion:
    """A version from PEM; `issuers` may be empty. Raises CertificateRefused, KeyRefused."""
    private = key_from_pem(key)
    certificates = [*certificates_read(certificate), *(certificates_read(issuers) if issuers.strip() else [])]
    chain = chain_order(certificates, private.public_key())
    pair_check(chain.leaf, private)
    key_type_of(chain.leaf.public_key())
    return FoundVersion(label, chain, private)


def key_type_ordered(key: Key | x509.Certificate) -> str:
    """What to order the next time, of the types that a public CA certifies: the same, else the next larger one."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        return f"rsa-{next((bits for bits in _RSA_ORDERED if public.key_size <= bits), _RSA_ORDERED[-1])}"
    if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.key_size > 256:
        return "ec-p384"
    return "ec-p256"


def left_of(what: str, error: BinderyError, kind: str = "other") -> Left:
    return Left(what, error.message, error.advice, kind)


def days_of(text: str) -> int | None:
    """Of "30 days", "4 weeks" or "36 hours", rounded up; None for anything else."""
    found = re.fullmatch(r"\s*(\d{1,5})\s*(hour|day|week|month|year)s?\s*", text)
    if found is None:
        return None
    hours = int(found[1]) * {"hour": 1, "day": 24, "week": 168, "month": 720, "year": 8760}[found[2]]
    return min(-(-hours // 24), 3650) or None


def json_read(data: bytes | None) -> dict[str, Any]:
    """An object; the empty one for anything else."""
    try:
        found = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def email_of(registration: object) -> str:
    """Of an account object (RFC 8555 §7.1.2): its first address, in lower case; "" where it has none."""
    contacts = registration.get("contact") if isinstance(registration, dict) else None
    return next((str(each)[7:].lower() for each in contacts or () if str(each).startswith("mailto:")), "")


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def lefts_sorted(lefts: Sequence[Left]) -> tuple[Left, ...]:
    """Each once, in the order found."""
    return tuple(dict.fromkeys(lefts))
