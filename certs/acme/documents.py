"""The CA's documents as frozen dataclasses of plain text (RFC 8555 §7.1).

Lenient in what they mean, strict in what has to be kept: a status, a type or a field newer than this code is a value
and no exception, but an address or a token that could not be stored is refused with AcmeRefused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urljoin

import requests
from requests.utils import parse_header_links

from certs.acme.problems import NOT_JSON, Problem, storable
from certs.acme.problems import retry_at as retry_at_of
from certs.domain.addresses import address_shown
from certs.domain.ari import moment_read
from certs.domain.errors import AcmeRefused, AcmeRetry
from certs.domain.names import address_canonical
from portal import clock

LONGEST_ADDRESS = 500  # as long as the columns that keep them
_TOKEN = re.compile(r"[A-Za-z0-9_-]{0,128}")  # RFC 8555 §8.1; its column holds as much
_UNSAFE = re.compile(r"[\x00-\x20\x7f]")

Identifier = tuple[str, str]  # type and value, canonical: ("dns", "*.example.com"), ("ip", "2001:db8::1")


@dataclass(frozen=True)
class AccountView:
    """An account as the CA shows it (RFC 8555 §7.1.2)."""

    url: str
    status: str  # valid, deactivated, revoked; "" where it says none
    contacts: tuple[str, ...]  # URIs, mailto: as a rule


@dataclass(frozen=True)
class OrderView:
    """An order as the CA shows it (RFC 8555 §7.1.3)."""

    url: str
    status: str  # pending, ready, processing, valid, invalid
    names: tuple[str, ...]  # canonical
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str
    error: Problem | None
    retry_at: datetime | None
    expires: datetime | None = None
    profile: str = ""  # draft-ietf-acme-profiles
    replaces: str = ""  # RFC 9773 §5
    not_before: datetime | None = None
    not_after: datetime | None = None


@dataclass(frozen=True)
class ChallengeView:
    type: str
    url: str
    token: str
    status: str  # pending, processing, valid, invalid
    error: Problem | None
    asked: tuple[str, ...]  # what the CA says it asked for (validationRecord of Boulder): URLs, for TLS host:port
    issuers: tuple[str, ...] = ()  # dns-persist-01: issuer-domain-names


@dataclass(frozen=True)
class AuthorizationView:
    """An authorization as the CA shows it (RFC 8555 §7.1.4). `name` is without the wildcard's "*."."""

    url: str
    status: str  # pending, valid, invalid, deactivated, expired, revoked
    name: str
    challenges: tuple[ChallengeView, ...]
    retry_at: datetime | None
    wildcard: bool = False
    expires: datetime | None = None

    def challenge(self, kind: str) -> ChallengeView | None:
        """Raises AcmeRefused for one whose token or address cannot be used."""
        found = next((challenge for challenge in self.challenges if challenge.type == kind), None)
        if found is not None:
            address_read(found.url, f"the {kind} challenge")
            if not _TOKEN.fullmatch(found.token):
                raise AcmeRefused(f"The CA gave a token for {kind} that is none.", advice="Report this to the CA.")
        return found

    @property
    def failed_challenge(self) -> ChallengeView | None:
        return next((challenge for challenge in self.challenges if challenge.status == "invalid"), None)


@dataclass(frozen=True)
class Chains:
    """The certificate as PEM, leaf first: the CA's default chain, and the others where they were asked for."""

    default: bytes
    alternates: tuple[bytes, ...] = ()


def identifiers(names: Sequence[str]) -> list[Identifier]:
    """What to ask for: addresses are of the type "ip" (RFC 8738 §3), everything else is a DNS name."""
    return [_canonical("ip" if address_canonical(name) else "dns", name) for name in names]


def document_read(response: requests.Response) -> dict[str, Any]:
    """Raises AcmeRetry for what is none."""
    try:
        document = storable(response.json())
    except NOT_JSON:
        document = None
    if not isinstance(document, dict):
        raise something_else(response)
    return document


def something_else(response: requests.Response) -> AcmeRetry:
    """A maintenance page, say, which goes by: nothing of the order is given up for it."""
    return AcmeRetry(
        "The CA answered with something that is not what was asked for.",
        advice="It may be under maintenance.",
        code="acme-something-else",
        problem=Problem.from_answer(response.status_code, response.text).document,
        retry_at=retry_at(response),
    )


