"""A server that answers with bytes as they are given, over TCP or TLS: for what no well-behaved program would say."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Handler = Callable[[socket.socket, str], None]


class Server:
    """Hands each connection's first request to `handle`, which writes bytes as it likes."""

    def __init__(self, handle: Handler, address: str, port: int, context: ssl.SSLContext | None) -> None:
        self.handle, self.context, self.address = handle, context, address
        self.requests: list[str] = []
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.listener = socket.create_server((address, port), family=family)
        self.port: int = self.listener.getsockname()[1]
        self.over = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{'https' if self.context else 'http'}://{host}:{self.port}/"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock = self.context.wrap_socket(connection, server_side=True) if self.context else connection
            with sock:
                while head := self._head(sock):
                    self.requests.append(head)
                    self.handle(sock, head)

    @staticmethod
    def _head(sock: socket.socket) -> str:
        head = b""
        while b"\r\n\r\n" not in head:
            got = sock.recv(65536)
            if not got:
                return ""
            head += got
        return head.decode()


@contextmanager
def serving(
    handle: Handler | bytes, address: str = "127.0.0.1", port: int = 0, context: ssl.SSLContext | None = None
) -> Iterator[Server]:
    def send(sock: socket.socket, _: str) -> None:
        assert isinstance(handle, bytes)
        sock.sendall(handle)

    server = Server(send if isinstance(handle, bytes) else handle, address, port, context)
    try:
        yield server
    finally:
        server.over.set()
        server.listener.close()
