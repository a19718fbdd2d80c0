"""Clients that use the portal without a pause while something happens to it, and keep count of what failed."""

import socket
import threading
import time
from collections.abc import Callable
from hashlib import sha256

from tests.harness.web import ask, get, read_reply, tls_connect


class Load:
    """Clients that ask without a pause until told to stop; a request that fails in whatever way is kept."""

    def __init__(
        self, address: tuple[str, int], *, kept: int, fresh: int, wait: float = 0, path: str = "/", name: str = ""
    ) -> None:
        self.address = address
        self.name = name or None  # sent as SNI
        self.path = path
        self.wait = wait
        self.counts = [0] * (kept + fresh)
        self.failures: list[str] = []
        self.seconds: list[float] = []
        self._stop = threading.Event()
        kinds = [self._keep] * kept + [self._renew] * fresh
        self._threads = [threading.Thread(target=kind, args=(index,)) for index, kind in enumerate(kinds)]

    @property
    def total(self) -> int:
        return sum(self.counts)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def _guarded(self, index: int, step: Callable[[], bool]) -> bool:
        """Counts one request; False when the connection is over."""
        started = time.monotonic()
        try:
            goes_on = step()
        except Exception as error:  # anything at all is a failed request
            self.failures.append(f"{type(error).__name__}: {error}")
            return False
        self.counts[index] += 1
        self.seconds.append(time.monotonic() - started)
        if self.wait:
            time.sleep(self.wait)
        return goes_on

    def _keep(self, index: int) -> None:
        while not self._stop.is_set():
            try:
                sock = tls_connect(self.address, self.name)
            except OSError as error:
                self.failures.append(f"connect: {error}")
                continue
            with sock:
                while not self._stop.is_set() and self._guarded(index, lambda sock=sock: one_kept(sock, self.path)):
                    pass

    def _renew(self, index: int) -> None:
        while not self._stop.is_set():
            self._guarded(index, self._asked_once)

    def _asked_once(self) -> bool:
        return ask(self.address, get(self.path, close=True), tls=True, name=self.name).status == 200


def one_kept(sock: socket.socket, path: str = "/") -> bool:
    sock.sendall(get(path))
    reply = read_reply(sock)
    assert reply.status == 200
    return reply.headers["connection"] == "keep-alive"


def seen(address: tuple[str, int], name: str | None = None) -> str:
    with tls_connect(address, name) as sock:
        return sha256(sock.getpeercert(binary_form=True) or b"").hexdigest()
