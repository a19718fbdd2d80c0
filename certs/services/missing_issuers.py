"""Completing a chain: from our own authorities, and from where a certificate says that its issuer is (AIA)."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from django.db import transaction

from certs.domain.bundle import bundle_read
from certs.domain.bundle_items import GivenFile, Item, ItemKind, Remark
from certs.domain.bundle_order import by_subject, item_judge
from certs.domain.certinfo import is_issued_by, issuer_urls
from certs.domain.errors import BinderyError
from certs.domain.pem import Chain, certificate_from_der, roots_of
from certs.domain.roles import Right
from certs.models import Authority
from certs.services.access import Actor, needs
from certs.services.events import audit_record
from certs.services.portal_state import state_get, state_lock, state_update
from certs.transports.line import AIA
from certs.transports.outbound import fetch
from certs.transports.roots import roots_pem
from portal import clock

DEPTH = 4  # issuers of one chain
SECONDS, ALL_SECONDS = 5.0, 15.0  # of one answer, and of all for one upload
BYTES = 64 * 1024
_URLS = 2  # of one certificate


@needs(Right.SETTING)
def fetch_issuers_change(*, on: bool, actor: Actor) -> bool:
    """Whether missing issuers may be fetched from the Internet. False where it was so already."""
    with transaction.atomic():
        before = state_lock().fetch_issuers
        if before == on:
            return False
        state_update(fetch_issuers=on)
        audit_record(actor, "issuers.fetch", before={"on": before}, after={"on": on})
    return True


def roots_known() -> tuple[x509.Certificate, ...]:
    """What this machine trusts: the system's roots, and those that the operator added."""
    return _roots(roots_pem())


_roots = lru_cache(maxsize=2)(roots_of)


@dataclass
class Completion:
    """Of the chains of one upload or job: what was fetched once is not fetched again, and all of it ends in time."""

    fetching: bool
    left: float = ALL_SECONDS
    answers: dict[str, tuple[x509.Certificate, ...]] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    roots: dict[x509.Name, list[x509.Certificate]] = field(default_factory=lambda: by_subject(roots_known()))

    def complete(self, item: Item, *, now: datetime) -> Item:
        """The item with as much of its chain as could be found; a remark tells what came from where."""
        for _ in range(DEPTH):
            top = item.top
            if not item.missing or top is None or item.chain is None:
                break
            step = self._step(top)
            if step is None:
                return self._explained(item, top)
            issuer, source = step
            remark = Remark("completed", f"The certificate of “{item.missing}” was added {source}.")
            longer = replace(item, chain=_extended(item.chain, issuer), remarks=(*item.remarks, remark))
            item = self._judged(longer, now)
        return item

    def completed(self, chain: Chain) -> tuple[Chain, str]:
        """The same for a chain alone, and the name of the issuer that is still missing; "" where it is whole."""
        now = clock.now()
        item = self.complete(self._judged(Item(ItemKind.TRUST, chain), now), now=now)
        return item.chain or chain, item.missing

    def _judged(self, item: Item, now: datetime) -> Item:
        return item_judge(item, now, lambda name: self.roots.get(name, []))

    def _step(self, top: x509.Certificate) -> tuple[x509.Certificate, str] | None:
        """The issuer, proven by its signature, and where it is from."""
        for candidate in _own(top.issuer):
            if is_issued_by(top, candidate):
                return candidate, "from our own authorities"
        for url in issuer_urls(top)[:_URLS] if self.fetching else ():
            for candidate in self._fetched(url):
                if is_issued_by(top, candidate):
                    return candidate, f"from {url}"
        return None

    def _fetched(self, url: str) -> tuple[x509.Certificate, ...]:
        if url not in self.answers:
            self.answers[url] = ()
            if self.left <= 0:
                self.troubles[url] = "there was no time left"
                return ()
            begun, seconds = time.monotonic(), min(SECONDS, self.left)
            try:
                answer = fetch(url, purpose=AIA, plain_http=True, redirects=2, limit=BYTES, seconds=seconds)
                if not answer.ok:
                    self.troubles[url] = f"{url} answers {answer.status}"
                    return ()
                self.answers[url] = tuple(_certificates(answer.body))
            except BinderyError as error:
                self.troubles[url] = error.message
            finally:
                self.left -= time.monotonic() - begun
        return self.answers[url]

    def _explained(self, item: Item, top: x509.Certificate) -> Item:
        reasons = [self.troubles[url] for url in issuer_urls(top)[:_URLS] if url in self.troubles]
        if not reasons:
            return item
        remark = Remark("not-fetched", f"It could not be fetched: {'; '.join(reasons).rstrip('.')}.")
        return replace(item, remarks=(*item.remarks, remark))


def completion() -> Completion:
    return Completion(fetching=state_get().fetch_issuers)


def _own(name: x509.Name) -> Iterator[x509.Certificate]:
    rows = Authority.objects.filter(
        certificate__current__subject=name.rfc4514_string()[:500], certificate__deleted_at=None
    )
    for row in rows.select_related("certificate__current")[:10]:
        if row.certificate.current is not None:
            yield row.certificate.current.leaf


def _certificates(body: bytes) -> Sequence[x509.Certificate]:
    """DER (RFC 5280 §4.2.2.1), PKCS#7 (RFC 5652) or, as some CAs do it, PEM. Raises BinderyError."""
    if body[:1] == b"\x30":
        with suppress(BinderyError):
            return [certificate_from_der(body)]
    found = bundle_read([GivenFile("answer", body)], now=clock.now())
    chains = [item.chain for item in found.items if item.chain]
    return [each for chain in chains for each in (chain.leaf, *chain.intermediates, chain.root) if each is not None]


def _extended(chain: Chain, issuer: x509.Certificate) -> Chain:
    if is_issued_by(issuer, issuer):
        return replace(chain, root=issuer)
    return replace(chain, intermediates=(*chain.intermediates, issuer))
