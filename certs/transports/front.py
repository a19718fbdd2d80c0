"""A look at an HTTPS address as a browser takes it: what certificate it shows, whether that is trusted, and one answer.

Always direct, past any company proxy: it is about what answers at the address itself.
"""

import http.client
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLong
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

from certs.domain.addresses import address_shown
from certs.domain.errors import Unavailable
from certs.transports.roots import browser_context

_SECONDS = 5.0  # for each connection and each answer
_ALL_SECONDS = 15.0  # with the resolver, which has no limit of its own
_BYTES = 4096


@dataclass(frozen=True)
class Look:
    """`distrust` is why a browser would warn, "" where it would not. `status` 0: no HTTP answer came, `trouble` why.

    `hsts` are the Strict-Transport-Security headers of the answer, each as it came.
    """

    leaf: x509.Certificate
    distrust: str
    status: int = 0
    body: str = ""
    hsts: tuple[str, ...] = ()
    trouble: str = ""


def look(host: str, port: int, path: str, roots: Path) -> Look:
    """`roots` is a PEM file of what browsers trust. Raises Unavailable where no TLS connection comes about."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="front")
    try:
        return pool.submit(_look, host, port, path, roots).result(_ALL_SECONDS)
    except TooLong:
        raise Unavailable(f"{address_shown(host, port)} gave no answer within {_ALL_SECONDS:g} seconds.") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _look(host: str, port: int, path: str, roots: Path) -> Look:
    anything = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anything.check_hostname = False
    anything.verify_mode = ssl.CERT_NONE
    try:
        with _connect(host, port, anything) as secured:
            leaf = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
            found = _ask(secured, host, port, path)
    except socket.gaierror as error:
        raise Unavailable(f"{host} has no address, as far as this server can see: {error.strerror}.") from error
    except ValueError as error:
        raise Unavailable(f"{address_shown(host, port)} shows a certificate that cannot be read.") from error
    except OSError as error:
        raise Unavailable(
            f"{address_shown(host, port)} cannot be reached over TLS from this server: {_reason(error)}."
        ) from error
    return Look(leaf, _distrust(host, port, roots), **found)


def _connect(host: str, port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    raw = socket.create_connection((host, port), timeout=_SECONDS)
    try:
        return context.wrap_socket(raw, server_hostname=host)
    except BaseException:
        raw.close()
        raise


def _distrust(host: str, port: int, roots: Path) -> str:
    try:
        context = browser_context(roots)
    except OSError as error:
        return f"the roots in {roots} cannot be read ({_reason(error)})"
    try:
        _connect(host, port, context).close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message.rstrip(".")
    except OSError as error:
        return f"a second connection failed ({_reason(error)})"
    return ""


def _ask(secured: ssl.SSLSocket, host: str, port: int, path: str) -> dict[str, Any]:
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port == 443 else f"{shown}:{port}"
    try:
        secured.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: Bindery\r\nConnection: close\r\n\r\n".encode()
        )
        answer = http.client.HTTPResponse(secured, method="GET")
        answer.begin()
        body = answer.read(_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return {"trouble": str(error) or type(error).__name__}
    hsts = tuple(value for name, value in answer.getheaders() if name.lower() == "strict-transport-security")
    return {"status": answer.status, "body": body, "hsts": hsts}


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_SECONDS:g} seconds"
    return error.strerror or str(error) or type(error).__name__