def account_view(response: requests.Response, url: str) -> AccountView:
    document = document_read(response)
    contacts = tuple(item for item in _items(document, "contact") if isinstance(item, str))
    return AccountView(url, _text(document, "status"), contacts)


def order_view(response: requests.Response, url: str) -> OrderView:
    document = document_read(response)
    return OrderView(
        url=url,
        status=_text(document, "status"),
        names=tuple(value for _, value in order_identifiers(document)),
        authorizations=tuple(
            address_read(item, "an authorization") for item in _items(document, "authorizations") if item
        ),
        finalize=address_read(document.get("finalize"), "finalizing"),
        certificate=address_read(document.get("certificate"), "the certificate"),
        error=_problem(document),
        retry_at=retry_at(response),
        expires=moment_read(document.get("expires")),
        profile=_text(document, "profile"),
        replaces=_text(document, "replaces"),
        not_before=moment_read(document.get("notBefore")),
        not_after=moment_read(document.get("notAfter")),
    )


def order_identifiers(document: dict[str, Any]) -> list[Identifier]:
    return [_identifier(item) for item in _dicts(document, "identifiers")]


def authorization_view(response: requests.Response, url: str) -> AuthorizationView:
    document = document_read(response)
    identifier = document.get("identifier")
    name = _identifier(identifier)[1] if isinstance(identifier, dict) else ""
    return AuthorizationView(
        url=url,
        status=_text(document, "status"),
        # Some CAs repeat the "*." that the flag stands for.
        name=name.removeprefix("*."),
        challenges=tuple(_challenge(item) for item in _dicts(document, "challenges")),
        retry_at=retry_at(response),
        wildcard=document.get("wildcard") is True or name.startswith("*."),
        expires=moment_read(document.get("expires")),
    )


def alternates_read(response: requests.Response) -> list[str]:
    """Where the other chains are (RFC 8555 §7.4.2), without repetition."""
    links = parse_header_links(response.headers.get("Link", ""))
    found = [urljoin(response.url or "", link["url"]) for link in links if link.get("rel") == "alternate"]
    return list(dict.fromkeys(found))


def address_read(value: object, what: str) -> str:
    """An address of the CA's, "" where it gives none. Raises AcmeRefused for what could be neither kept nor asked."""
    if not value:
        return ""
    if not isinstance(value, str) or len(value) > LONGEST_ADDRESS or _UNSAFE.search(value):
        raise AcmeRefused(
            f"The CA gave an address for {what} that cannot be used: {str(value)[:80]!r}…",
            advice=f"Report this to the CA; it may have {LONGEST_ADDRESS} characters, and no blanks.",
            code="acme-address",
        )
    return value


def retry_at(response: requests.Response) -> datetime | None:
    return retry_at_of(response.headers, clock.real())


def _challenge(document: dict[str, Any]) -> ChallengeView:
    return ChallengeView(
        type=_text(document, "type"),
        url=_text(document, "url"),
        token=_text(document, "token"),
        status=_text(document, "status") or "pending",
        error=_problem(document),
        asked=tuple(asked for item in _dicts(document, "validationRecord") if (asked := _asked(item))),
        issuers=tuple(str(item) for item in _items(document, "issuer-domain-names")),
    )


def _asked(record: dict[str, Any]) -> str:
    host, port = _text(record, "hostname"), record.get("port")
    return _text(record, "url") or (address_shown(host, port) if host and port else "")


def _identifier(document: dict[str, Any]) -> Identifier:
    return _canonical(_text(document, "type"), _text(document, "value"))


def _canonical(kind: str, value: str) -> Identifier:
    if kind == "ip":
        return kind, address_canonical(value) or value
    return kind, value.lower() if kind == "dns" else value


def _problem(document: dict[str, Any]) -> Problem | None:
    error = document.get("error")
    return None if error is None else Problem.from_document(error)


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _items(document: dict[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    return value if isinstance(value, list) else []


def _dicts(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    return [item for item in _items(document, key) if isinstance(item, dict)]
