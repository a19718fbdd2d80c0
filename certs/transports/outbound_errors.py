"""What went wrong on the way out: a code, the innermost reason in its own words, what to do about it."""

import os
import re
import ssl
from collections.abc import Iterator
from http.client import HTTPException, IncompleteRead

import requests
from urllib3.exceptions import ReadTimeoutError, SSLError

from certs.domain.errors import Unavailable
from certs.domain.proxies import Proxy, proxy_named, proxy_parse

PROXY_WANTS_LOGIN = "407"  # of a proxy only (RFC 9110 §15.5.8)
# X509_V_ERR_…: what the missing root of an inspecting proxy looks like.
_ISSUER_UNKNOWN = frozenset({2, 18, 19, 20, 21})
TUNNEL_REFUSAL = re.compile(r"Tunnel connection failed: (.{1,200})", re.DOTALL)


class ProxyTrouble(Unavailable):
    """The proxy did not let us through. Nothing was sent to the host behind it."""

    code = "proxy"


# The first that one of the causes is an instance of, the outermost cause first.
_CODES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    ((TimeoutError, requests.Timeout, ReadTimeoutError), "timeout"),
    (ssl.SSLCertVerificationError, "untrusted"),
    (ssl.SSLError, "tls"),
    (ConnectionRefusedError, "refused"),
    ((ConnectionError, IncompleteRead), "cut"),
    (HTTPException, "not-http"),
)


def code_of(error: BaseException) -> str:
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


def proxy_of(scheme: str) -> Proxy:
    """The one that is in use for URLs of this scheme."""
    return proxy_parse(*proxy_named(scheme, os.environ))


def proxy_trouble(scheme: str, error: Exception) -> ProxyTrouble:
    """It did not answer as a proxy does."""
    proxy = proxy_of(scheme)
    if isinstance(error, TimeoutError):
        words, code = "did not answer in time", "timeout"
    elif isinstance(error, ssl.SSLError | SSLError):
        words, code = f"is not trusted here: {reason(error)}", "proxy"
    else:
        found = "" if isinstance(error, Unavailable) else f": {reason(error)}"
        words, code = f"cannot be {f'reached{found}' if found else 'found in DNS'}", "proxy"
    advice = f"Check that it runs, and {proxy.variable}; what may be asked without it belongs into NO_PROXY."
    return ProxyTrouble(f"The proxy {proxy} {words}.", advice=mend(error) or advice, code=code)


def proxy_refuses(proxy: Proxy, status: str, behind: str) -> ProxyTrouble:
    """It answered, and lets nobody through to `behind` (host:port)."""
    advice = f"Have it permit the way to {behind}, or name that in NO_PROXY if it may be asked directly."
    if status.startswith(PROXY_WANTS_LOGIN):
        advice = f"It wants a user and a password: {proxy.variable}=http://user:password@host:port."
    elif status.startswith("5"):
        advice = f"It could not reach {behind} itself; its log says why."
    return ProxyTrouble(f"The proxy {proxy} refuses the way to {behind}: {status}.", advice=advice)
