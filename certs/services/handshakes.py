"""One handshake with a listener, from outside the processes that serve it."""

import socket
import ssl
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from certs.domain.addresses import address_shown
from certs.transports.roots import browser_context

HERE = "this server"
_WILDCARD_PROBE = "bindery-check"  # stands for the star when a wildcard is asked for


@dataclass(frozen=True)
class ServedResult:
    """`ok` None: it could not be checked, which is neither good nor bad. `fingerprint` is the one that was seen."""

    ok: bool | None
    fingerprint: str
    vantage: str
    detail: str


def served_check(host: str, port: int, server_name: str, fingerprint: str, timeout: float = 5) -> ServedResult:
    """A handshake from outside the serving processes; `server_name` goes out as SNI, the empty one sends none.

    Nothing is verified but the leaf's SHA-256: whether a browser trusts it is another question. A listener that
    refuses or stays silent does not serve it (False); where the network itself fails we could not check (None).
    """
    place = address_shown(host, port)
    try:
        seen = sha256(leaf_seen(host, port, server_name, timeout)).hexdigest()
    except (ConnectionError, TimeoutError, ssl.SSLError) as error:
        return ServedResult(False, "", HERE, f"{place} does not answer over TLS: {_reason(error)}.")
    except OSError as error:
        return ServedResult(None, "", HERE, f"{place} could not be asked: {_reason(error)}.")
    asked = f"{place} for {server_name}" if server_name else place
    if seen != fingerprint.lower():
        return ServedResult(False, seen, HERE, f"{asked} still serves another certificate ({seen[:12]}…).")
    return ServedResult(True, seen, HERE, f"{asked} serves it.")


def leaf_seen(host: str, port: int, server_name: str, timeout: float) -> bytes:
    """The DER of the certificate that is shown there, whatever it is worth. Raises OSError (ssl.SSLError is one)."""
    with socket.create_connection((host, port), timeout=timeout) as raw:
        return leaf_through(raw, server_name)


def leaf_through(raw: socket.socket, server_name: str) -> bytes:
    """The same over a connection that is there. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(raw, server_hostname=server_name.replace("*", _WILDCARD_PROBE) or None) as secured:
        return secured.getpeercert(binary_form=True) or b""


def client_refusal(host: str, port: int, roots: Path, timeout: float) -> str:
    """Why a client with these roots breaks off, "" where it is content. Raises OSError where it gets no handshake."""
    context = browser_context(roots)
    try:
        with (
            socket.create_connection((host, port), timeout=timeout) as raw,
            context.wrap_socket(raw, server_hostname=host),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message or _reason(error)


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
