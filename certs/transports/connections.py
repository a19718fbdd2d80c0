"""Connections to addresses that were judged, within a time, and bodies within a size: what `requests` is given."""

import math
import socket
import ssl
import time
from functools import lru_cache, partial
from http.client import HTTPException
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, SSLError
from urllib3.util import Retry

from certs.domain.addresses import address_shown
from certs.domain.errors import Unavailable
from certs.domain.urls import url_split
from certs.transports.line import ADDRESS_SECONDS, Found, Line, resolve
from certs.transports.outbound_errors import (
    PROXY_WANTS_LOGIN,
    TUNNEL_REFUSAL,
    proxy_of,
    proxy_refuses,
    proxy_trouble,
)
from certs.transports.roots import own_pem, roots_load, system_file

ANSWER_BYTES = 1 << 20
_CHUNK = 64 << 10
_SHOWN = 100  # characters of a name in somebody else's certificate


def trust_context(ca_bundle: str = "") -> ssl.SSLContext:
    """The system's roots and the operator's (BINDERY_CA_BUNDLE), and besides them those of `ca_bundle` (PEM).

    Raises InputError for an unusable bundle.
    """
    return _trust_context(own_pem(), ca_bundle)


@lru_cache(maxsize=32)
def _trust_context(*bundles: str) -> ssl.SSLContext:
    """Shared by all connections: loading the roots again for each costs 20 ms of CPU."""
    context = ssl.create_default_context()
    context.sslsocket_class = _TlsSocket
    # What was given to be trusted need not be a root, as with curl; and Python 3.13 refuses roots of companies for
    # flaws that no browser minds.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not context.cert_store_stats()["x509_ca"]:
        context.load_verify_locations(system_file())  # a system that has a directory only, or no store of its own
    for bundle in bundles:
        if bundle.strip():
            roots_load(context, bundle)
    return context


