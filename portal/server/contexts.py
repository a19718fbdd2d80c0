"""TLS contexts: built once per certificate, proven off to the side, chosen by server name.

A context is never changed once it is in use: another certificate brings a new set (swap.py). Keys never touch a named
file: OpenSSL reads them from an anonymous memory file.
"""

import os
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from certs.domain.client_auth import ClientAuth, Mode
from certs.domain.errors import ServingError
from certs.services.serving import BoundPair, ServingMaterial

# Mozilla's intermediate settings for OpenSSL (guideline 5.8); TLS 1.3 suites are OpenSSL's own.
CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    )
)
_VERIFY = {Mode.WANT: ssl.CERT_OPTIONAL, Mode.REQUIRED: ssl.CERT_REQUIRED}
PROBE_LABEL = "bindery-check"  # stands for the star of a wildcard
_FLIGHTS = 10  # a handshake needs three


class Contexts:
    """One generation: `entry` is the context that connections begin with, its SNI callback picks the right one."""

    def __init__(self, generation: int, by_name: Mapping[str, ssl.SSLContext], fingerprints: dict[str, str]) -> None:
        self.generation = generation
        self.fingerprints = fingerprints
        self._exact = {name: context for name, context in by_name.items() if name and not name.startswith("*.")}
        self._wildcards = {name[2:]: context for name, context in by_name.items() if name.startswith("*.")}
        self.on_unknown: Callable[[str], None] = lambda _name: None  # told of names that only the default answers
        self.entry = by_name[""]
        self.entry.sni_callback = self._on_server_name

    def _find(self, server_name: str) -> ssl.SSLContext | None:
        """The exact name, then the wildcard over its last labels (RFC 6125 section 6.4.3); None: the default."""
        name = server_name.lower().rstrip(".")
        return self._exact.get(name) or self._wildcards.get(name.partition(".")[2])

    def _on_server_name(self, connection: ssl.SSLObject, server_name: str | None, _entry: ssl.SSLContext) -> None:
        if not server_name:
            return
        found = self._find(server_name)
        if found is None:
            self.on_unknown(server_name)
        elif found is not self.entry:
            connection.context = found


def contexts_build(material: ServingMaterial) -> Contexts:
    """Build and prove a whole generation. Raises ServingError; nothing that serves is touched."""
    if "" not in material.pairs:
        raise ServingError("No certificate answers by default, so TLS cannot be spoken.")
    made: dict[str, ssl.SSLContext] = {}
    by_name: dict[str, ssl.SSLContext] = {}
    # The entry carries the SNI callback: it must not be shared with a generation, but may be with other names.
    for name, pair in material.pairs.items():
        if pair.fingerprint not in made:
            made[pair.fingerprint] = context_make(pair)
        by_name[name] = made[pair.fingerprint]
    contexts = Contexts(material.generation, by_name, material.fingerprints)
    for name, pair in material.pairs.items():
        context_prove(contexts.entry, name, pair)
    for context in made.values():
        context_ask(context, material.clients)
    return contexts


def context_make(pair: BoundPair) -> ssl.SSLContext:
    """Raises ServingError where OpenSSL refuses the pair."""
    context = context_make_bare(["http/1.1"])
    try:
        context_load(context, pair.chain_pem.encode(), pair.key_pem)
    except (ssl.SSLError, OSError) as error:
        raise ServingError(f"{pair.certificate} cannot be served: OpenSSL refuses it ({error}).") from error
    return context


def context_make_bare(protocols: list[str]) -> ssl.SSLContext:
    """What all have in common; `protocols` is what ALPN may choose."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    # The client knows best what its machine does fast: Mozilla's intermediate settings leave the order to it.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(protocols)
    return context


def context_ask(context: ssl.SSLContext, clients: ClientAuth) -> None:
    """Ask clients for a certificate, in a context that is not in use yet. Raises ServingError.

    Every context needs the authorities: OpenSSL takes the mode from the one that the connection began with, and them
    from the one that the server name has chosen. A chosen intermediate is an end of the chain, or its siblings would be
    accepted too.
    """
    if clients.mode is Mode.OFF:
        return
    try:
        context.load_verify_locations(cadata=clients.authorities_pem)
    except (ssl.SSLError, ValueError) as error:
        raise ServingError(
            f"Client certificates cannot be asked for: the trusted CAs cannot be read ({error}).",
            advice="Look under Configuration ➜ Trust.",
        ) from error
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_mode = _VERIFY[clients.mode]


def context_load(context: ssl.SSLContext, chain_pem: bytes, key_pem: bytes) -> None:
    """Raises ssl.SSLError, OSError."""
    with _memory_file(chain_pem) as chain, _memory_file(key_pem) as key:
        context.load_cert_chain(chain, key)


def context_prove(entry: ssl.SSLContext, server_name: str, pair: BoundPair) -> None:
    """A handshake in memory, as a client that asks for `server_name`: the key signs, and the right leaf comes back.

    Raises ServingError.
    """
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE  # what it is is compared below; trust is not asked here
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asked = server_name.replace("*", PROBE_LABEL) or None
    client = client_context.wrap_bio(to_client, to_server, server_hostname=asked)
    server = entry.wrap_bio(to_server, to_client, server_side=True)
    try:
        _shake(client, server)
    except ssl.SSLError as error:
        raise ServingError(f"{pair.certificate} cannot be served: the handshake fails ({error}).") from error
    seen = sha256(client.getpeercert(binary_form=True) or b"").hexdigest()
    if seen != pair.fingerprint.lower():
        raise ServingError(f"{pair.certificate} cannot be served: another certificate answers for {server_name!r}.")


def _shake(client: ssl.SSLObject, server: ssl.SSLObject) -> None:
    waiting = [client, server]
    for _ in range(_FLIGHTS):
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
        if not waiting:
            return
    raise ssl.SSLError("the handshake does not end")


@contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    """A path that only this process can open, of a file without a name; in memory wherever memfd exists."""
    descriptor = _anonymous()
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        folder = "/proc/self/fd" if Path("/proc/self/fd").is_dir() else "/dev/fd"
        yield f"{folder}/{descriptor}"
    finally:
        os.close(descriptor)


def _anonymous() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("bindery")
    descriptor, path = tempfile.mkstemp(prefix="bindery-")  # 0600
    Path(path).unlink()
    return descriptor
