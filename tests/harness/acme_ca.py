"""An obedient CA (RFC 8555) in memory: what a request brings about, without HTTP, counting or misbehaviour.

`tests/harness/acme_server.py` serves it, `tests/harness/acme_faults.py` spoils its answers.
"""

import base64
import json
import random
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from josepy.jwa import JWASignature
from josepy.jwk import JWK, JWKOct

from tests.harness import pki
from tests.harness.ports import LOOPBACK

# The resources, as in the directory and in the paths. "validation" is no resource: what the CA finds at the name.
PATHS = {
    "directory": "directory",
    "new-nonce": "newNonce",
    "new-account": "newAccount",
    "new-order": "newOrder",
    "revoke-cert": "revokeCert",
    "key-change": "keyChange",
    "account": "account",
    "order": "order",
    "authorization": "authorization",
    "challenge": "challenge",
    "finalize": "finalize",
    "certificate": "certificate",
    "renewal-info": "renewalInfo",
}
UNSIGNED = {"directory", "newNonce", "renewalInfo"}


@dataclass
class Answer:
    status: int = 200
    document: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""  # where there is no document
    type: str = "application/json"
    order: "Order | None" = None  # whose certificate it bears
    cut: str = ""  # "whole": not a byte is sent; "half" of it is
    stall: float = 0  # seconds of silence before it, or after its half

    def content(self) -> bytes:
        return self.body if self.document is None else json.dumps(self.document).encode()


def problem(code: str, detail: str, status: int, **more: Any) -> Answer:
    document = {"type": f"urn:ietf:params:acme:error:{code}", "detail": detail, "status": status, **more}
    return Answer(status, document, type="application/problem+json")


