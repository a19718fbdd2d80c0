"""What the front serves at the public URL: looked at from outside, since the portal's own listener says nothing of it.

A look is taken by the tick and by the page. What could not be looked at is "could not check" with its reason, and keeps
what was seen before; a look at another public URL is no look at this one.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from certs.domain.certinfo import certificate_info, covers
from certs.domain.errors import Unavailable
from certs.domain.hsts import Answering
from certs.models import Certificate, CertificateVersion, PortalState
from certs.selectors import Shown
from certs.services.addresses import public_url
from certs.services.front import front_is_on
from certs.services.portal_state import state_get, state_update
from certs.services.reachability import CHALLENGE_PATH, probe_answer, probe_token
from certs.services.trust import browser_warning, roots_file
from certs.transports.front import Look, look
from portal import clock


@dataclass(frozen=True)
class Seen:
    """The last certificate that was seen at `origin`, and how the last look went.

    `trouble` is why the last look saw nothing, "" where it did. `distrust` is why a browser would warn. `reaches` tells
    whether the portal itself answers there; `answer` what came instead. `own_hsts` is what the front sends by itself.
    """

    origin: str
    tried_at: datetime
    seen_at: datetime | None = None
    trouble: str = ""
    fingerprint: str = ""
    issuer: str = ""
    names: tuple[str, ...] = ()
    not_before: datetime | None = None
    not_after: datetime | None = None
    self_signed: bool = False
    distrust: str = ""
    reaches: bool = False
    answer: str = ""
    own_hsts: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        return urlsplit(self.origin).hostname or ""

    @property
    def answering(self) -> Answering | None:
        if self.not_before is None or self.not_after is None:
            return None
        return Answering(self.self_signed, self.not_before, self.not_after, covers(self.names, self.host))


def front_look() -> Seen | None:
    """Look now, and remember it (network). None where the public URL is no https:// address."""
    origin = public_url()
    parts = urlsplit(origin)
    if parts.scheme != "https" or not parts.hostname:
        return None
    moment, before = clock.now(), front_seen()
    token = probe_token()
    try:
        found = look(parts.hostname, parts.port or 443, CHALLENGE_PATH + token, roots_file())
        seen = _seen(origin, moment, found, probe_answer(token) or "")
    except Unavailable as error:
        seen = replace(before or Seen(origin, moment), tried_at=moment, trouble=error.message)
    state_update(front_seen=_to_json(seen))
    return seen


def front_watch() -> None:
    """Called by the tick."""
    if front_is_on():
        front_look()


def front_seen(state: PortalState | None = None) -> Seen | None:
    """The last look at what is the public URL now."""
    stored = (state or state_get()).front_seen
    seen = _from_json(stored) if stored else None
    return seen if seen and seen.origin == public_url() else None


def front_version(seen: Seen) -> CertificateVersion | None:
    """The certificate of ours that the front showed."""
    return CertificateVersion.objects.filter(fingerprint_sha256=seen.fingerprint).select_related("certificate").first()


def front_shown(seen: Seen | None) -> Shown:
    """The colour and the words of what the front serves."""
    if seen is None:
        return Shown("unknown", "could not check: the public URL is no https:// address, or nobody has looked yet")
    if seen.trouble or seen.not_after is None:
        return Shown("unknown", f"could not check. {seen.trouble}")
    kind, words = _bad(seen, seen.not_after) or _good(seen, seen.not_after)
    return Shown(kind, f"seen from this server: {seen.origin} {words}")


def front_serves(seen: Seen | None, certificate: Certificate) -> Shown:
    """The same, of one certificate: whether it is this one."""
    found = front_shown(seen)
    version = front_version(seen) if seen else None
    if seen is None or found.kind == "unknown" or (version and version.certificate_id == certificate.pk):
        return found
    return Shown("warning", f"seen from this server: {seen.origin} serves another certificate; this one is not there")


def _bad(seen: Seen, until: datetime) -> tuple[str, str] | None:
    if until <= clock.now():
        return "danger", f"serves a certificate that expired {until:%d %B %Y}"
    if not covers(seen.names, seen.host):
        return "danger", f"serves a certificate that is not for {seen.host}"
    if seen.distrust:
        return "warning", f"serves a certificate of which browsers warn: {seen.distrust}"
    return None


def _good(seen: Seen, until: datetime) -> tuple[str, str]:
    version = front_version(seen)
    if version is None:
        return "ok", f"serves a certificate of its own, until {until:%d %B %Y}"
    if version.certificate.current_id != version.pk:
        return "warning", f"still serves an earlier version of {version.certificate.name}"
    return "ok", f"serves {version.certificate.name}"


def browser_warning_at(host: str, version: CertificateVersion | None) -> str:
    """As `trust.browser_warning`; at the public URL behind a front, of what the last look at that showed."""
    if not front_is_on() or host != urlsplit(public_url()).hostname:
        return browser_warning(version, host)
    seen = front_seen()
    return f"Your browser will warn: {seen.distrust}." if seen and seen.distrust else ""


def front_obstacles(seen: Seen | None) -> list[str]:
    """What stands against the portal's own HSTS header behind a front, besides the certificate."""
    if seen is None or seen.seen_at is None:
        why = f" {seen.trouble}" if seen and seen.trouble else ""
        return [f"What the front serves could not be checked.{why}"]
    found = []
    if seen.own_hsts:
        found.append(
            f"The front sends an HSTS header of its own ({'; '.join(seen.own_hsts)}); two would contradict each other."
        )
    if not seen.reaches:
        found.append(f"The portal does not answer at {seen.origin}. {seen.answer}")
    return found


def _seen(origin: str, moment: datetime, found: Look, answer: str) -> Seen:
    info = certificate_info(found.leaf)
    reaches = found.status == 200 and found.body.strip() == answer
    other = found.trouble or f"Something else answers, with status {found.status}."
    return Seen(
        origin=origin,
        tried_at=moment,
        seen_at=moment,
        fingerprint=info.fingerprint_sha256,
        issuer=info.issuer,
        names=tuple(info.names),
        not_before=info.not_before,
        not_after=info.not_after,
        self_signed=info.self_signed,
        distrust=found.distrust,
        reaches=reaches,
        answer="" if reaches else other,
        own_hsts=found.hsts,
    )


_MOMENTS = ("tried_at", "seen_at", "not_before", "not_after")


def _to_json(seen: Seen) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(seen).items()}


def _from_json(stored: Mapping[str, Any]) -> Seen:
    moments = {name: datetime.fromisoformat(stored[name]) for name in _MOMENTS if stored[name]}
    lists = {name: tuple(stored[name]) for name in ("names", "own_hsts")}
    return Seen(**{**stored, **moments, **lists})
