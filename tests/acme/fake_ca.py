"""A CA in memory, in place of a session: it obeys RFC 8555's states, and misbehaves where a test says so."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certs.acme.client import AccountView, AuthorizationView, Chains, ChallengeView, OrderView
from certs.acme.directories import DirectoryInfo
from certs.acme.problems import Problem, failure
from tests.harness import pki


@dataclass
class FakeCa:
    """`fail[method]` are errors raised by that method's next calls; `on[method]` is called after it has worked.

    `pending_reads` is how often an authorization stays pending; `processing_reads` the same for an order.
    """

    label: str = "Our CA"
    terms: str = ""
    verdict: str = "valid"
    pending_reads: int = 0
    processing_reads: int = 0
    retry_at: datetime | None = None
    answers: set[str] = field(default_factory=set)  # kinds of challenges offered
    fail: dict[str, list[Exception]] = field(default_factory=dict)
    on: dict[str, Callable[[], None]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    orders: dict[str, OrderView] = field(default_factory=dict)
    authorizations: dict[str, AuthorizationView] = field(default_factory=dict)
    issued: list[x509.Certificate] = field(default_factory=list)
    deactivated: list[str] = field(default_factory=list)
    verdicts: dict[str, Problem] = field(default_factory=dict)  # kind of challenge -> why it fails
    issue_for: list[str] | None = None  # other names than asked for
    accounts: set[str] = field(default_factory=set)
    contact: str = ""
    revoked: list[tuple[int, bool]] = field(default_factory=list)  # reason, and whether by the certificate's key
    net: Any = field(default_factory=lambda: SimpleNamespace(close=lambda: None))

    def __post_init__(self) -> None:
        self.answers = self.answers or {"http-01"}
        self._root = pki.authority("Fake root")
        self.info = DirectoryInfo(terms_url=self.terms)
        self._polls: Counter[str] = Counter()

    @contextmanager
    def session(self, account: Any) -> Iterator["FakeCa"]:
        self.calls["session"] += 1
        yield self

    def account_register(self, **_: Any) -> str:
        self._begin("account_register")
        url = f"https://ca/account/{len(self.accounts) + 1}"
        self.accounts.add(url)
        return self._end("account_register", url)

    def account_find(self) -> str:
        self._begin("account_find")
        return next(iter(self.accounts), "")

    def account_read(self) -> AccountView:
        self._begin("account_read")
        return AccountView("", "valid", ())

    def account_update(self, *, email: str) -> None:
        self._begin("account_update")
        self.contact = email
        self._end("account_update", None)

    def account_rollover(self, new_key: object) -> None:
        self._begin("account_rollover")

    def account_deactivate(self) -> None:
        self._begin("account_deactivate")
        self.accounts.clear()

    def certificate_revoke(self, der: bytes, reason: int = 0, *, key: object = None) -> None:
        self._begin("certificate_revoke")
        self.revoked.append((reason, key is not None))

    def order_new(self, names: list[str], *, replaces: str = "", profile: str = "") -> OrderView:
        self._begin("order_new")
        number = len(self.orders) + 1
        urls = []
        for name in names:
            url = f"https://ca/authz/{number}/{name}"
            offered = tuple(
                ChallengeView(
                    kind,
                    f"{url}/{kind}",
                    f"token-{number}-{name}{f'-{kind}' if len(self.answers) > 1 else ''}".replace(".", "_"),
                    "pending",
                    None,
                    (),
                )
                for kind in sorted(self.answers)
            )
            self.authorizations[url] = AuthorizationView(url, "pending", name, offered, None)
            urls.append(url)
        order = OrderView(
            f"https://ca/order/{number}", "pending", tuple(names), tuple(urls), f"https://ca/f/{number}", "", None, None
        )
        self.orders[order.url] = order
        return self._end("order_new", order)

    def order_read(self, url: str) -> OrderView:
        self._begin("order_read")
        order = self._order(url)
        states = {self.authorizations[item].status for item in order.authorizations}
        if order.status == "pending" and states == {"valid"}:
            order = replace(order, status="ready")
        if order.status == "pending" and "invalid" in states:
            order = replace(order, status="invalid")
        if order.status == "processing":
            self._polls[url] += 1
            if self._polls[url] > self.processing_reads:
                order = replace(order, status="valid", certificate=f"{url}/certificate")
        self.orders[url] = order
        return self._end("order_read", replace(order, retry_at=self.retry_at))

    def order_finalize(self, url: str, finalize_url: str, csr_pem: str) -> OrderView:
        self._begin("order_finalize")
        order = self._order(url)
        if order.status != "ready":
            raise failure(Problem(code="orderNotReady", status=403, detail="not ready"), self.label)
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        self.issued.append(self._sign(csr, self.issue_for or list(order.names)))
        self.orders[url] = replace(order, status="processing")
        return self._end("order_finalize", self.orders[url])

    def authorization_read(self, url: str) -> AuthorizationView:
        self._begin("authorization_read")
        found = self.authorizations[url]
        if found.status == "pending" and any(item.status == "processing" for item in found.challenges):
            self._polls[url] += 1
            if self._polls[url] > self.pending_reads:
                found = self._judge(found)
        self.authorizations[url] = found
        return self._end("authorization_read", replace(found, retry_at=self.retry_at))

    def authorization_deactivate(self, url: str) -> None:
        self._begin("authorization_deactivate")
        self.deactivated.append(url)
        self.authorizations[url] = replace(self.authorizations[url], status="deactivated")
        self._end("authorization_deactivate", None)

    def challenge_answer(self, url: str) -> None:
        self._begin("challenge_answer")
        for key, found in self.authorizations.items():
            challenges = tuple(
                replace(item, status="processing") if item.url == url else item for item in found.challenges
            )
            self.authorizations[key] = replace(found, challenges=challenges)
        self._end("challenge_answer", None)

    def certificate_read(self, url: str, *, alternates: bool = False) -> Chains:
        self._begin("certificate_read")
        chain = self.issued[-1].public_bytes(Encoding.PEM) + self._root.pem.encode()
        return self._end("certificate_read", Chains(chain))

    def key_authorization(self, token: str) -> str:
        return f"{token}.thumbprint"

    def lose(self, url: str) -> None:
        del self.orders[url]

    def _order(self, url: str) -> OrderView:
        if url not in self.orders:
            raise failure(
                Problem(code="malformed", status=404, detail="no such order", document={"status": 404}), self.label
            )
        return self.orders[url]

    def _judge(self, found: AuthorizationView) -> AuthorizationView:
        verdict, error = self.verdict, None
        if verdict != "valid":
            document = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": "the answer was wrong"}
            error = Problem.from_document(document)
        for item in found.challenges:
            if item.status == "processing" and item.type in self.verdicts:
                verdict, error = "invalid", self.verdicts[item.type]
        challenges = tuple(
            replace(item, status=verdict, error=error) if item.status == "processing" else item
            for item in found.challenges
        )
        return replace(found, status=verdict, challenges=challenges)

    def _sign(self, csr: x509.CertificateSigningRequest, names: list[str]) -> x509.Certificate:
        now = datetime.now(UTC).replace(microsecond=0)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._root.certificate.subject)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=90))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._root.key.public_key()),  # type: ignore[arg-type]
                critical=False,
            )
            .sign(self._root.key, hashes.SHA256())
        )

    def _begin(self, method: str) -> None:
        self.calls[method] += 1
        if self.fail.get(method):
            raise self.fail[method].pop(0)

    def _end(self, method: str, result: Any) -> Any:
        if method in self.on:
            self.on[method]()
        return result
