"""HSTS without locking anybody out: the steps of the ramp, what must hold first, and when a step is earned.

A browser that has seen `max-age` refuses plain HTTP and any certificate it does not trust, on every port of the host
(RFC 6797 §8.3), until that many seconds have passed. So each step is earned by a day of healthy checks.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from certs.domain.names import is_address

HEALTHY_FOR = timedelta(days=1)
# Checks run every few minutes. A longer silence is no proof of health, so the day begins again after it.
GAP = timedelta(hours=1)


@dataclass(frozen=True)
class Step:
    label: str
    seconds: int


STEPS = (
    Step("5 minutes", 300),
    Step("1 hour", 3600),
    Step("1 day", 86_400),
    Step("1 year", 31_536_000),
)
LAST = len(STEPS) - 1
ONE_DAY = 2  # the highest step for a CA outside public trust


@dataclass(frozen=True)
class Answering:
    """What answers HTTPS for a host, as far as a browser would judge it."""

    self_signed: bool
    not_before: datetime  # aware, UTC
    not_after: datetime
    covers_host: bool


@dataclass(frozen=True)
class Situation:
    """`https_port` and `http_port` are those a browser uses; `http_port` is 0 where nothing proves one."""

    host: str
    https_port: int
    http_port: int
    answering: Answering | None  # None: nothing but the placeholder


def obstacles(situation: Situation, now: datetime) -> list[str]:
    """Why HSTS may not be sent for this host: one sentence each; empty when nothing stands against it."""
    return host_obstacles(situation.host) + port_obstacles(situation) + certificate_obstacles(situation, now)


def host_obstacles(host: str) -> list[str]:
    if not host:
        return ["The public URL is not an https:// address yet."]
    if is_address(host):
        return [f"{host} is an IP address; browsers keep HSTS for names only."]
    if "." not in host:
        return [f"{host} is not a full DNS name."]
    return []


def port_obstacles(situation: Situation) -> list[str]:
    found = []
    if situation.https_port != 443:
        found.append(
            f"HTTPS is on port {situation.https_port}; browsers would look for it on 443, since HSTS sends "
            f"http://{situation.host} to port 443."
        )
    if situation.http_port != 80:
        found.append(
            f"Plain HTTP is on port {situation.http_port}; HSTS would turn http://{situation.host}:"
            f"{situation.http_port} into https on that same port."
            if situation.http_port
            else f"Nothing shows that http://{situation.host} on port 80 reaches this portal."
        )
    return found


def certificate_obstacles(situation: Situation, now: datetime) -> list[str]:
    answering = situation.answering
    if answering is None:
        return ["Only the placeholder certificate answers; no browser trusts it."]
    found = []
    if answering.self_signed:
        found.append("The certificate is self-signed; with HSTS nobody could pass the browser's warning.")
    if now > answering.not_after:
        found.append(f"The certificate expired on {answering.not_after:%d %B %Y}.")
    if now < answering.not_before:
        found.append(f"The certificate is not valid before {answering.not_before:%d %B %Y}.")
    if not answering.covers_host:
        found.append(f"The certificate is not for {situation.host}.")
    return found


def step_limit(*, public: bool) -> int:
    return LAST if public else ONE_DAY


def day_restarts(last_healthy: datetime | None, now: datetime) -> bool:
    """Whether a healthy check begins a new day: it is the first, or the one before is too long ago."""
    return last_healthy is None or now - last_healthy > GAP


def step_is_earned(step: int, limit: int, since: datetime | None, now: datetime) -> bool:
    """`since`: from when on every check was healthy at this step."""
    return step < min(limit, LAST) and since is not None and now - since >= HEALTHY_FOR


def header_value(seconds: int) -> str:
    """Without includeSubDomains and preload: other hosts are not ours to decide."""
    return f"max-age={seconds}"