@lru_cache(maxsize=1)
def any_certificate() -> ssl.SSLContext:
    """For probes that ask what answers, not who: a CA does not look at certificates behind redirects either."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = _TlsSocket
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Adapter(HTTPAdapter):
    """For a requests session: connections that keep to `line`, and bodies of `limit` bytes at most.

    `seconds` bound each request with its retries, from the resolver to the last byte of the body; where None,
    `line.until` is set by the caller. `retries` are those of GET and HEAD. Raises Unavailable, InputError besides
    requests' own.
    """

    def __init__(
        self,
        line: Line,
        trust: ssl.SSLContext,
        *,
        retries: int = 0,
        seconds: float | None = None,
        limit: int = ANSWER_BYTES,
        whole: bool = True,
    ) -> None:
        self._line, self._trust = line, trust
        self._seconds, self._limit, self._whole = seconds, limit, whole
        self._pools: Any = {
            "http": partial(_pool, HTTPConnectionPool, partial(_Plain, line=line)),
            "https": partial(_pool, HTTPSConnectionPool, partial(_Tls, line=line)),
        }
        super().__init__(
            max_retries=Retry(
                total=retries,
                connect=min(retries, 1),
                status=0,
                redirect=0,
                allowed_methods={"GET", "HEAD"},
                backoff_factor=0.2,
                raise_on_status=False,
                respect_retry_after_header=False,
            )
        )

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._trust, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self._trust, proxy_ssl_context=self._trust, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        return host, {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        conn.cert_reqs = self._trust.verify_mode

    def send(self, request: Any, stream: bool = False, *args: Any, **kwargs: Any) -> requests.Response:
        if self._seconds is not None:
            self._line.until = time.monotonic() + self._seconds
        response = super().send(request, True, *args, **kwargs)
        try:
            said = f"{response.status_code} {response.reason}"
            if said.startswith(PROXY_WANTS_LOGIN) and kwargs.get("proxies"):  # to an http:// address: no tunnel
                parts = url_split(request.url)
                raise proxy_refuses(proxy_of(parts.scheme), said, parts.netloc)
            self._read(response)
        except BaseException:
            response.close()
            raise
        return response

    def _read(self, response: requests.Response) -> None:
        parts, size = [], 0
        for chunk in response.iter_content(_CHUNK):
            parts.append(chunk)
            size += len(chunk)
            if size > self._limit:
                if self._whole:
                    host = url_split(response.url).hostname
                    raise Unavailable(f"{host} answers with more than {self._limit} bytes.", code="too-large")
                response.close()
                break
            if time.monotonic() >= self._line.until:
                raise requests.ReadTimeout("the body did not end in time")
        # As `Response.content` does it, which knows no limit.
        response._content = b"".join(parts)[: self._limit]
        response._content_consumed = True  # type: ignore[attr-defined]


def _pool(kind: type[HTTPConnectionPool], connection: Any, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
    made = kind(*args, **kwargs)
    made.ConnectionCls = connection
    return made


class _Connecting(HTTPConnection):
    """Connects to an address that `line` has judged; to a proxy, which the operator chose, without judging."""

    def __init__(self, *args: Any, line: Line, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._line = line

    def _new_conn(self) -> socket.socket:
        line, host, port = self._line, self._dns_host.strip("[]"), self.port or self.default_port
        line.peer = ""
        try:
            seconds = min(line.left(), self.timeout or math.inf)
            until = time.monotonic() + seconds
            if self.proxy is None:
                found = line.addresses(host, port, seconds)
                sock, line.peer = self._open(found, until)
            else:
                sock, _ = self._open(resolve(host, port, seconds), until)
        except (OSError, Unavailable) as error:
            if self.proxy is not None:
                raise proxy_trouble("https" if self._tunnel_host else "http", error) from error
            if isinstance(error, Unavailable):
                raise
            if isinstance(error, TimeoutError):  # what the network itself says so of (ETIMEDOUT), too
                raise ConnectTimeoutError(self, "timed out") from error
            raise NewConnectionError(self, f"{error.strerror or error}") from error
        return sock

    def _tunnel(self) -> None:
        """CONNECT. Nothing was sent to the host behind the proxy where it fails."""
        behind = address_shown(str(self._tunnel_host).strip("[]"), int(self._tunnel_port or 443))
        try:
            super()._tunnel()
        except (OSError, HTTPException) as error:
            if refusal := TUNNEL_REFUSAL.match(str(error)):
                raise proxy_refuses(proxy_of("https"), refusal[1], behind) from error
            raise proxy_trouble("https", error) from error

    def _connect_tls_proxy(self, hostname: str, sock: socket.socket) -> ssl.SSLSocket:
        """urllib3's own step, which its types do not tell of; a test fails when it moves."""
        try:
            return super()._connect_tls_proxy(hostname, sock)  # type: ignore[misc,no-any-return]
        except (OSError, SSLError) as error:
            raise proxy_trouble("https" if self._tunnel_host else "http", error) from error

    def _open(self, found: list[Found], until: float) -> tuple[socket.socket, str]:
        failure: OSError = TimeoutError("timed out")
        for place, (family, type_, protocol, address) in enumerate(found, 1):
            left = until - time.monotonic()
            if left <= 0:
                break
            sock = _Socket(family, type_, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(left if place == len(found) else min(left, ADDRESS_SECONDS))
                sock.connect(address)
                sock.settimeout(max(until - time.monotonic(), 0.001))  # what is left is for the TLS handshake
            except OSError as error:
                failure = error
                sock.close()
                continue
            sock.line = self._line
            return sock, str(address[0])
        raise failure

    def connect(self) -> None:
        super().connect()
        if isinstance(self.sock, _TlsSocket):
            self.sock.line = self._line


class _Plain(_Connecting):
    pass


class _Tls(_Connecting, HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        if self.cert_reqs == ssl.CERT_NONE:
            self.is_verified = True  # else urllib3 warns; whoever chose the context knows


class _Timed(socket.socket):
    """Reads no longer than its line is open, however the other side spaces its bytes."""

    line: Line | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self.line is not None:
            left = self.line.left()
            if left < (self.gettimeout() or math.inf):
                self.settimeout(left)
        return super().recv_into(*args, **kwargs)


class _Socket(_Timed):
    pass


class _TlsSocket(_Timed, ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except ssl.SSLCertVerificationError as error:
            # The chain that was refused: only this object of CPython still knows it.
            chain = getattr(self._sslobj, "get_unverified_chain", list)() or [None]  # type: ignore[attr-defined]
            error.issuer = _issuer(chain[0])  # type: ignore[attr-defined]
            raise


def _issuer(certificate: Any) -> str:
    """The issuer of what CPython's ssl holds as a certificate, for a sentence; "" where it cannot be told."""
    told = certificate.get_info().get("issuer", ()) if hasattr(certificate, "get_info") else ()
    words = {kind: value for part in told for kind, value in part}
    names = [words[kind] for kind in ("commonName", "organizationName") if words.get(kind)]
    shown = "".join(letter if letter.isprintable() else " " for letter in ", ".join(dict.fromkeys(names)))
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
