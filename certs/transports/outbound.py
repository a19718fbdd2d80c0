"""The one way out over HTTP: to CAs, for renewal information, CRLs, issuers' certificates, webhooks and probes.

A name is resolved once, every address found is judged, and the connection is made to an address that was judged: what
a resolver says a second time (DNS rebinding) leads nowhere. Host, SNI and the certificate expected stay those of the
name. Time is bounded from the resolver to the last byte, and so is the body, as it is after decompression.

Where the environment names a proxy (HTTPS_PROXY, HTTP_PROXY, but not for NO_PROXY), that resolves the name and
connects: then only an address that is written in the URL can be judged here. What goes wrong on the way to the proxy
says so, and is not the fault of the host behind it.
"""

import os
import platform
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urljoin

import requests

from certs.domain.errors import InputError, Unavailable
from certs.domain.proxies import proxy_for
from certs.domain.urls import url_split
from certs.transports.connections import ANSWER_BYTES, Adapter, trust_context
from certs.transports.line import Line, Purpose
from certs.transports.outbound_errors import code_of, mend, reason

CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0  # to be connected, TLS included; between two bytes
WHOLE_SECONDS = 30.0
CRL_BYTES = 16 << 20
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")


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
    "unreachable", "timeout", "too-large", "too-many-redirects", "proxy" or one of `outbound_errors`) for what cannot be
    had.
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
        code = code_of(error)
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


def _origin(parts: SplitResult) -> tuple[str, str]:
    return parts.scheme, parts.netloc.lower()
