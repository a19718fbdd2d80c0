"""Does http://NAME/.well-known/acme-challenge/… reach this portal? Asked the way a CA asks, before it does.

A probe token carries its own proof (HMAC with the secret key that all nodes share), so any node answers it and nothing
is stored. What we see is one vantage point, named in the result: a CA sees us from elsewhere.

Inside a network a name often has a private address (split-horizon DNS). Then a probe tells only whether the portal
answers there: what else answers, or that nothing does, is told where the operator has permitted private addresses.
"""

import secrets
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from urllib.parse import urljoin

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import constant_time_compare, salted_hmac

from certs.domain.destinations import address_is_public
from certs.domain.errors import InputError, Unavailable
from certs.domain.names import is_address
from certs.domain.urls import url_split
from certs.models import AcmeAccount
from certs.services.addresses import url_make
from certs.transports import outbound
from certs.transports.connections import any_certificate
from certs.transports.dns import Resolver
from certs.transports.dns_answers import values_of
from certs.transports.line import PROBE

VANTAGE = "this server, through its DNS"
CHALLENGE_PATH = "/.well-known/acme-challenge/"
_PREFIX = "bindery-probe-"
_VALID_SECONDS = 300
_TIMEOUT = 4.0  # seconds for each answer
_ALL_SECONDS = 12.0
_REDIRECTS = 10  # as many as Boulder follows
_FIRST_BYTES = 300
_SHOWN = 80  # characters of a Server header
_REDIRECT_PORTS = (80, 443)  # letsencrypt.org/docs/challenge-types: a redirect to any other is refused

OK = "ok"
OTHER = "other"
NO_CONNECTION = "no-connection"
NO_ADDRESS = "no-address"


_REASONS = {
    "timeout": f"No answer within {_TIMEOUT:g} seconds: a firewall may drop the connection.",
    "refused": "Connection refused: nothing listens there.",
    "cut": "The connection was cut before an answer came.",
    "tls": "A redirect leads to https, where no TLS connection could be made.",
    "not-http": "What answers there does not speak HTTP.",
    "unreachable": "No connection: that address cannot be reached from here.",
}


@dataclass(frozen=True)
class Hop:
    """One question on the way; `location` is where it was sent on to, "" at the end."""

    url: str
    address: str
    status: int
    server: str = ""
    location: str = ""


@dataclass(frozen=True)
class ReachResult:
    """`status`, `server` (its own header) and `seen` (first characters) tell what answered instead of us; 0 and ""
    where nothing did. `hops` are the questions that had an answer."""

    name: str
    outcome: str
    url: str
    detail: str
    status: int = 0
    seen: str = ""
    addresses: list[str] = field(default_factory=list)
    vantage: str = VANTAGE
    last: str = ""  # where redirects led
    server: str = ""
    hops: tuple[Hop, ...] = ()

    @property
    def ok(self) -> bool:
        return self.outcome == OK


def probe_token() -> str:
    body = f"{int(time.time()):x}-{secrets.token_hex(8)}"
    return f"{_PREFIX}{body}-{_mac('token', body)}"


def probe_answer(token: str) -> str | None:
    """The text to answer a probe with; None for a token that no node of this portal made in the last minutes."""
    body, _, mac = token.removeprefix(_PREFIX).rpartition("-")
    if not token.startswith(_PREFIX) or not constant_time_compare(mac, _mac("token", body)):
        return None
    # Real time: the far side of a probe is a socket, not a decision.
    age = time.time() - int(body.split("-")[0], 16)
    if not -_VALID_SECONDS <= age <= _VALID_SECONDS:
        return None
    # Not the token itself: a server that echoes paths would pass for us.
    return f"{_PREFIX}{_mac('answer', token)}"


def reach_probe(name: str, *, address: str = "", allow_private: bool = False, scheme: str = "http") -> ReachResult:
    """Ask for a probe under that name as a CA would: port 80, redirects followed to ports that a CA follows to,
    certificates not checked.

    At `address` only where it is given, else at any that this server's DNS gives. With `scheme` https it is asked where
    a redirect could lead.
    """
    token = probe_token()
    url = probe_base(name, scheme) + CHALLENGE_PATH + token
    addresses = [address] if address else addresses_seen(name)
    if settings.DNS_RESOLVERS and addresses:
        address = addresses[0]  # what the system's resolver says is not asked for
    if not addresses:
        return ReachResult(name, NO_ADDRESS, url, f"{name} has no address in DNS, as far as this server can see.")
    inside = not all(address_is_public(each) for each in addresses)
    own = name if inside else ""
    result = _probe(ReachResult(name, OTHER, url, "", addresses=addresses), token, address, own, allow_private)
    if not inside or allow_private or result.ok:
        return result
    place = ", ".join(addresses)
    detail = (
        f"The portal does not answer at {place}, which is not on the Internet: a CA on the Internet asks elsewhere."
    )
    return ReachResult(name, NO_CONNECTION, url, detail, addresses=addresses)


def probe_base(host: str, scheme: str = "http") -> str:
    """scheme://host where a CA asks, or follows a redirect to; with a port under test settings only."""
    return url_make(scheme, host, settings.PROBE_PORT if scheme == "http" else settings.PROBE_TLS_PORT)


def private_allowed() -> bool:
    """Whether the operator has permitted private addresses: for all CAs, or for one that is in use."""
    return settings.ALLOW_PRIVATE_CA or AcmeAccount.objects.filter(allow_private=True, deactivated_at=None).exists()