class Refused(Exception):
    def __init__(self, code: str, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.answer = problem(code, detail, status)


@dataclass
class Account:
    url: str
    jwk: JWK
    contact: list[str]
    status: str = "valid"


@dataclass
class Challenge:
    url: str
    type: str
    token: str
    status: str = "pending"
    error: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        error = {"error": self.error} if self.error else {}
        return {"type": self.type, "url": self.url, "token": self.token, "status": self.status, **error}


@dataclass
class Authorization:
    url: str
    account: Account
    identifier: dict[str, str]
    challenges: list[Challenge]
    status: str = "pending"
    wildcard: bool = False

    def document(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "identifier": self.identifier,
            "challenges": [one.document() for one in self.challenges],
            **({"wildcard": True} if self.wildcard else {}),
        }


@dataclass
class Order:
    url: str
    account: Account
    identifiers: list[dict[str, str]]
    authorizations: list[Authorization]
    finalize: str
    replaces: str = ""
    profile: str = ""
    certificate: str = ""
    leaf: x509.Certificate | None = None
    polls: int = 0  # reads that still say "processing"
    asked: bool = False  # it was finalized

    @property
    def names(self) -> list[str]:
        return [one["value"] for one in self.identifiers]

    @property
    def status(self) -> str:
        states = {one.status for one in self.authorizations}
        if self.asked:
            return "processing" if self.polls else "valid"
        if states - {"pending", "valid"}:
            return "invalid"
        return "pending" if "pending" in states else "ready"

    def document(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "identifiers": self.identifiers,
            "authorizations": [one.url for one in self.authorizations],
            "finalize": self.finalize,
            **({"certificate": self.certificate} if self.status == "valid" else {}),
            **({"replaces": self.replaces} if self.replaces else {}),
            **({"profile": self.profile} if self.profile else {}),
        }


class Request:
    """A request with its JWS, read but not believed yet."""

    def __init__(self, method: str, path: str, body: bytes) -> None:
        self.method, self.path = method, path
        self.jws: dict[str, str] = json.loads(body) if body else {}
        self.header: dict[str, Any] = json.loads(decoded(self.jws["protected"])) if self.jws else {}
        self.payload = decoded(self.jws["payload"]) if self.jws else b""

    @property
    def kid(self) -> str:
        return str(self.header.get("kid", ""))

    @property
    def subject(self) -> tuple[str, ...]:
        """What a Retry-After in the answer is about: the resource, for this account, and the names of a new order."""
        asked = json.loads(self.payload).get("identifiers") if self.path == "/new-order" and self.payload else ""
        return self.path, self.kid, json.dumps(asked)


@dataclass(frozen=True)
class Signed:
    account: Account | None  # None: signed by a key alone
    jwk: Any
    payload: bytes

    def body(self) -> dict[str, Any]:
        return json.loads(self.payload) if self.payload else {}

    def owner(self) -> Account:
        if self.account is None:
            raise Refused("malformed", "This is to be signed by an account.")
        return self.account


class Ca:
    """`http_port` None: every challenge is believed. `eab` maps key ids to HMAC keys (base64url): an account needs one.

    Its methods `_on_<resource>` are called under its lock.
    """

    def __init__(
        self,
        *,
        http_port: int | None = None,
        challenges: tuple[str, ...] = ("http-01",),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        life: timedelta = timedelta(days=90),
        terms: str = "",
        profiles: dict[str, str] | None = None,
        eab: dict[str, str] | None = None,
        seed: int = 1,
    ) -> None:
        self.http_port, self.challenges, self.clock, self.life = http_port, challenges, clock, life
        self.terms, self.profiles, self.eab = terms, profiles or {}, eab
        self.url = ""  # known once it is served
        self.fails_over_replaces = (
            False  # with a mere 500, as pebble 2.10 does for a serial that begins with a zero byte
        )
        self.accounts: dict[str, Account] = {}
        self.orders: list[Order] = []  # every one made, also those it has lost since
        self.issued: list[x509.Certificate] = []
        self.revoked: dict[x509.Certificate, int] = {}
        self.windows: dict[str, tuple[datetime, datetime]] = {}  # suggested renewal, by ARI id
        self.root = pki.authority("Misbehaving root")
        self.intermediate = pki.authority("Misbehaving intermediate", self.root)
        self._known: dict[str, Order | Authorization | Challenge] = {}  # by path
        self._nonces: set[str] = set()
        self._numbers = count(1)
        self._dice = random.Random(seed)
        self._lock = threading.RLock()

    def orders_lose(self) -> None:
        """It knows of no order, authorization and certificate any more."""
        with self._lock:
            self._known.clear()

    def accounts_lose(self) -> None:
        with self._lock:
            self.accounts.clear()

    def authorizations_end(self, status: str) -> None:
        """Every authorization becomes "expired", "deactivated", "revoked" or "invalid"."""
        with self._lock:
            for found in self._known.values():
                if isinstance(found, Authorization):
                    found.status = status

    def nonce(self) -> str:
        nonce = encoded(self._dice.randbytes(16))
        self._nonces.add(nonce)
        return nonce

    def found(self, authorization: Authorization, challenge: Challenge, expected: str) -> Any:
        """What it finds at the name: None where that is right, else the problem."""
        if challenge.type != "http-01" or self.http_port is None:
            return None
        name = authorization.identifier["value"]
        url = f"http://{LOOPBACK}:{self.http_port}/.well-known/acme-challenge/{challenge.token}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": name}), timeout=10) as answer:
                text = answer.read(4096).decode("utf-8", "replace").strip()
        except OSError as error:
            return problem("connection", f"{name}: {error}", 400).document
        return None if text == expected else problem("unauthorized", f"{name}: the answer was {text!r}", 403).document

    def carry_out(self, resource: str, request: Request) -> Answer:
        try:
            carry_out: Callable[..., Answer] | None = getattr(self, f"_on_{resource}", None)
            if carry_out is None:
                raise Refused("malformed", "There is nothing here.", 404)
            if resource not in UNSIGNED and request.method != "POST":
                raise Refused("malformed", "Resources are read by POST-as-GET.", 405)
            with self._lock:
                if resource in UNSIGNED:
                    return carry_out(request)
                return carry_out(request, self._signed(request, by_key=resource in {"newAccount", "revokeCert"}))
        except Refused as refused:
            return refused.answer

    def _signed(self, request: Request, *, by_key: bool) -> Signed:
        """Raises Refused where the signature, the nonce, the address or the account is wrong (RFC 8555 §6)."""
        header = request.header
        if header.get("url") != f"{self.url}{request.path}":
            raise Refused("unauthorized", "The signed address is another one.", 403)
        if "jwk" in header and by_key:
            account, jwk = None, JWK.from_json(header["jwk"])
        else:
            account = self.accounts.get(str(header.get("kid")))
            if account is None:
                raise Refused("accountDoesNotExist", "There is no such account.")
            if account.status != "valid":
                raise Refused("unauthorized", f"The account is {account.status}.", 403)
            jwk = account.jwk
        verify(request.jws, jwk)
        if header.get("nonce") not in self._nonces:
            raise Refused("badNonce", "This nonce is not known.")
        self._nonces.discard(header["nonce"])
        return Signed(account, jwk, request.payload)

    def _on_directory(self, request: Request) -> Answer:
        meta: dict[str, Any] = {"termsOfService": self.terms} if self.terms else {}
        if self.profiles:
            meta["profiles"] = self.profiles
        if self.eab is not None:
            meta["externalAccountRequired"] = True
        entries = ("new-nonce", "new-account", "new-order", "revoke-cert", "key-change", "renewal-info")
        return Answer(document={**{PATHS[path]: f"{self.url}/{path}" for path in entries}, "meta": meta})

    def _on_newNonce(self, request: Request) -> Answer:
        return Answer(200 if request.method == "HEAD" else 204)

    def _on_renewalInfo(self, request: Request) -> Answer:
        window = self.windows.get(request.path.rsplit("/", 1)[-1])
        if window is None:
            raise Refused("malformed", "There is no such certificate.", 404)
        start, end = (moment.isoformat() for moment in window)
        return Answer(document={"suggestedWindow": {"start": start, "end": end}}, headers={"Retry-After": "21600"})

    def _on_newAccount(self, request: Request, signed: Signed) -> Answer:
        body = signed.body()
        known = next((one for one in self.accounts.values() if one.jwk == signed.jwk), None)
        if known is not None:
            if known.status != "valid":
                raise Refused("unauthorized", f"The account is {known.status}.", 403)
            return self._account(known)
        if body.get("onlyReturnExisting"):
            raise Refused("accountDoesNotExist", "There is no account for this key.")
        if self.terms and body.get("termsOfServiceAgreed") is not True:
            raise Refused("userActionRequired", "The terms must be accepted.", 403)
        if self.eab is not None:
            self._bound(body.get("externalAccountBinding"), self.eab, request)
        made = Account(f"{self.url}/account/{next(self._numbers)}", signed.jwk, list(body.get("contact", [])))
        self.accounts[made.url] = made
        return self._account(made, 201)

    def _bound(self, binding: Any, known: dict[str, str], request: Request) -> None:
        """External account binding (RFC 8555 §7.3.4); each key id is good for one account."""
        if not isinstance(binding, dict):
            raise Refused("externalAccountRequired", "This CA wants an external account binding.", 403)
        header, payload = (json.loads(decoded(binding[part])) for part in ("protected", "payload"))
        secret = known.get(header.get("kid"))
        about_us = header.get("url") == f"{self.url}{request.path}" and payload == request.header["jwk"]
        if secret is None or header.get("alg") != "HS256" or not about_us:
            raise Refused("unauthorized", "The external account binding is wrong.", 403)
        verify(binding, JWKOct(key=decoded(secret)))
        del known[header["kid"]]

    def _on_account(self, request: Request, signed: Signed) -> Answer:
        account, body = signed.owner(), signed.body()
        if account.url != f"{self.url}{request.path}":
            raise Refused("unauthorized", "The account is another's.", 403)
        account.contact = list(body.get("contact", account.contact))
        account.status = str(body.get("status", account.status))
        return self._account(account)

    def _account(self, account: Account, status: int = 200) -> Answer:
        document = {"status": account.status, "contact": account.contact, "orders": f"{account.url}/orders"}
        return Answer(status, document, {"Location": account.url})

    def _on_keyChange(self, request: Request, signed: Signed) -> Answer:
        """RFC 8555 §7.3.5: signed by the old key, and within by the new one."""
        account, inner = signed.owner(), signed.body()
        header, payload = (json.loads(decoded(inner[part])) for part in ("protected", "payload"))
        new: Any = JWK.from_json(header["jwk"])
        verify(inner, new)
        if header.get("url") != f"{self.url}{request.path}" or payload["account"] != account.url:
            raise Refused("malformed", "The inner signature is about something else.")
        if JWK.from_json(payload["oldKey"]) != account.jwk:
            raise Refused("malformed", "The old key is another one.")
        holder = next((one for one in self.accounts.values() if one.jwk == new), None)
        if holder is not None:
            return Answer(409, problem("malformed", "The key is in use.", 409).document, {"Location": holder.url})
        account.jwk = new
        return self._account(account)

    def _on_newOrder(self, request: Request, signed: Signed) -> Answer:
        body, number = signed.body(), next(self._numbers)
        if body.get("profile") and body["profile"] not in self.profiles:
            raise Refused("invalidProfile", "There is no such profile.")
        replaces = str(body.get("replaces", ""))
        if replaces and self.fails_over_replaces:
            raise Refused("serverInternal", "There is no order of that serial number.", 500)
        if replaces and any(order.replaces == replaces and order.leaf for order in self.orders):
            raise Refused("alreadyReplaced", "That certificate has a successor already.", 409)
        order = Order(
            f"{self.url}/order/{number}",
            signed.owner(),
            body["identifiers"],
            [self._authorization(signed.owner(), identifier) for identifier in body["identifiers"]],
            f"{self.url}/finalize/{number}",
            replaces,
            str(body.get("profile", "")),
        )
        self.orders.append(order)
        self._known[f"/order/{number}"] = self._known[f"/finalize/{number}"] = order
        return Answer(201, order.document(), {"Location": order.url})

    def _authorization(self, account: Account, identifier: dict[str, str]) -> Authorization:
        number = next(self._numbers)
        value, wildcard = identifier["value"].removeprefix("*."), identifier["value"].startswith("*.")
        challenges = []
        for kind in self.challenges:
            path = f"/challenge/{next(self._numbers)}"
            token = encoded(self._dice.randbytes(32))
            challenges.append(Challenge(f"{self.url}{path}", kind, token))
            self._known[path] = challenges[-1]
        url = f"{self.url}/authorization/{number}"
        made = Authorization(url, account, {**identifier, "value": value}, challenges, wildcard=wildcard)
        self._known[f"/authorization/{number}"] = made
        return made

    def _on_order(self, request: Request, signed: Signed) -> Answer:
        order = self._find(request, signed, Order)
        answer = Answer(document=order.document())
        order.polls = max(order.polls - 1, 0)
        return answer

    def _on_authorization(self, request: Request, signed: Signed) -> Answer:
        found = self._find(request, signed, Authorization)
        if signed.payload and signed.body().get("status") == "deactivated":
            found.status = "deactivated"
        return Answer(document=found.document())

    def _on_challenge(self, request: Request, signed: Signed) -> Answer:
        found = self._known.get(request.path)
        parent = next(
            (one for one in self._known.values() if isinstance(one, Authorization) and found in one.challenges), None
        )
        if not isinstance(found, Challenge) or parent is None or parent.account is not signed.account:
            raise Refused("malformed", "There is no such challenge.", 404)
        if signed.payload:
            if (
                found.status != "pending" or parent.status != "pending"
            ):  # as pebble does; others answer as if it were new
                raise Refused("malformed", f"Cannot update challenge with status {found.status}.")
            found.status = "processing"
            key_authorization = f"{found.token}.{encoded(signed.jwk.thumbprint())}"
            threading.Thread(target=self._validate, args=(parent, found, key_authorization), daemon=True).start()
        return Answer(document=found.document(), headers={"Link": f'<{parent.url}>;rel="up"'})

    def _validate(self, authorization: Authorization, challenge: Challenge, expected: str) -> None:
        error = self.found(authorization, challenge, expected)
        with self._lock:
            challenge.status, challenge.error = ("invalid", error) if error else ("valid", None)
            if authorization.status == "pending":
                authorization.status = challenge.status

    def _on_finalize(self, request: Request, signed: Signed) -> Answer:
        order = self._find(request, signed, Order)
        if order.status != "ready":
            raise Refused("orderNotReady", f"The order is {order.status}.", 403)
        csr = x509.load_der_x509_csr(decoded(signed.body()["csr"]))
        if not csr.is_signature_valid or sorted(_names(csr)) != sorted(order.names):
            raise Refused("badCSR", f"The request is for {', '.join(_names(csr))}.")
        number = next(self._numbers)
        order.asked, order.leaf = True, self.sign(csr.public_key(), order.names)
        order.certificate = f"{self.url}/certificate/{number}"
        self._known[f"/certificate/{number}"] = order
        self.issued.append(order.leaf)
        return Answer(document=order.document(), headers={"Location": order.url}, order=order)

    def _on_certificate(self, request: Request, signed: Signed) -> Answer:
        order = self._find(request, signed, Order)
        assert order.leaf is not None
        return chain(order, order.leaf, self.intermediate.certificate)

    def _on_revokeCert(self, request: Request, signed: Signed) -> Answer:
        """By the account that ordered it, or by the certificate's own key (RFC 8555 §7.6)."""
        body = signed.body()
        found = x509.load_der_x509_certificate(decoded(body["certificate"]))
        order = next((one for one in self.orders if one.leaf == found), None)
        if order is None:
            raise Refused("malformed", "It was not issued here.", 404)
        own = signed.account is None and _spki(found) == _spki(signed.jwk.key)
        if not own and order.account is not signed.account:
            raise Refused("unauthorized", "It is another's.", 403)
        if found in self.revoked:
            raise Refused("alreadyRevoked", "It is revoked already.")
        self.revoked[found] = int(body.get("reason", 0))
        return Answer()

    def sign(
        self, key: Any, names: list[str], *, start: datetime | None = None, life: timedelta | None = None
    ) -> x509.Certificate:
        """A leaf for this public key, from an hour ago by the server's clock."""
        start = start or self.clock().replace(microsecond=0) - timedelta(hours=1)
        days = (life or self.life) / timedelta(days=1)
        return pki.certificate(self.intermediate, names, key, days=days, start=start)

    def _find(self, request: Request, signed: Signed, kind: type[Any]) -> Any:
        found = self._known.get(request.path)
        if not isinstance(found, kind):
            raise Refused("malformed", "There is no such resource.", 404)
        if found.account is not signed.account:
            raise Refused("unauthorized", "It is another account's.", 403)
        return found


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def verify(jws: dict[str, str], jwk: Any) -> None:
    header = json.loads(decoded(jws["protected"]))
    algorithm = JWASignature.from_json(header["alg"])
    message = f"{jws['protected']}.{jws['payload']}".encode()
    if not algorithm.verify(jwk.key, message, decoded(jws["signature"])):
        raise Refused("malformed", "The signature is wrong.")


def chain(order: Order, *certificates: x509.Certificate) -> Answer:
    body = b"".join(one.public_bytes(Encoding.PEM) for one in certificates)
    return Answer(body=body, type="application/pem-certificate-chain", order=order)


def _names(csr: x509.CertificateSigningRequest) -> list[str]:
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def _spki(holder: Any) -> bytes:
    key = holder.public_key() if hasattr(holder, "public_key") else holder
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
