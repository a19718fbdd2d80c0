"""The directories known by name, what can be said of any directory by its address, and what it says of itself."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeGuard

from acme import messages
from josepy.errors import DeserializationError

from certs.acme.problems import storable
from certs.domain.errors import AcmeRefused
from certs.domain.urls import url_split

DIRECTORY_FIELDS = ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange")  # RFC 8555 §7.1.1
LONGEST_TERMS = 500  # characters, as long as the column that keeps them


@dataclass(frozen=True)
class Directory:
    key: str  # stable, used by forms and the command line
    label: str  # how the CA is called in sentences
    url: str
    is_test: bool = False  # browsers do not trust what it issues
    rehearsal: str = ""  # the key of its staging directory


KNOWN: dict[str, Directory] = {
    directory.key: directory
    for directory in (
        Directory(
            "letsencrypt",
            "Let's Encrypt",
            "https://acme-v02.api.letsencrypt.org/directory",
            rehearsal="letsencrypt-staging",
        ),
        Directory(
            "letsencrypt-staging",
            "Let's Encrypt staging",
            "https://acme-staging-v02.api.letsencrypt.org/directory",
            is_test=True,
        ),
    )
}
_BY_URL = {directory.url: directory for directory in KNOWN.values()}


def is_test_directory(url: str) -> bool:
    known = _BY_URL.get(url)
    return known is not None and known.is_test


def directory_label(url: str) -> str:
    """How the CA is called in a sentence: its name, or the host of an unknown directory."""
    if known := _BY_URL.get(url):
        return known.label
    return url_split(url).netloc or url


@dataclass(frozen=True)
class DirectoryInfo:
    """What a CA says of itself in its directory (RFC 8555 §7.1.1, profiles, ARI); empty where it says nothing."""

    terms_url: str = ""
    website: str = ""
    profiles: dict[str, str] = field(default_factory=dict)  # name -> the CA's own description
    eab_required: bool = False
    caa_identities: tuple[str, ...] = ()
    has_renewal_info: bool = False
    clock_skew: float | None = None  # seconds: our clock minus the Date header, whose own unit is the second


class DirectoryDocument(messages.Directory):
    info: DirectoryInfo


def directory_read(document: object, url: str, *, sent: str, now: datetime) -> DirectoryDocument:
    """`sent` is the answer's Date header, `now` real time. Raises AcmeRefused for what is no directory."""
    document = storable(document)
    if not _is_directory(document):
        raise AcmeRefused(
            f"{url} answers, but not with an ACME directory.",
            advice="Give the directory's whole address, as the CA documents it.",
            code="acme-directory",
            problem=document if isinstance(document, dict) else {},
        )
    meta = document.get("meta") or {}
    if len(str(meta.get("termsOfService") or "")) > LONGEST_TERMS:
        raise AcmeRefused(
            f"{url} answers with an address of its terms that is longer than {LONGEST_TERMS} characters.",
            advice="Report this to the CA.",
            code="acme-directory",
        )
    try:
        directory: DirectoryDocument = DirectoryDocument.from_json({**document, "meta": meta})
    except DeserializationError as error:
        raise AcmeRefused(f"{url} answers with an ACME directory whose meta data cannot be read.") from error
    profiles, identities = meta.get("profiles"), meta.get("caaIdentities")
    directory.info = DirectoryInfo(
        terms_url=str(meta.get("termsOfService") or ""),
        website=str(meta.get("website") or ""),
        profiles={name: str(text) for name, text in profiles.items()} if isinstance(profiles, dict) else {},
        eab_required=meta.get("externalAccountRequired") is True,
        caa_identities=tuple(str(one) for one in identities) if isinstance(identities, list) else (),
        has_renewal_info=isinstance(document.get("renewalInfo"), str),
        clock_skew=_skew(sent, now),
    )
    return directory


def _is_directory(document: Any) -> TypeGuard[dict[str, Any]]:
    if not isinstance(document, dict) or not isinstance(document.get("meta") or {}, dict):
        return False
    return all(isinstance(document.get(name), str) for name in DIRECTORY_FIELDS)


def _skew(sent: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(sent)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round((now - moment).total_seconds(), 1)
