"""An ACME client (RFC 8555) for flows that keep their own state: one method per request, nothing is awaited inside.

Errors are AcmeRefused, AcmeRetry and InputError of `domain.errors`; what the CA answers is read in `documents.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests
from acme import client, jws, messages
from cryptography import x509
from josepy.b64 import b64encode
from josepy.interfaces import JSONDeSerializable
from josepy.jwa import HS256, HS384, HS512
from josepy.jwk import JWKOct

from certs.acme.directories import DirectoryDocument, DirectoryInfo
from certs.acme.documents import (
    AccountView,
    AuthorizationView,
    Chains,
    ChallengeView,
    OrderView,
    account_view,
    address_read,
    alternates_read,
    authorization_view,
    document_read,
    identifiers,
    order_identifiers,
    order_view,
    something_else,
)
from certs.acme.network import Network, algorithm_of, jwk_of
from certs.domain.errors import AcmeFailure, AcmeRefused, BinderyError
from certs.domain.keys import Key

__all__ = [
    "AccountView",
    "AcmeClient",
    "AuthorizationView",
    "Chains",
    "ChallengeView",
    "ExternalAccount",
    "OrderView",
]

PEM_CHAIN = "application/pem-certificate-chain"
MOST_ALTERNATES = 10
MAC_ALGORITHMS = {"HS256": HS256, "HS384": HS384, "HS512": HS512}


@dataclass(frozen=True)
class ExternalAccount:
    """What a CA hands out for an account that it has elsewhere (RFC 8555 §7.3.4). `algorithm` is one of
    MAC_ALGORITHMS; CAs that say nothing of it mean HS256, whatever the length of the key."""

    kid: str
    hmac_key: bytes = field(repr=False)
    algorithm: str = "HS256"


class AcmeClient(client.ClientV2):
    """`net` is our Network; its `account` is set once the account's URL is known."""

    net: Network

    def account_use(self, url: str) -> None:
        """Sign as this account from now on; "" signs with the bare key, as newAccount wants it."""
        self.net.account = messages.RegistrationResource(body=messages.Registration(), uri=url) if url else None

    def account_register(self, *, email: str, terms_agreed: bool, eab: ExternalAccount | None = None) -> str:
        """The account's URL; the same key finds its account again (RFC 8555 §7.3.1)."""
        body: dict[str, Any] = {"termsOfServiceAgreed": True} if terms_agreed else {}
        if email:
            body["contact"] = [f"mailto:{email}"]
        if eab is not None:
            body["externalAccountBinding"] = self._external_account(eab)
        return self._account(body)

    def account_find(self) -> str:
        """The URL of the account that the CA has for this key, "" where it has none (RFC 8555 §7.3.1)."""
        try:
            return self._account({"onlyReturnExisting": True})
        except AcmeFailure as error:
            if error.code == "acme-accountDoesNotExist":
                return ""
            raise

    def account_read(self) -> AccountView:
        url = self._account_url()
        return account_view(self._post_as_get(url), url)

    def account_update(self, *, email: str) -> None:
        """Another address for the CA to write to, "" for none (RFC 8555 §7.3.2)."""
        self._post(self._account_url(), _Body({"contact": [f"mailto:{email}"] if email else []}))

    def account_deactivate(self) -> None:
        """For good (RFC 8555 §7.3.6)."""
        self._post(self._account_url(), _Body({"status": "deactivated"}))

    def account_rollover(self, new_key: Key) -> None:
        """From now on the account has this key (RFC 8555 §7.3.5), and so has this session."""
        url, endpoint, old = self._account_url(), self.directory["keyChange"], self._key()
        new = jwk_of(new_key)
        change = _Body({"account": url, "oldKey": old.public_key().to_partial_json()})
        # Signed by the new key, and by the old one around it: both are proven, and there is no nonce inside.
        inner = jws.JWS.sign(change.json_dumps().encode(), new, algorithm_of(new), None, endpoint)
        self._post(endpoint, _Body(inner.to_partial_json()))
        self.net.key, self.net.alg = new, algorithm_of(new)

    def order_new(
        self,
        names: Sequence[str],
        *,
        replaces: str = "",
        profile: str = "",
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> OrderView:
        """`names` are DNS names, wildcards and addresses (RFC 8738). `replaces` is sent where the CA knows ARI.

        Raises AcmeRefused (code "acme-invalidProfile") for a profile that the directory does not list.
        """
        wanted = identifiers(names)
        body: dict[str, Any] = {"identifiers": [{"type": kind, "value": value} for kind, value in wanted]}
        if replaces and self.has_renewal_info:
            body["replaces"] = replaces
        if profile:
            self._profile_check(profile)
            body["profile"] = profile
        moments = {"notBefore": not_before, "notAfter": not_after}
        body |= {name: _rfc3339(moment) for name, moment in moments.items() if moment is not None}
        # Not sent again by itself: each request that arrived is an order, though its answer was lost.
        response = self._post(self.directory["newOrder"], _Body(body), resend=0)
        document = document_read(response)
        order = order_view(response, self._location(response))
        if sorted(order_identifiers(document)) != sorted(wanted):
            raise AcmeRefused(
                f"{self.net.label} answered with an order for other names: {', '.join(order.names)}.",
                advice="Report this to the CA.",
                problem=document,
            )
        return order

    def order_read(self, url: str) -> OrderView:
        return order_view(self._post_as_get(url), url)

    def order_finalize(self, order_url: str, finalize_url: str, csr_pem: str) -> OrderView:
        """The CSR goes in; whether it arrived can always be read from the order."""
        request = messages.CertificateRequest(csr=x509.load_pem_x509_csr(csr_pem.encode()))
        return order_view(self._post(finalize_url, request), order_url)

    def authorization_read(self, url: str) -> AuthorizationView:
        return authorization_view(self._post_as_get(url), url)

    def authorization_deactivate(self, url: str) -> None:
        self._post(url, _Body({"status": "deactivated"}))

    def challenge_answer(self, url: str) -> None:
        """Says that the answer is in place (RFC 8555 §7.5.1). What came of it is read from the authorization."""
        self._post(url, _Body({}))

    def certificate_read(self, url: str, *, alternates: bool = False) -> Chains:
        """The certificate with its default chain, and with the others where a certain one is wanted.

        An alternate that cannot be had is left out: the default always serves.
        """
        response = self._chain(url)
        if not alternates:
            return Chains(response.content)
        others: list[bytes] = []
        for other in alternates_read(response)[:MOST_ALTERNATES]:
            try:
                others.append(self._chain(other).content)
            except BinderyError:
                continue
        return Chains(response.content, tuple(others))

    def certificate_revoke(self, der: bytes, reason: int = 0, *, key: Key | None = None) -> None:
        """As the account that ordered it, or with the certificate's own `key` (RFC 8555 §7.6).

        `reason` is a number of RFC 5280 §5.3.1. Revoked already: AcmeRefused with code "acme-alreadyRevoked".
        """
        body = _Body({"certificate": b64encode(der).decode(), "reason": reason})
        if key is None:
            self._post(self.directory["revokeCert"], body)
            return
        with self.net.signing_with(key):
            self._post(self.directory["revokeCert"], body)

    def key_authorization(self, token: str) -> str:
        """RFC 8555 §8.1: public, it proves the account without holding its secret."""
        return f"{token}.{b64encode(self._key().thumbprint()).decode()}"

    @property
    def info(self) -> DirectoryInfo:
        """What the CA says of itself; as old as the session's directory, an hour at most."""
        directory = self.directory
        return directory.info if isinstance(directory, DirectoryDocument) else DirectoryInfo()

    @property
    def has_renewal_info(self) -> bool:
        return "renewalInfo" in self.directory.to_partial_json()

    def _account(self, body: dict[str, Any]) -> str:
        self.account_use("")
        response = self._post(self.directory["newAccount"], _Body(body))
        document_read(response)  # a page is no account
        url = self._location(response)
        self.account_use(url)
        return url

    def _account_url(self) -> str:
        if self.net.account is None:
            raise AcmeRefused(f"The account is not registered at {self.net.label} yet.", code="acme-not-registered")
        return str(self.net.account.uri)

    def _key(self) -> Any:
        if self.net.key is None:
            raise AcmeRefused("There is no account key.")
        return self.net.key

    def _external_account(self, eab: ExternalAccount) -> dict[str, Any]:
        """The account's key, signed with the key that the CA gave for it; no nonce inside."""
        public = _Body(self._key().public_key().to_partial_json()).json_dumps().encode()
        signed = jws.JWS.sign(
            public,
            JWKOct(key=eab.hmac_key),
            MAC_ALGORITHMS[eab.algorithm],
            None,
            self.directory["newAccount"],
            eab.kid,
        )
        binding: dict[str, Any] = signed.to_partial_json()
        return binding

    def _profile_check(self, profile: str) -> None:
        offered = self.info.profiles
        if profile not in offered:
            raise AcmeRefused(
                f"{self.net.label} does not offer the profile “{profile}”.",
                advice=f"It offers {', '.join(offered)}." if offered else "It offers none: leave the profile empty.",
                code="acme-invalidProfile",
            )

    def _chain(self, url: str) -> requests.Response:
        response: requests.Response = self._post(url, None, headers={**_JOSE, "Accept": PEM_CHAIN})
        if b"-----BEGIN CERTIFICATE-----" not in response.content:
            raise something_else(response)  # the certificate is there, and is asked for again
        return response

    def _location(self, response: requests.Response) -> str:
        url = address_read(response.headers.get("Location"), "the new resource")
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


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
