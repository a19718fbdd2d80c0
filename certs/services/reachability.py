"""Does http://NAME/.well-known/acme-challenge/… reach this portal? Asked the way a CA asks, before it does.

A probe token carries its own proof (HMAC with the secret key that all nodes share), so any node answers it and nothing
is stored. What we see is one vantage point, named in the result: a CA sees us from elsewhere.
"""

import secrets
import socket
import ssl
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, urljoin, urlsplit

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

from certs.services.addresses import url_make

VANTAGE = "this server, through its DNS"
CHALLENGE_PATH = "/.well-known/acme-challenge/"
_PREFIX = "bindery-probe-"
_VALID_SECONDS = 300
_TIMEOUT = 4.0  # seconds to connect, and between two bytes
_ALL_SECONDS = 12.0
_REDIRECTS = 10  # as many as Boulder follows
_FIRST_BYTES = 300

OK = "ok"
OTHER = "other"
NO_CONNECTION = "no-connection"
NO_ADDRESS = "no-address"


class _NoWebAddress(ValueError):
    """The text is for the person."""


_NO_REASON = "The connection failed before an answer came."
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, f"No answer within {_TIMEOUT:g} seconds: a firewall may drop the connection."),
    (ConnectionRefusedError, "Connection refused: nothing listens there."),
    (ConnectionError, "The connection was cut before an answer came."),
    (ssl.SSLError, "A redirect leads to https, where no TLS connection could be made."),
    (HTTPException, "What answers there does not speak HTTP."),
    (OSError, "No connection: that address cannot be reached from here."),
)


@dataclass(frozen=True)
class ReachResult:
    """`status` and `seen` (first characters) tell what answered instead of us; 0 and "" where nothing did."""

    name: str
    outcome: str
    url: str
    detail: str
    status: int = 0
    seen: str = ""
    addresses: list[str] = field(default_factory=list)
    vantage: str = VANTAGE

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


def reach_probe(name: str) -> ReachResult:
    """Ask for a probe under that name as a CA would: port 80, redirects followed, certificates not checked."""
    token = probe_token()
    url = url_make("http", name, settings.PROBE_PORT) + CHALLENGE_PATH + token
    addresses = _resolve(name)
    if not addresses:
        return ReachResult(name, NO_ADDRESS, url, f"{name} has no address in DNS, as far as this server can see.")
    try:
        status, body, last = _fetch(url)
    except (OSError, HTTPException, ValueError) as error:
        return ReachResult(name, NO_CONNECTION, url, _reason(error), addresses=addresses)
    if status == 200 and constant_time_compare(body.strip(), probe_answer(token) or ""):
        return ReachResult(name, OK, url, "The portal answers.", status, addresses=addresses)
    via = f" after a redirect to {last}" if last != url else ""
    detail = f"Something else answers{via}: status {status}."
    return ReachResult(name, OTHER, url, detail, status, _printable(body), addresses)


def reach_probe_all(names: Sequence[str]) -> list[ReachResult]:
    """One result per name, in that order, within `_ALL_SECONDS` altogether."""
    # Not a `with` block: leaving it would wait for a resolver that hangs.
    pool = ThreadPoolExecutor(max_workers=min(16, len(names) or 1), thread_name_prefix="reach")
    futures = {name: pool.submit(reach_probe, name) for name in names}
    wait(futures.values(), timeout=_ALL_SECONDS)
    pool.shutdown(wait=False, cancel_futures=True)
    return [
        future.result() if future.done() and not future.cancelled() else _unanswered(name)
        for name, future in futures.items()
    ]


def _fetch(url: str) -> tuple[int, str, str]:
    """Status, first characters and final address. Raises OSError, HTTPException, ValueError."""
    for _ in range(_REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise _NoWebAddress(f"A redirect leads to {_printable(url)}, which is no web address.")
        with closing(_connect(parts)) as connection:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", path, headers={"User-Agent": "Bindery reachability probe"})
            response = connection.getresponse()
            target = response.getheader("Location", "")
            if response.status not in {301, 302, 303, 307, 308} or not target:
                return response.status, response.read(_FIRST_BYTES).decode("utf-8", "replace"), url
            url = urljoin(url, target)
    raise _NoWebAddress(f"It redirects more than {_REDIRECTS} times.")


def _connect(parts: SplitResult) -> HTTPConnection:
    if parts.scheme == "http":
        return HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT)
    # Like a CA: the point of a redirect is the path behind it, and its certificate may well be the expired one.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT, context=context)


def _resolve(name: str) -> list[str]:
    try:
        found = socket.getaddrinfo(name, settings.PROBE_PORT, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _reason(error: Exception) -> str:
    if isinstance(error, _NoWebAddress):
        return str(error)
    return next((sentence for kind, sentence in _REASONS if isinstance(error, kind)), _NO_REASON)


def _unanswered(name: str) -> ReachResult:
    url = url_make("http", name, settings.PROBE_PORT) + CHALLENGE_PATH
    return ReachResult(name, NO_CONNECTION, url, f"No result within {_ALL_SECONDS:g} seconds.")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _mac(purpose: str, text: str) -> str:
    return salted_hmac(f"certs.reachability.{purpose}", text, algorithm="sha256").hexdigest()[:40]
