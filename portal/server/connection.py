"""One client connection as a state machine that waits in the poller, never in a thread.

HELLO ─ TLS ─▶ HANDSHAKE ─▶ REQUEST ─▶ (a thread answers) ─▶ FLUSH ─▶ REQUEST again, or LINGER ─▶ closed
      └ plain ───────────────▲       └ a CA that validates ─▶ LINGER

Each step does what can be done without waiting and returns a Wish: what must happen before the next step. One thread
at a time owns a connection: the main thread while it waits, a pool thread while it works.
"""

import select
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from certs.domain.alpn import challenge_asked
from portal.server import framing
from portal.server.channel import Channel
from portal.server.framing import Framing, framing_of

_RECORD_HEADER = 5  # bytes: type, version, length (RFC 8446 section 5.1)
_LONGEST_RECORD = 16 * 1024 + 256
_HANDSHAKE_RECORD = 22
_PIECE = 64 * 1024
_PIECES = 8  # read at once, then others have their turn
_VAIN_WAKES = 3  # woken without the bytes asked for: the client has ended its side
LINGER_SECONDS = 2.0
NO_APPLICATION_PROTOCOL = bytes((21, 3, 3, 0, 2, 2, 120))  # record, version, length; fatal, RFC 7301 §3.2
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def _record_length(data: bytes) -> int:
    """Bytes of the record that `data` begins, as far as it says; raises ValueError for one that cannot be."""
    if len(data) < _RECORD_HEADER:
        return _RECORD_HEADER
    length = int.from_bytes(data[3:5])
    if not 0 < length <= _LONGEST_RECORD:
        raise ValueError("not a TLS record")
    return _RECORD_HEADER + length


class Wish(Enum):
    READ = auto()  # wait until something can be read
    WRITE = auto()  # wait until something can be written
    WORK = auto()  # a pool thread
    STREAM = auto()  # a pool thread that may wait for the client: only few at a time
    CHALLENGE = auto()  # a pool thread that asks the database what to show a CA: only few at a time
    CLOSE = auto()


class Phase(Enum):
    HELLO = auto()
    HANDSHAKE = auto()
    REQUEST = auto()
    FLUSH = auto()
    LINGER = auto()


@dataclass(frozen=True)
class Limits:
    """Seconds. All but `idle` are absolute: dripping bytes does not move them."""

    hello: float
    handshake: float
    head: float
    idle: float  # between two requests
    body: float = 60.0
    flush: float = 60.0
    linger: float = LINGER_SECONDS


