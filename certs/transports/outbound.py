"""The one way out over HTTP: to CAs, for renewal information, CRLs, issuers' certificates, webhooks and probes.

A name is resolved once, every address found is judged, and the connection is made to an address that was judged: what
a resolver says a second time (DNS rebinding) leads nowhere. Host, SNI and the certificate expected stay those of the
name. Time is bounded from the resolver to the last byte, and so is the body, as it is after decompression.

Where the environment names a proxy (HTTPS_PROXY, HTTP_PROXY, but not for NO_PROXY), that resolves the name and
connects: then only an address that is written in the URL can be judged here. What goes wrong on the way to the proxy
says so, and is not the fault of the host behind it.
"""

import math
import os
import platform
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from http.client import HTTPException, IncompleteRead
from itertools import zip_longest
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import SplitResult, urljoin

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError, SSLError
from urllib3.util import Retry

from certs.domain.addresses import address_shown
from certs.domain.destinations import address_is_public
from certs.domain.errors import InputError, Unavailable
from certs.domain.proxies import Proxy, proxy_for, proxy_named, proxy_parse
from certs.domain.urls import url_split
from certs.transports.roots import own_pem, roots_load, system_file

CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0  # to be connected, TLS included; between two bytes
ADDRESS_SECONDS = 2.0  # for one address while there are others
WHOLE_SECONDS = 30.0
ANSWER_BYTES = 1 << 20
CRL_BYTES = 16 << 20
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK = 64 << 10
_PROXY_WANTS_LOGIN = "407"  # of a proxy only (RFC 9110 §15.5.8)
_ISSUER_UNKNOWN = frozenset(
    {2, 18, 19, 20, 21}
)  # X509_V_ERR_…: what the missing root of an inspecting proxy looks like
_SHOWN = 100  # characters of a name in somebody else's certificate
_REFUSAL = re.compile(r"Tunnel connection failed: (.{1,200})", re.DOTALL)
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")

_Found = tuple[int, int, int, Any]  # family, type, protocol, address as the socket takes it


@dataclass(frozen=True)
class Purpose:
    """`name` is for the User-Agent, `private_advice` says how the operator permits a private address for it."""

    name: str
    private_advice: str


CA = Purpose(
    "acme",
    "If it is your own CA, tick “The directory is on a private address” (allow_private_ca, or --allow-private-ca).",
)
WEBHOOK = Purpose("webhook", "If it is your own server, tick “It may be on a private address”.")
PROBE = Purpose("reachability probe", "Only names that are on the Internet are asked.")
CRL = Purpose("crl", "If it is your own CA, permit private addresses for its account.")
AIA = Purpose("aia", "If it is your own CA, permit private addresses for its account.")


@dataclass(frozen=True)
class Answer:
    """`url` is where it came from in the end; `address` the address connected to, empty behind a proxy."""

    status: int
    headers: Mapping[str, str]  # whatever the case of the names
    body: bytes
    url: str
    address: str = ""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class ProxyTrouble(Unavailable):
    """The proxy did not let us through. Nothing was sent to the host behind it."""

    code = "proxy"


def fetch(
    url: str,
    *,
    purpose: Purpose,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    allow_private: bool = False,
    plain_http: bool = False,
    redirects: int = 0,
    limit: int = ANSWER_BYTES,
    whole: bool = True,
    seconds: float = WHOLE_SECONDS,
    trust: ssl.SSLContext | None = None,
    address: str = "",
    proxied: bool = True,
    version: str = "",
) -> Answer:
    """One request, and as many redirects of a GET or HEAD as allowed; any status is an answer.

    `seconds` are for all of it. A body of more than `limit` bytes is refused, or cut where it need not be `whole`.
    `trust` is the system's roots where None. `address` is connected to instead of resolving the name, at the first hop,
    past any proxy; it is judged the same. `proxied` False goes past it, too. `headers` go to the first origin only.

    Raises InputError (code "private-address" or "url") for what must not be asked, Unavailable (code "host-unknown",
    "unreachable", "timeout", "too-large", "too-many-redirects", "proxy" or one of `_CODES`) for what cannot be had.
    """
    line = Line(purpose, allow_private=allow_private, until=time.monotonic() + seconds, address=address)
    adapter = Adapter(line, trust or trust_context(), limit=limit, whole=whole)
    with requests.Session() as session:
        session.trust_env = False  # neither a .netrc nor a bundle of somebody else's
        session.headers["User-Agent"] = user_agent(purpose, version)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        own = dict(headers or {})
        for _ in range(redirects + 1):
            parts = url_check(url, plain_http=plain_http)
            proxies = proxies_for(url, line) if proxied and not line.address else {}
            response = _ask(session, line, url, seconds, method=method, data=body, headers=own, proxies=proxies)
            target = response.headers.get("Location", "")
            if response.status_code not in REDIRECTS or not target or not redirects or method not in {"GET", "HEAD"}:
                return Answer(response.status_code, response.headers, response.content, url, line.peer)
            url, line.address = urljoin(url, target), ""
            own = own if _origin(url_split(url)) == _origin(parts) else {}
            if parts.scheme == "https" and url_split(url).scheme != "https":
                raise InputError(
                    f"{parts.hostname} redirects from https to {url}.", advice="It must stay on https.", code="url"
                )
    raise Unavailable(f"{parts.hostname} redirects more than {redirects} times.", code="too-many-redirects")


