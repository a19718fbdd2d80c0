"""Clients that stall, four times as many as there are threads, cost the others nothing."""

import socket
import statistics
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.harness.load import Load
from tests.harness.rounds import rounds
from tests.harness.web import Web, make_home, web_running

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

THREADS = 4


def stall(web: Web, stop: threading.Event) -> None:
    """Half-open and dripping clients of every kind, replaced as soon as the server ends one."""
    from tests.portal.server.test_worker_serving import client_hello

    hello = client_hello()
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Y: " + b"z" * 4000
    form = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n"
    kinds: list[tuple[tuple[str, int], bytes, bytes]] = [
        (web.secure, hello[:3], b""),
        (web.secure, hello[:50], hello[50:]),
        (web.secure, hello, b""),
        (web.plain, head[:25], head[25:]),
        (web.plain, form, b"a" * 5000),
        (web.plain, hello, b""),
        (web.secure, head[:30], head[30:]),
        (web.plain, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n" * 50),
        (web.plain, b"", b""),
    ]
    held: dict[int, tuple[socket.socket, int, int]] = {}
    while not stop.wait(0.05):
        for index in range(THREADS * 4 * 2):
            address, first, drips = kinds[index % len(kinds)]
            try:
                if index not in held:
                    sock = socket.create_connection(address, timeout=5)
                    sock.setblocking(False)
                    sock.sendall(first)
                    held[index] = (sock, 0, index)
                    continue
                sock, sent, _ = held[index]
                sock.send(drips[sent : sent + 1])
                held[index] = (sock, sent + 1, index)
                with suppress(BlockingIOError):
                    if sock.recv(65536) == b"":
                        raise ConnectionResetError
            except OSError:
                if index in held:
                    held.pop(index)[0].close()
    for sock, _, _ in held.values():
        sock.close()


@rounds("seconds", 8, 180)
def test_stalling_clients_do_not_slow_the_others(tmp_path: Path, seconds: int) -> None:
    with web_running(make_home(tmp_path), workers=1, threads=THREADS) as web:
        stop = threading.Event()
        attacker = threading.Thread(target=stall, args=(web, stop))
        attacker.start()
        try:
            time.sleep(1)
            with Load(web.secure, kept=1, fresh=2, wait=0.005) as load:
                time.sleep(seconds)
        finally:
            stop.set()
            attacker.join(10)
    assert load.failures == []
    assert load.total > 25 * seconds
    slow = statistics.quantiles(load.seconds, n=100)[98]
    assert slow < 1
    print(f"{load.total} requests in {seconds} s, 0 failed; p99 {slow * 1000:.0f} ms")
