"""The simulated CA behind the session of our own flow, and behind the questions for windows (ARI)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from cryptography import x509

from certs.acme.client import AuthorizationView, OrderView
from certs.acme.directories import KNOWN
from certs.acme.renewal_info import NoRenewalInfo, RenewalInfo
from certs.domain.certinfo import certificate_info
from certs.domain.errors import AcmeRetry
from portal import clock
from tests.acme.fake_ca import FakeCa
from tests.harness import pki
from tests.simulation.world import ARI_RETRY, BACKDATED, DAY, LimitedCa, Tally, Window

STAGING = KNOWN["letsencrypt-staging"].url


def domains(names: list[str]) -> set[str]:
    return {".".join(name.split(".")[-2:]) for name in names}


@dataclass
class SimulatedSession(FakeCa):
    """At its staging directory it judges names in the same way, but neither limits nor is it ever down."""

    world: LimitedCa = field(kw_only=True)
    lives: dict[str, timedelta] = field(kw_only=True)  # by the first name
    broken_until: dict[str, datetime] = field(kw_only=True)  # by name
    tallies: dict[timedelta, Tally] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_staging = False
        self.windows: dict[str, tuple[datetime, timedelta]] = {}  # ARI id: notBefore and life
        self.latest: dict[frozenset[str], datetime] = {}  # notAfter of the newest of a set
        self._exempt: dict[str, bool] = {}

    @contextmanager
    def session(self, account: Any) -> Iterator["FakeCa"]:
        self.at_staging = account.directory_url == STAGING
        yield self

    def _begin(self, method: str) -> None:
        super()._begin(method)
        if not self.at_staging and self.world.is_down(clock.now()):
            self.world.counts["unanswered"] += 1
            raise AcmeRetry("The CA does not answer.", code="acme-unreachable")

    def order_new(self, names: list[str], *, replaces: str = "", **rest: Any) -> OrderView:
        now, window = clock.now(), self.window(replaces)
        order = super().order_new(names, replaces=replaces, **rest)
        if not self.at_staging:
            if not self.world.accepts(now, names, domains(names), window):
                raise AcmeRetry("Too many.", code="acme-rateLimited")
            self.tallies[self.lives[names[0]]].orders += 1
            self._exempt[order.url] = window is not None and window.start <= now < window.end
        return order

    def order_finalize(self, url: str, finalize_url: str, csr_pem: str) -> OrderView:
        names = list(self._order(url).names)
        view = super().order_finalize(url, finalize_url, csr_pem)
        if not self.at_staging:
            self.world.issues(clock.now(), names, domains(names), exempt=self._exempt.pop(url))
            self._note(names)
        return view

    def certificate_read(self, url: str, **options: Any) -> Any:
        chains = super().certificate_read(url, **options)
        self.orders.clear()  # one order at a time, and this one is done
        self.authorizations.clear()
        return chains

    def window(self, ari_id: str) -> Window | None:
        if ari_id not in self.windows:
            return None
        not_before, life = self.windows[ari_id]
        return self.world.window(not_before, life, clock.now())

    def _judge(self, found: AuthorizationView) -> AuthorizationView:
        now = clock.now()
        broken = now < self.broken_until.get(found.name, now) or self.world.is_broken()
        self.verdict = "invalid" if broken else "valid"
        if broken and not self.at_staging:
            self.world.fails(now, found.name)
            life = next(life for name, life in self.lives.items() if found.name.endswith(name))
            self.tallies[life].failures += 1
        return super()._judge(found)

    def _sign(self, csr: x509.CertificateSigningRequest, names: list[str]) -> x509.Certificate:
        life, start = self.lives[names[0]], clock.now().replace(microsecond=0) - BACKDATED
        return pki.certificate(
            self._root,
            names,
            csr.public_key(),  # type: ignore[arg-type]  # an EC key
            days=life / DAY,
            start=start,
        )

    def _note(self, names: list[str]) -> None:
        info = certificate_info(self.issued[-1])
        life = self.lives[names[0]]
        self.windows[info.ari_id] = (info.not_before, life)
        before = self.latest.get(frozenset(names))
        if before is not None:
            self.tallies[life].renewed(before - clock.now())
        self.latest[frozenset(names)] = info.not_after


class SimulatedReader:
    """In place of `RenewalInfoReader`."""

    def __init__(self, ca: SimulatedSession) -> None:
        self._ca = ca

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def read(self, ari_id: str, now: datetime) -> RenewalInfo | NoRenewalInfo:
        window = self._ca.window(ari_id)
        if self._ca.world.is_down(now) or window is None:
            return NoRenewalInfo("The CA does not answer.", now + timedelta(hours=1), directory_wide=True)
        return RenewalInfo(window.start, window.end, "", now + ARI_RETRY)
