"""An ACME client (RFC 8555) for flows that keep their own state: one method per request, nothing is awaited inside.

Documents are read into frozen dataclasses of plain text, so that a status, a challenge or an identifier type newer
than this code is a value and not an exception. Errors are AcmeRefused, AcmeRetry and InputError of `domain.errors`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests
from acme import client, messages
from cryptography import x509
from josepy.b64 import b64encode
from josepy.interfaces import JSONDeSerializable

from certs.acme.network import Network
from certs.acme.problems import Problem, retry_after
from certs.domain.errors import AcmeRefused

DIRECTORY_FIELDS = ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange")  # RFC 8555 §7.1.1
PEM_CHAIN = "application/pem-certificate-chain"


@dataclass(frozen=True)
class OrderView:
    """An order as the CA shows it (RFC 8555 §7.1.3)."""

    url: str
    status: str  # pending, ready, processing, valid, invalid
    names: tuple[str, ...]
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str
    error: Problem | None
    retry_at: datetime | None


@dataclass(frozen=True)
class ChallengeView:
    type: str
    url: str
    token: str
    status: str  # pending, processing, valid, invalid
    error: Problem | None
    asked: tuple[str, ...]  # the URLs the CA says it asked for (validationRecord of Boulder)
    issuers: tuple[str, ...] = ()  # dns-persist-01: issuer-domain-names


@dataclass(frozen=True)
class AuthorizationView:
    """An authorization as the CA shows it (RFC 8555 §7.1.4)."""

    url: str
    status: str  # pending, valid, invalid, deactivated, expired, revoked
    name: str
    challenges: tuple[ChallengeView, ...]
    retry_at: datetime | None
    wildcard: bool = False

    def challenge(self, kind: str) -> ChallengeView | None:
        return next((challenge for challenge in self.challenges if challenge.type == kind), None)

    @property
    def failed_challenge(self) -> ChallengeView | None:
        return next((challenge for challenge in self.challenges if challenge.status == "invalid"), None)


class AcmeClient(client.ClientV2):
    """`net` is our Network; its `account` is set once the account's URL is known."""

    net: Network

    def account_use(self, url: str) -> None:
        """Sign as this account from now on; "" signs with the bare key, as newAccount wants it."""
        self.net.account = messages.RegistrationResource(body=messages.Registration(), uri=url) if url else None

    def account_register(self, *, email: str, terms_agreed: bool) -> str:
        """The account's URL; the same key finds its account again (RFC 8555 §7.3.1)."""
        self.account_use("")
        body: dict[str, Any] = {"termsOfServiceAgreed": True} if terms_agreed else {}
        if email:
            body["contact"] = [f"mailto:{email}"]
        url = self._location(self._post(self.directory["newAccount"], _Body(body)))
        self.account_use(url)
        return url

    def order_new(self, names: Sequence[str], *, replaces: str = "") -> OrderView:
        body: dict[str, Any] = {"identifiers": [{"type": "dns", "value": name} for name in names]}
        if replaces and self.has_renewal_info:
            body["replaces"] = replaces
        response = self._post(self.directory["newOrder"], _Body(body))
        order = _order(response, self._location(response))
        if sorted(order.names) != sorted(names):
            raise AcmeRefused(
                f"{self.net.label} answered with an order for other names: {', '.join(order.names)}.",
                advice="Report this to the CA.",
                problem=response.json(),
            )
        return order

    def order_read(self, url: str) -> OrderView:
        return _order(self._post_as_get(url), url)

    def order_finalize(self, order_url: str, finalize_url: str, csr_pem: str) -> OrderView:
        """The CSR goes in; whether it arrived can always be read from the order."""
        request = messages.CertificateRequest(csr=x509.load_pem_x509_csr(csr_pem.encode()))
        return _order(self._post(finalize_url, request), order_url)

    def authorization_read(self, url: str) -> AuthorizationView:
        response = self._post_as_get(url)
        return _authorization(_document(response), url, _retry_at(response))

    def authorization_deactivate(self, url: str) -> None:
        self._post(url, _Body({"status": "deactivated"}))

    def challenge_answer(self, url: str) -> None:
        """Says that the answer is in place (RFC 8555 §7.5.1). What came of it is read from the authorization."""
        self._post(url, _Body({}))

    def certificate_read(self, url: str) -> bytes:
        """The chain as PEM, leaf first."""
        response: requests.Response = self._post(url, None, headers={**_JOSE, "Accept": PEM_CHAIN})
        return response.content

    def key_authorization(self, token: str) -> str:
        """RFC 8555 §8.1: public, it proves the account without holding its secret."""
        if self.net.key is None:
            raise AcmeRefused("There is no account key.")
        return f"{token}.{b64encode(self.net.key.thumbprint()).decode()}"

    @property
    def has_renewal_info(self) -> bool:
        return "renewalInfo" in self.directory.to_partial_json()

    def _location(self, response: requests.Response) -> str:
        url = response.headers.get("Location", "")
        if not url:
            raise AcmeRefused(f"{self.net.label} answered without saying where the new resource is.")
        return url


_JOSE = {"Content-Type": Network.JOSE_CONTENT_TYPE}


class _Body(JSONDeSerializable):
    """A request's body as it stands; the library's own classes leave out fields or add some."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def __bool__(self) -> bool:
        return True  # an empty object is a body; None is POST-as-GET

    def to_partial_json(self) -> dict[str, Any]:
        return self._document

    @classmethod
    def from_json(cls, jobj: Any) -> "_Body":
        return cls(dict(jobj))


def _document(response: requests.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise AcmeRefused("The CA answered with something that is not an ACME document.")
    return document


def _retry_at(response: requests.Response) -> datetime | None:
    return retry_after(response.headers.get("Retry-After"), datetime.now(UTC))


def _order(response: requests.Response, url: str) -> OrderView:
    document = _document(response)
    return OrderView(
        url=url,
        status=str(document.get("status", "")),
        names=tuple(str(item.get("value", "")) for item in _dicts(document, "identifiers")),
        authorizations=tuple(item for item in _items(document, "authorizations") if isinstance(item, str)),
        finalize=str(document.get("finalize") or ""),
        certificate=str(document.get("certificate") or ""),
        error=_problem(document),
        retry_at=_retry_at(response),
    )


def _authorization(document: dict[str, Any], url: str, retry_at: datetime | None) -> AuthorizationView:
    identifier = document.get("identifier")
    return AuthorizationView(
        url=url,
        status=str(document.get("status", "")),
        name=str(identifier.get("value", "")) if isinstance(identifier, dict) else "",
        challenges=tuple(_challenge(item) for item in _dicts(document, "challenges")),
        retry_at=retry_at,
        wildcard=document.get("wildcard") is True,
    )


def _challenge(document: dict[str, Any]) -> ChallengeView:
    return ChallengeView(
        type=str(document.get("type", "")),
        url=str(document.get("url", "")),
        token=str(document.get("token", "")),
        status=str(document.get("status", "pending")),
        error=_problem(document),
        asked=tuple(str(item["url"]) for item in _dicts(document, "validationRecord") if item.get("url")),
        issuers=tuple(str(item) for item in _items(document, "issuer-domain-names")),
    )


def _problem(document: dict[str, Any]) -> Problem | None:
    error = document.get("error")
    return None if error is None else Problem.from_document(error)


def _items(document: dict[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    return value if isinstance(value, list) else []


def _dicts(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    return [item for item in _items(document, key) if isinstance(item, dict)]
