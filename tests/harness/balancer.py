"""A load balancer: TCP connections to one port go to several others in turn, as they come."""

import itertools
import select
import socket
import socketserver
import threading
from collections import Counter
from types import TracebackType
from typing import Self

from tests.harness.ports import LOOPBACK, free_port


class Balancer:
    """Use as a context manager; `taken` counts the connections that each port got. It takes a free port where none
    is given."""

    def __init__(self, *ports: int, port: int = 0) -> None:
        self.port = port or free_port()
        self.taken: Counter[int] = Counter()
        turn = itertools.cycle(ports)
        balancer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                port = next(turn)
                balancer.taken[port] += 1
                with socket.create_connection((LOOPBACK, port), timeout=10) as other:
                    _copy(self.request, other)

        class Server(socketserver.ThreadingTCPServer):
            request_queue_size = 128
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A node that is away: the client sees its connection end."""

        self._server = Server((LOOPBACK, self.port), Handler)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _copy(one: socket.socket, other: socket.socket) -> None:
    """Both ways, until either side has said its last."""
    while True:
        for ready in select.select([one, other], [], [], 30)[0] or [None]:
            data = ready.recv(65536) if ready is not None else b""
            if not data:
                return
            (other if ready is one else one).sendall(data)