def reach_probe_all(names: Sequence[str]) -> list[ReachResult]:
    """One result per name, in that order, within `_ALL_SECONDS` altogether."""
    private = private_allowed()
    # Not a `with` block: leaving it would wait for a resolver that hangs.
    pool = ThreadPoolExecutor(max_workers=min(16, len(names) or 1), thread_name_prefix="reach")
    futures = {name: pool.submit(reach_probe, name, allow_private=private) for name in names}
    wait(futures.values(), timeout=_ALL_SECONDS)
    pool.shutdown(wait=False, cancel_futures=True)
    return [
        future.result() if future.done() and not future.cancelled() else _unanswered(name)
        for name, future in futures.items()
    ]


def _probe(asked: ReachResult, token: str, address: str, own: str, allow_private: bool) -> ReachResult:
    """`own` is a host that may be asked at a private address all the same."""
    url, hops = asked.url, []
    try:
        for _ in range(_REDIRECTS + 1):
            answer = outbound.fetch(
                url,
                purpose=PROBE,
                version=settings.VERSION,
                plain_http=True,
                allow_private=allow_private or url_split(url).hostname == own,
                address=_at(url_split(url).hostname or "", asked, address),
                proxied=False,  # it is about the way here, not about the proxy's
                limit=_FIRST_BYTES,
                whole=False,
                seconds=_TIMEOUT,
                # Like a CA: the point of a redirect is the path behind it, and its certificate may be the expired one.
                trust=any_certificate(),
            )
            target = answer.headers.get("Location", "") if answer.status in outbound.REDIRECTS else ""
            server = _printable(answer.headers.get("Server", ""))[:_SHOWN]
            hops.append(Hop(_shown(url, token), answer.address, answer.status, server, _shown(target, token)))
            asked = replace(asked, hops=tuple(hops), status=answer.status, server=server)
            if not target:
                return _seen(asked, token, answer)
            url = urljoin(url, target)
            if refused := _not_followed(url, token):
                return replace(asked, detail=refused, last=_printable(url))
    except InputError as error:
        detail = f"A redirect leads to {_shown(url, token)}, which cannot be asked: {error.message}"
        return replace(asked, outcome=NO_CONNECTION, detail=detail)
    except ValueError:
        return replace(asked, outcome=NO_CONNECTION, detail="A redirect leads to what is no web address.")
    except Unavailable as error:
        reason = _REASONS.get(error.code, error.message)
        via = f"After a redirect to {_shown(url, token)}: " if hops else ""
        return replace(asked, outcome=NO_CONNECTION, detail=via + reason)
    return replace(asked, detail=f"It redirects more than {_REDIRECTS} times.")


def _at(host: str, asked: ReachResult, address: str) -> str:
    """Where to connect to for a hop. What the system's resolver says is not asked for where others are set."""
    if host == url_split(asked.url).hostname:
        return address
    if not settings.DNS_RESOLVERS or is_address(host):
        return ""
    return next(iter(addresses_seen(host)), "")


def _not_followed(url: str, token: str) -> str:
    """Why a CA would not go there, or would find nothing; raises ValueError where it is no address."""
    parts = url_split(url)
    port = parts.port or {"http": settings.PROBE_PORT, "https": settings.PROBE_TLS_PORT}.get(parts.scheme, 80)
    if port not in {*_REDIRECT_PORTS, settings.PROBE_PORT, settings.PROBE_TLS_PORT}:
        return f"A redirect leads to port {port} ({_shown(url, token)}): CAs follow one to the ports 80 and 443 only."
    if token not in url:
        return f"A redirect to {_printable(url)} drops the path: what stands behind {CHALLENGE_PATH} must stay."
    return ""


def _seen(asked: ReachResult, token: str, answer: outbound.Answer) -> ReachResult:
    last = answer.url if answer.url != asked.url else ""
    if answer.status == 200 and constant_time_compare(answer.text.strip(), probe_answer(token) or ""):
        return replace(asked, outcome=OK, detail="The portal answers.", last=last)
    via = f" after a redirect to {_shown(last, token)}" if last else ""
    own = f", {asked.server}" if asked.server else ""
    detail = f"Something else answers{via}: status {answer.status}{own}."
    return replace(asked, detail=detail, seen=_printable(answer.text), last=last)


def addresses_seen(name: str) -> list[str]:
    """As the system does; by the resolvers of the settings where there are any, as a look before the order does."""
    if settings.DNS_RESOLVERS:
        return _resolve_as_set(name)
    try:
        found = socket.getaddrinfo(name, settings.PROBE_PORT, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _resolve_as_set(name: str) -> list[str]:
    resolver = Resolver(tuple(settings.DNS_RESOLVERS), tuple(settings.DNS_AUTHORITIES), _TIMEOUT)
    try:
        ipv4, ipv6 = resolver.addresses(name)
        if ipv4.said or ipv6.said:
            return [*ipv6.values, *ipv4.values]
        return list(values_of(resolver.instead(name, "AAAA", "A")))
    except (Unavailable, InputError):
        return []


def _unanswered(name: str) -> ReachResult:
    url = probe_base(name) + CHALLENGE_PATH
    return ReachResult(name, NO_CONNECTION, url, f"No result within {_ALL_SECONDS:g} seconds.")


def _shown(url: str, token: str) -> str:
    """Of the token its beginning: all of it says nothing to a person, and lives five minutes."""
    return _printable(url.replace(token, f"{token[:22]}…"))


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _mac(purpose: str, text: str) -> str:
    """Raises Unavailable where the secret key is missing: only the doctor gets here then."""
    try:
        return salted_hmac(f"certs.reachability.{purpose}", text, algorithm="sha256").hexdigest()[:40]
    except ImproperlyConfigured as error:
        raise Unavailable(
            "Without the secret key nobody can tell what answers as this portal.",
            advice="Put the saved copy of the secret key back.",
        ) from error
