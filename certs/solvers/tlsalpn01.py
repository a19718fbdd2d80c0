"""The TLS challenge (RFC 8737), answered by the portal's own HTTPS listener."""

import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from cryptography import x509

from certs.domain.addresses import address_shown
from certs.domain.alpn import PROTOCOL, identifier_of, identifier_value, server_name_of
from certs.domain.errors import InputError, Unavailable
from certs.domain.urls import url_split
from certs.solvers.base import Evidence, Site, Solver, Task
from certs.transports.line import PROBE, Line

LOOK_SECONDS = 5.0
PORT = 443  # RFC 8737 §3; a test CA uses another
_RIGHT = "the challenge certificate with the right digest"


class TlsAlpn01(Solver):
    """The CA makes a TLS handshake with the name on port 443; nothing but that port has to reach the portal."""

    label: ClassVar[str] = "TLS"
    challenge_types: ClassVar[tuple[str, ...]] = ("tls-alpn-01",)
    addresses: ClassVar[bool] = True
    by_portal: ClassVar[bool] = True

    def present(self, task: Task) -> dict[str, Any]:
        return {}

    def clean(self, task: Task, data: Mapping[str, Any]) -> None:
        pass

    def look(self, task: Task) -> Evidence:
        port = _port(task)
        server_name = server_name_of(task.name)
        place = address_shown(task.name, port)
        seen = _seen(task, port, server_name, self.site)
        right = seen == _RIGHT
        return Evidence(
            url=f"tls://{place}",
            curl=f"openssl s_client -connect {place} -servername {server_name} -alpn {PROTOCOL.decode()} </dev/null"
            " | openssl x509 -noout -text",
            seen=f"{_RIGHT}: from here the portal is reached, from the CA it was not" if right else seen,
            right=right,
        )


def _port(task: Task) -> int:
    """Where the CA says that it asked, as host:port, else as RFC 8737 says."""
    try:
        return url_split(f"tls://{task.asked}").port or PORT
    except ValueError:  # no port that there can be
        return PORT


def _seen(task: Task, port: int, server_name: str, site: Site) -> str:
    """Of a private address that nobody permitted it is told whether our answer is there, and nothing else."""
    try:
        return _shake(task, port, server_name, allow_private=site.allow_private())
    except InputError as error:
        why = error.message.rstrip(".")
        return _RIGHT if _shake(task, port, server_name, allow_private=True) == _RIGHT else f"not our answer: {why}"


def _shake(task: Task, port: int, server_name: str, *, allow_private: bool) -> str:
    """Raises InputError for a private address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it signs itself: what it holds is what counts
    context.set_alpn_protocols([PROTOCOL.decode()])
    line = Line(PROBE, allow_private=allow_private, until=time.monotonic() + LOOK_SECONDS)
    try:
        with (
            _connected(line, task.name, port) as raw,
            context.wrap_socket(raw, server_hostname=server_name) as secured,
        ):
            chosen, leaf = secured.selected_alpn_protocol(), secured.getpeercert(binary_form=True) or b""
    except Unavailable:
        return "this server cannot find the name in its DNS"
    except TimeoutError:
        return f"no answer within {LOOK_SECONDS:g} s"
    except ssl.SSLError as error:
        return f"the handshake was refused: {error.reason or error}"
    except (OSError, ValueError) as error:
        return f"no answer: {getattr(error, 'strerror', None) or error}"
    if chosen != PROTOCOL.decode():
        return "a TLS server that does not speak acme-tls/1: something else answers there, as a proxy that ends TLS"
    return _judged(leaf, task.key_authorization)


def _connected(line: Line, name: str, port: int) -> socket.socket:
    """Raises InputError, Unavailable, OSError."""
    failure: OSError = TimeoutError("timed out")
    for family, kind, protocol, address in line.addresses(name, port, line.left()):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(line.left())
            sock.connect(address)
            sock.settimeout(line.left())
        except OSError as error:
            failure = error
            sock.close()
        else:
            return sock
    raise failure


def _judged(leaf: bytes, key_authorization: str) -> str:
    try:
        found = identifier_of(x509.load_der_x509_certificate(leaf))
    except ValueError:
        return "acme-tls/1, but a certificate that cannot be read"
    if found is None:
        return "acme-tls/1, but a certificate without the digest"
    if found != identifier_value(key_authorization):
        return "acme-tls/1, but the digest of another challenge"
    return _RIGHT