def _ask(session: requests.Session, line: "Line", url: str, seconds: float, **request: Any) -> requests.Response:
    host = url_split(url).hostname
    try:
        return session.request(
            url=url,
            timeout=(min(CONNECT_SECONDS, seconds), min(READ_SECONDS, seconds)),
            allow_redirects=False,
            **request,
        )
    except (requests.RequestException, UnicodeError) as error:
        code = _code(error)
        if code == "timeout" or time.monotonic() >= line.until:
            raise Unavailable(f"{host} did not answer within {seconds:g} seconds.", code="timeout") from error
        if code == "untrusted":
            raise Unavailable(
                f"The certificate of {host} is not trusted here: {reason(error)}.", advice=mend(error), code=code
            ) from error
        raise Unavailable(f"{host} cannot be reached: {reason(error)}.", code=code) from error


def user_agent(purpose: Purpose, version: str = "") -> str:
    name = f"Bindery/{version}" if version else "Bindery"
    return f"{name} ({purpose.name}; Python {platform.python_version()})"


def url_check(url: str, *, plain_http: bool = False) -> SplitResult:
    """The shape only, nothing is looked up. Raises InputError."""
    parts = url_split(url)
    if parts.scheme != "https" and not (plain_http and parts.scheme == "http"):
        kinds = "http:// or https://" if plain_http else "https://"
        raise InputError(f"{url} is not an {kinds} address.", advice="Give the whole address.", code="url")
    if not parts.hostname or parts.username is not None or parts.password is not None or _UNSAFE.search(url):
        raise InputError(
            f"{url} is not a usable address.", advice="Give https://host/path, without user and password.", code="url"
        )
    try:
        usable = parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"{url} is not a usable address.", advice="The port must be between 1 and 65535.", code="url")
    return parts


def proxies_for(url: str, line: "Line") -> dict[str, str]:
    """What the environment says for this URL, as requests takes it.

    Raises InputError where that is no proxy, and where the URL itself names a private address.
    """
    proxy = proxy_for(url, os.environ)
    if proxy is None:
        return {}
    parts = url_split(url)
    line.judge_spelled(parts.hostname or "")
    return {parts.scheme: proxy.url}


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


@dataclass
class Line:
    """What the connections of one adapter keep to, and the address of the last; used by one thread at a time."""

    purpose: Purpose
    allow_private: bool = False
    until: float = math.inf  # on the monotonic clock, for whatever is under way
    address: str = ""  # connect here instead of resolving
    peer: str = ""

    def left(self) -> float:
        """Seconds. Raises TimeoutError."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def addresses(self, host: str, port: int, seconds: float) -> list[_Found]:
        """To be tried in turn, families alternating. Raises InputError where one must not be asked, Unavailable."""
        found = _resolve(self.address or host, port, seconds)
        for each in found:
            self.judge(host, str(each[3][0]))
        families = {each[0]: [other for other in found if other[0] == each[0]] for each in found}
        return [each for row in zip_longest(*families.values()) for each in row if each is not None]

    def judge(self, host: str, address: str) -> None:
        if self.allow_private or address_is_public(address):
            return
        bare = address.partition("%")[0].removeprefix("::ffff:")
        raise InputError(
            f"{host} is at {bare}, which is not on the Internet."
            if host != bare
            else f"{bare} is not on the Internet.",
            advice=self.purpose.private_advice,
            code="private-address",
        )

    def judge_spelled(self, host: str) -> None:
        """An address written as a host, in any spelling that a resolver takes (127.1, 0x7f000001), and localhost."""
        if host == "localhost" or host.endswith(".localhost"):
            self.judge(host, "127.0.0.1")
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            return  # a name
        for each in found:
            self.judge(host, str(each[4][0]))


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
            if said.startswith(_PROXY_WANTS_LOGIN) and kwargs.get("proxies"):  # to an http:// address: no tunnel
                parts = url_split(request.url)
                raise _proxy_refuses(_proxy_of(parts.scheme), said, parts.netloc)
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
                sock, _ = self._open(_resolve(host, port, seconds), until)
        except (OSError, Unavailable) as error:
            if self.proxy is not None:
                raise _proxy_trouble("https" if self._tunnel_host else "http", error) from error
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
            if refusal := _REFUSAL.match(str(error)):
                raise _proxy_refuses(_proxy_of("https"), refusal[1], behind) from error
            raise _proxy_trouble("https", error) from error

    def _connect_tls_proxy(self, hostname: str, sock: socket.socket) -> ssl.SSLSocket:
        """urllib3's own step, which its types do not tell of; a test fails when it moves."""
        try:
            return super()._connect_tls_proxy(hostname, sock)  # type: ignore[misc,no-any-return]
        except (OSError, SSLError) as error:
            raise _proxy_trouble("https" if self._tunnel_host else "http", error) from error

    def _open(self, found: list[_Found], until: float) -> tuple[socket.socket, str]:
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


