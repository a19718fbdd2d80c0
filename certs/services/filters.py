"""What certificates are searched by: the same filters in an address of a page, a call of the API and a command."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.utils.dateparse import parse_date, parse_datetime

from certs.domain.errors import InputError, NameRefused
from certs.domain.names import NameRules, name_parse
from certs.domain.properties import tag_normalize
from certs.models import Certificate

SIZE, SIZE_LIMIT = 50, 500
_TEXT_LIMIT = 255
_CURSOR_LIMIT = 2000
_ANY_NAME = NameRules(wildcard=True, dotless=True, address=True)

STATES = {
    "valid": "Valid",
    "soon": "Expires soon",
    "expired": "Expired",
    "revoked": "Revoked",
    "failing": "Renewal fails",
    "pending": "Not issued yet",
    "waiting": "Waiting for a CA’s answer",
    "test": "Test certificates",
}
KINDS = {
    "ca": "Authorities",
    "client": "Client certificates",
    "trusted": "Trusted only, without key",
    "key-pair": "Key pairs",
    "exposed": "In the key set (JWKS)",
    "responder": "OCSP responders of our CAs",
}
SORTS = tuple(sign + name for name in ("name", "expiry", "created", "issuer") for sign in ("", "-"))


@dataclass(frozen=True)
class Filters:
    """What is looked for; empty fields let everything through. `sort` is one of SORTS, `cursor` of an earlier page."""

    text: str = ""  # a part of its name or of one of its DNS names
    domain: str = ""  # this name and everything below it
    name: str = ""  # exactly this DNS name or address
    tags: tuple[str, ...] = ()  # all of them
    issuer: str = ""  # the common name of who signed it
    state: str = ""  # one of STATES
    kind: str = ""  # one of KINDS
    key_type: str = ""
    source: str = ""  # a value of Certificate.Source
    fingerprint: str = ""  # SHA-256 of any of its versions
    organization: UUID | None = None
    department: UUID | None = None
    authority: UUID | None = None  # which of our own signs it
    expires_before: datetime | None = None
    expires_after: datetime | None = None
    sort: str = "expiry"
    cursor: str = ""
    size: int = SIZE

    @property
    def is_empty(self) -> bool:
        """Whether nothing is filtered."""
        return replace(self, sort="", cursor="", size=0) == Filters(sort="", size=0)


def filters_read(given: Mapping[str, Any]) -> Filters:
    """From the parameters of an address: q, domain, name, tag (several), issuer, state, kind, key_type, source,
    fingerprint, organization, department, authority, expires_before, expires_after (dates or moments), sort, cursor and
    size. Others are ignored. Raises InputError, whose code is the parameter's name."""
    return Filters(
        text=_word(given, "q"),
        domain=_domain(_word(given, "domain")),
        name=_name(_word(given, "name"), "name"),
        tags=tuple(dict.fromkeys(filter(None, map(tag_normalize, _several(given, "tag"))))),
        issuer=_word(given, "issuer"),
        state=_one_of(given, "state", STATES),
        kind=_one_of(given, "kind", KINDS),
        key_type=_word(given, "key_type"),
        source=_one_of(given, "source", Certificate.Source.values),
        fingerprint=_word(given, "fingerprint").replace(":", "").lower(),
        organization=_id(given, "organization"),
        department=_id(given, "department"),
        authority=_id(given, "authority"),
        expires_before=_moment(given, "expires_before"),
        expires_after=_moment(given, "expires_after"),
        sort=_one_of(given, "sort", SORTS) or "expiry",
        cursor=_word(given, "cursor", limit=_CURSOR_LIMIT),
        size=_size(given),
    )


def _word(given: Mapping[str, Any], name: str, limit: int = _TEXT_LIMIT) -> str:
    # PostgreSQL does not even look for text with a NUL in it.
    return str(given.get(name) or "").replace("\0", "").strip()[:limit]


def _several(given: Mapping[str, Any], name: str) -> Sequence[str]:
    many = getattr(given, "getlist", None)
    found = many(name) if many else given.get(name) or []
    return [str(each).replace("\0", "") for each in ([found] if isinstance(found, str) else found)]


def _one_of(given: Mapping[str, Any], name: str, known: Iterable[str]) -> str:
    value = _word(given, name)
    if value and value not in known:
        raise InputError(f"“{value}” is no {name}.", advice=f"Use one of: {', '.join(known)}.", code=name)
    return value


def name_stored(text: str) -> str:
    """A name in its own script is stored as A-labels; "" for what is no name."""
    try:
        return name_parse(text, _ANY_NAME) if text else ""
    except NameRefused:
        return ""


def _name(text: str, parameter: str) -> str:
    try:
        return name_parse(text, _ANY_NAME) if text else ""
    except NameRefused as error:
        raise InputError(error.message, advice=error.advice, code=parameter) from error


def _domain(text: str) -> str:
    return _name(text.removeprefix("*.").removeprefix("."), "domain")


def _id(given: Mapping[str, Any], name: str) -> UUID | None:
    value = _word(given, name)
    try:
        return UUID(value) if value else None
    except ValueError as error:
        raise InputError(f"“{value}” is no id of an {name}.", code=name) from error


def _moment(given: Mapping[str, Any], name: str) -> datetime | None:
    value = _word(given, name)
    if not value:
        return None
    try:
        found = parse_datetime(value)
        if found is None and (day := parse_date(value)):
            found = datetime(day.year, day.month, day.day, tzinfo=UTC)
    except ValueError:
        found = None
    if found is None:
        raise InputError(f"“{value}” is no date.", advice="Write it like 2027-01-31.", code=name)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _size(given: Mapping[str, Any]) -> int:
    value = _word(given, "size")
    if not value:
        return SIZE
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= SIZE_LIMIT):
        raise InputError(f"A page has 1 to {SIZE_LIMIT} rows.", code="size")
    return int(value)
