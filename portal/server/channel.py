"""What gunicorn's parser and response take for a socket: never blocks a thread for longer than its limits.

The socket underneath is always non-blocking. Output collects here, so that a thread is free as soon as the answer is
written, however slowly the client reads it; the poller sends the rest. Only an answer beyond OUTBOX_LIMIT waits.
"""

import select
import socket
import ssl
import time
from contextlib import suppress
from typing import Any

OUTBOX_LIMIT = 1024 * 1024  # bytes
IO_SECONDS = 30.0  # one wait for a client that sends a large body or reads a large answer
REQUEST_SECONDS = 180.0  # all waits of one request together
_PIECE = 256 * 1024

WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Channel:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.outbox = bytearray()
        self.deadline = 0.0  # monotonic, of all waits of the request under way
        self.closed = False
        self._timeout: float | None = None
        self._holds_head = False

    def begin(self) -> None:
        """A request starts: limits from now on, and the head of its answer travels with the first piece of the body."""
        self.deadline = time.monotonic() + REQUEST_SECONDS
        self._timeout = None
        self._holds_head = True

    def flush(self) -> bool:
        """Send what the client takes now; True when nothing is left. Raises OSError when it is gone."""
        self._holds_head = False
        while self.outbox:
            try:
                with memoryview(self.outbox) as whole, whole[:_PIECE] as piece:
                    sent = self.sock.send(piece)
            except WOULD_BLOCK:
                return False
            del self.outbox[:sent]
        return True

    def receive_now(self, size: int) -> bytes | None:
        """What is there, b"" at the end, None when nothing is there yet. Raises OSError."""
        try:
            return self.sock.recv(size)
        except WOULD_BLOCK:
            return None

    @property
    def client_certificate(self) -> bytes | None:
        """DER of what the client has shown and TLS has verified; None where it showed none."""
        return self.sock.getpeercert(binary_form=True) if isinstance(self.sock, ssl.SSLSocket) else None

    def half_close(self) -> None:
        """End our side; a TLS client is told so first (close_notify, RFC 8446 section 6.1). Raises OSError."""
        if isinstance(self.sock, ssl.SSLSocket):
            with suppress(OSError, ValueError):  # the client may be gone, and its own close_notify is not waited for
                self.sock.unwrap()
        self.sock.shutdown(socket.SHUT_WR)

    # What gunicorn calls, with the meaning it has on a socket.

    def recv(self, size: int) -> bytes:
        while (data := self.receive_now(size)) is None:
            self._wait(select.POLLIN)
        return data

    def send(self, data: bytes) -> int:
        """gunicorn sends 100 Continue this way: at once, for the client waits for it."""
        holds_head = self._holds_head
        self.outbox += data
        self.flush()
        self._holds_head = holds_head
        return len(data)

    def sendall(self, data: bytes) -> None:
        self.outbox += data
        if self._holds_head:
            self._holds_head = False
            return
        self.flush()
        while len(self.outbox) > OUTBOX_LIMIT:
            self._wait(select.POLLOUT)
            self.flush()

    def gettimeout(self) -> float | None:
        return self._timeout

    def settimeout(self, value: float | None) -> None:
        self._timeout = value

    def setblocking(self, flag: bool) -> None:
        self._timeout = None if flag else 0.0

    def shutdown(self, _how: int) -> None:
        """gunicorn ends an answer that it could not complete."""
        with suppress(OSError):
            self.flush()
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.closed = True
        with suppress(OSError):
            self.sock.close()

    def fileno(self) -> int:
        return self.sock.fileno()

    def getsockname(self) -> Any:
        return self.sock.getsockname()

    def _wait(self, event: int) -> None:
        limit = min(IO_SECONDS, self.deadline - time.monotonic())
        if self._timeout is not None:
            limit = min(limit, self._timeout)
        poller = select.poll()
        poller.register(self.sock, event)
        if limit <= 0 or not poller.poll(limit * 1000):
            raise TimeoutError("the client neither sends nor reads")