def _resolve(host: str, port: int, seconds: float) -> list[_Found]:
    """Raises Unavailable, TimeoutError. In a thread: `getaddrinfo` itself knows no limit of time."""
    answers: SimpleQueue[list[_Found] | Exception] = SimpleQueue()

    def look() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put([(family, type_, protocol, place) for family, type_, protocol, _, place in found])
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=look, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError("the resolver did not answer in time") from None
    if isinstance(answer, list) and answer:
        return answer
    raise Unavailable(
        f"The host {host} cannot be found.",
        advice="Check its spelling and this machine's DNS, or set HTTPS_PROXY where only a proxy knows the Internet.",
        code="host-unknown",
    ) from (answer if isinstance(answer, Exception) else None)


def _origin(parts: SplitResult) -> tuple[str, str]:
    return parts.scheme, parts.netloc.lower()


# The first that one of the causes is an instance of, the outermost cause first.
_CODES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    ((TimeoutError, requests.Timeout, ReadTimeoutError), "timeout"),
    (ssl.SSLCertVerificationError, "untrusted"),
    (ssl.SSLError, "tls"),
    (ConnectionRefusedError, "refused"),
    ((ConnectionError, IncompleteRead), "cut"),
    (HTTPException, "not-http"),
)


def _code(error: BaseException) -> str:
    found = list(causes(error))
    return next((code for kind, code in _CODES if any(isinstance(each, kind) for each in found)), "unreachable")


def causes(error: BaseException) -> Iterator[BaseException]:
    """requests and urllib3 keep them in three places."""
    yield error
    inner = getattr(error, "reason", None) or next((one for one in error.args if isinstance(one, BaseException)), None)
    inner = inner if isinstance(inner, BaseException) else error.__cause__
    if inner is not None:
        yield from causes(inner)


def reason(error: BaseException) -> str:
    """The innermost cause in its own words; what wraps it repeats addresses and object ids."""
    *_, error = causes(error)
    text = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error) or type(error).__name__
    words = re.sub(r"^<?[A-Za-z0-9_.]+ object at 0x[0-9a-f]+>?:?\s*|^[A-Za-z]+\(.*?\):\s*", "", str(text)).rstrip(".")
    issuer = getattr(error, "issuer", "")
    return f"{words}, issued by “{issuer}”" if issuer else words


def mend(error: BaseException) -> str:
    """What to do about a certificate that is not trusted; "" where another root would not help."""
    *_, error = causes(error)
    if getattr(error, "verify_code", 0) not in _ISSUER_UNKNOWN:
        return ""
    return "If your company inspects TLS, give its root certificate by BINDERY_CA_BUNDLE."


def _proxy_of(scheme: str) -> Proxy:
    """The one that is in use for URLs of this scheme."""
    return proxy_parse(*proxy_named(scheme, os.environ))


def _proxy_trouble(scheme: str, error: Exception) -> ProxyTrouble:
    """It did not answer as a proxy does."""
    proxy = _proxy_of(scheme)
    if isinstance(error, TimeoutError):
        words, code = "did not answer in time", "timeout"
    elif isinstance(error, ssl.SSLError | SSLError):
        words, code = f"is not trusted here: {reason(error)}", "proxy"
    else:
        found = "" if isinstance(error, Unavailable) else f": {reason(error)}"
        words, code = f"cannot be {f'reached{found}' if found else 'found in DNS'}", "proxy"
    advice = f"Check that it runs, and {proxy.variable}; what may be asked without it belongs into NO_PROXY."
    return ProxyTrouble(f"The proxy {proxy} {words}.", advice=mend(error) or advice, code=code)


def _proxy_refuses(proxy: Proxy, status: str, behind: str) -> ProxyTrouble:
    """It answered, and lets nobody through to `behind` (host:port)."""
    advice = f"Have it permit the way to {behind}, or name that in NO_PROXY if it may be asked directly."
    if status.startswith(_PROXY_WANTS_LOGIN):
        advice = f"It wants a user and a password: {proxy.variable}=http://user:password@host:port."
    elif status.startswith("5"):
        advice = f"It could not reach {behind} itself; its log says why."
    return ProxyTrouble(f"The proxy {proxy} refuses the way to {behind}: {status}.", advice=advice)