class Connection:
    """`sock` must be non-blocking. gunicorn's worker code reads `sock`, `client`, `server` and `parser`."""

    def __init__(self, sock: socket.socket, client: Any, server: Any, *, secure_listener: bool, limits: Limits) -> None:
        self.client = client
        self.server = server
        self.secure_listener = secure_listener
        self.limits = limits
        self.sock = Channel(sock)
        self.fd = sock.fileno()
        self.parser: Any = None
        self.is_tls = False
        self.framing: Framing | None = None  # of the request that is being collected
        self.phase = Phase.HELLO
        self.deadline = time.monotonic() + limits.hello
        self.events = 0  # what the poller watches for it now
        self.lane: Any = None  # of the worker, while it has its turn there
        self.challenge: str | None = None  # the server name that a CA wants to validate
        self._inbox = bytearray()
        self._searched = 0
        self._needed = 1  # bytes of the hello
        self._vain_wakes = 0
        self._continued = False
        self._keep = False  # after FLUSH
        self._steps: dict[Phase, Callable[[], Wish]] = {
            Phase.HELLO: self._look,
            Phase.HANDSHAKE: self._shake_on,
            Phase.REQUEST: self._collect,
            Phase.FLUSH: self._flush,
            Phase.LINGER: self._drain,
        }

    def advance(self) -> Wish:
        """The next step, on the main thread, once what was wished for has come."""
        try:
            return self._steps[self.phase]()
        except (OSError, ValueError):  # gone, or a TLS record that cannot be read
            return Wish.CLOSE

    @property
    def is_idle(self) -> bool:
        """Nothing of a request has come yet."""
        return self.phase is Phase.HELLO or (self.phase is Phase.REQUEST and not self._inbox)

    @property
    def is_late(self) -> bool:
        """A request began and did not end."""
        return self.phase is Phase.REQUEST and bool(self._inbox)

    @property
    def held_bytes(self) -> int:
        return len(self._inbox) + len(self.sock.outbox)

    def cap(self, moment: float) -> None:
        self.deadline = min(self.deadline, moment)

    # HELLO: nothing is consumed, since OpenSSL or the parser must see every byte.

    def _look(self) -> Wish:
        raw = self.sock.sock
        try:
            data = raw.recv(self._needed if self._needed > _RECORD_HEADER else _RECORD_HEADER, socket.MSG_PEEK)
        except BlockingIOError:
            return Wish.READ
        if not data:
            return Wish.CLOSE
        if data[0] != _HANDSHAKE_RECORD or data[1:2] not in {b"", b"\x03"}:
            return self._begin_requests()
        needed = _record_length(data)
        if len(data) < needed:
            return self._wait_for(needed)
        self.phase = Phase.HANDSHAKE
        self.deadline = time.monotonic() + self.limits.handshake
        self._wake_at_once()
        self.challenge = challenge_asked(data)
        return self._shake_on()

    def _shake_on(self) -> Wish:
        return Wish.WORK if self.challenge is None else Wish.CHALLENGE

    def _wait_for(self, count: int) -> Wish:
        """Wake only when `count` bytes are there: SO_RCVLOWAT keeps a dripping client from waking us at all."""
        if count > self._needed:
            self._needed, self._vain_wakes = count, 0
            self.sock.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            # What came between the peek and the option decides whether the poller will see a change.
            return self._look()
        self._vain_wakes += 1
        return Wish.CLOSE if self._vain_wakes > _VAIN_WAKES else Wish.READ

    def _wake_at_once(self) -> None:
        if self._needed > 1:
            self.sock.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    # HANDSHAKE: in the pool, since signing takes time; between its flights the connection waits in the poller.

    def handshake(self, context: ssl.SSLContext | None) -> Wish:
        """One non-blocking step, the first with `context`; None: no certificate is there, so TLS cannot be spoken."""
        try:
            if not self.is_tls:
                if context is None:
                    return Wish.CLOSE
                self.sock.sock = context.wrap_socket(self.sock.sock, server_side=True, do_handshake_on_connect=False)
                self.is_tls = True
            secured = self.sock.sock
            assert isinstance(secured, ssl.SSLSocket)  # noqa: S101 - tells mypy what is_tls means
            secured.do_handshake()
        except ssl.SSLWantReadError:
            return Wish.READ
        except ssl.SSLWantWriteError:
            return Wish.WRITE
        except (OSError, ValueError):  # refused by either side, or gone
            return Wish.CLOSE
        return self._begin_requests() if self.challenge is None else self.end()

    def refuse_protocol(self) -> Wish:
        """Nothing is to be shown to this CA: a fatal alert, as long as nothing of ours was said (RFC 7301 §3.2)."""
        try:
            self.sock.outbox += NO_APPLICATION_PROTOCOL
            self.sock.flush()
            return self.end()
        except (OSError, ValueError):
            return Wish.CLOSE

    # REQUEST: collected until a thread can answer it without waiting.

    def _begin_requests(self) -> Wish:
        self.phase = Phase.REQUEST
        self.deadline = time.monotonic() + self.limits.head
        try:
            if not self.is_tls:
                self._wake_at_once()
            return self._collect()
        except (OSError, ValueError):
            return Wish.CLOSE

    def _collect(self) -> Wish:
        """Read what is there. A piece holds any TLS record, so nothing stays in OpenSSL, unseen by the poller."""
        for _ in range(_PIECES):
            data = self.sock.receive_now(_PIECE)
            if data is None:
                return Wish.READ
            if not data:
                # The client ended its side: what is complete is answered already, the rest never will be.
                return Wish.CLOSE
            if not self._inbox:
                self.deadline = time.monotonic() + self.limits.head
            self._inbox += data
            wish = self._judge()
            if wish is not Wish.READ:
                return wish
        return Wish.READ

    def _holds_bytes(self) -> bool:
        """gunicorn reads a streamed body in small pieces, which may leave part of a record in OpenSSL."""
        return isinstance(self.sock.sock, ssl.SSLSocket) and self.sock.sock.pending() > 0

    def _judge(self) -> Wish:
        """Whether the request in the inbox can go to a thread."""
        if self.framing is None:
            self.framing = framing_of(self._inbox, self._searched)
            if self.framing is None:
                self._searched = len(self._inbox)
                return Wish.WORK if len(self._inbox) > framing.HEAD_LIMIT else Wish.READ
            if self.framing.total is not None and len(self._inbox) < self.framing.total:
                self.deadline = time.monotonic() + self.limits.body
        if self.framing.is_too_large:
            return Wish.WORK
        if not self.framing.is_whole_soon:
            return Wish.STREAM
        if len(self._inbox) >= (self.framing.total or 0):
            return Wish.WORK
        if self.framing.expects_continue and not self._continued:
            self._continued = True
            self.sock.outbox += CONTINUE
            self.sock.flush()
        return Wish.READ

    def take_request(self) -> tuple[bytes, Framing | None, bool]:
        """The bytes for the parser, their framing (None: the head is too large), and whether 100 Continue was sent."""
        taken = bytes(self._inbox), self.framing, self._continued
        self._inbox.clear()
        self.framing, self._searched, self._continued = None, 0, False
        return taken

    # After the answer.

    def finish(self, *, keep: bool, unread: bytes = b"") -> Wish:
        """Send what the answer left over, then wait for the next request or end. `unread` came behind the request."""
        self._keep = keep
        self._inbox += unread
        self.phase = Phase.FLUSH
        self.deadline = time.monotonic() + self.limits.flush
        return self.advance()

    def _flush(self) -> Wish:
        if not self.sock.flush():
            return Wish.WRITE
        if not self._keep:
            return self.end()
        self.phase = Phase.REQUEST
        self.deadline = time.monotonic() + (self.limits.head if self._inbox else self.limits.idle)
        if self._inbox and (wish := self._judge()) is not Wish.READ:
            return wish
        return self._collect() if self._holds_bytes() else Wish.READ

    def end(self) -> Wish:
        """RFC 9112 section 9.6: end our side, then read on, so that no reset cuts the answer short."""
        self.phase = Phase.LINGER
        self.deadline = time.monotonic() + self.limits.linger
        try:
            self.sock.half_close()
            return self._drain()
        except OSError:  # gone already, as a CA that has seen what it wanted
            return Wish.CLOSE

    def _drain(self) -> Wish:
        for _ in range(_PIECES):
            data = self.sock.receive_now(_PIECE)
            if data is None:
                return Wish.READ
            if not data:
                return Wish.CLOSE
        return Wish.READ

    def reproach(self) -> None:
        """Tell a client whose request did not come in time, as far as it listens at once."""
        with suppress(OSError, ValueError):
            self.sock.outbox += b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            self.sock.flush()

    def has_input(self) -> bool:
        """Whether bytes have come that nobody has looked at: asked before an idle connection is closed."""
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        return bool(poller.poll(0))
