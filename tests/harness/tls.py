"""A TLS client that looks at what is served, and a connection that must not break meanwhile."""

import hashlib
import http.client
import socket
import ssl

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.harness.ports import LOOPBACK


def client_context(roots_pem: str = "") -> ssl.SSLContext:
    """Trusts only `roots_pem`; without it nothing is checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if roots_pem:
        context.load_verify_locations(cadata=roots_pem)
        return context
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def served(port: int, name: str, *, address: str = LOOPBACK, roots_pem: str = "") -> x509.Certificate:
    """The leaf a handshake with this server name gets. With roots, chain and name are verified too."""
    with (
        socket.create_connection((address, port), timeout=30) as plain,
        client_context(roots_pem).wrap_socket(plain, server_hostname=name) as secure,
    ):
        der = secure.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def served_fingerprint(port: int, name: str, *, address: str = LOOPBACK) -> str:
    """SHA-256 in hex, of the leaf's DER."""
    der = served(port, name, address=address).public_bytes(Encoding.DER)
    return hashlib.sha256(der).hexdigest()


def all_serve(port: int, name: str, fingerprint: str, *, handshakes: int = 12) -> bool:
    """One handshake meets one process; so many in a row meet each of a few."""
    return all(served_fingerprint(port, name) == fingerprint for _ in range(handshakes))


class KeptConnection:
    """One TLS connection used again and again: it fails where a server closes it in between."""

    def __init__(self, port: int, name: str) -> None:
        self._connection = http.client.HTTPSConnection(LOOPBACK, port, timeout=30, context=client_context())
        self._name = name
        self._connection.connect()
        self._socket = self._connection.sock

    def get(self, path: str = "/healthz") -> int:
        self._connection.request("GET", path, headers={"Host": self._name})
        response = self._connection.getresponse()
        response.read()
        assert self._connection.sock is self._socket, "the connection was closed and opened again"
        return response.status

    def close(self) -> None:
        self._connection.close()
