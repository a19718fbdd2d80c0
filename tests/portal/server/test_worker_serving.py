"""What clients meet, well-behaved and not: a real gunicorn with the portal's worker on loopback."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from portal import loops
from tests.harness.web import Web, ask, client_context, eventually, get, make_home, read_reply, tls_connect, web_running

THREADS = 4


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    home = make_home(tmp_path_factory.mktemp("web"))
    with web_running(home, threads=THREADS, env={"DJANGO_SETTINGS_MODULE": "tests.harness.short_deadlines"}) as web:
        yield web


Connect = Callable[[], socket.socket]


@pytest.fixture(params=["http", "https"])
def connect(web: Web, request: pytest.FixtureRequest) -> Connect:
    def plain() -> socket.socket:
        return socket.create_connection(web.plain, timeout=15)

    return plain if request.param == "http" else lambda: tls_connect(web.secure)


@contextmanager
def many(address: tuple[str, int], count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address, timeout=15)) for _ in range(count)]


def post(body: bytes, *, path: str = "/", headers: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: portal.test\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def test_scheme_is_that_of_the_connection(web: Web) -> None:
    assert ask(web.plain, get()).json["scheme"] == "http"
    assert ask(web.secure, get(), tls=True).json["scheme"] == "https"


def test_forwarded_headers_do_not_change_the_scheme(web: Web) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Ssl: on\r\n\r\n"
    assert ask(web.plain, request).json["scheme"] == "http"


def test_kept_connection_answers_many_requests(connect: Connect) -> None:
    with connect() as sock:
        for number in range(50):
            sock.sendall(get(f"/{number}"))
            reply = read_reply(sock)
            assert reply.json["path"] == f"/{number}"
            assert reply.headers["connection"] == "keep-alive"


def test_close_is_honoured(connect: Connect) -> None:
    with connect() as sock:
        sock.sendall(get(close=True))
        assert read_reply(sock).headers["connection"] == "close"
        assert sock.recv(1) == b""


def test_pipelined_requests_are_answered_in_order(connect: Connect) -> None:
    with connect() as sock:
        sock.sendall(b"".join(get(f"/{number}") for number in range(30)) + post(b"abc", path="/last"))
        buffer = bytearray()
        assert [read_reply(sock, buffer).json["path"] for _ in range(30)] == [f"/{number}" for number in range(30)]
        assert read_reply(sock, buffer).json["received"] == 3


def test_request_behind_a_half_of_the_next(connect: Connect) -> None:
    with connect() as sock:
        sock.sendall(get("/one") + get("/two")[:10])
        assert read_reply(sock).json["path"] == "/one"
        sock.sendall(get("/two")[10:])
        assert read_reply(sock).json["path"] == "/two"


def test_chunked_body(connect: Connect) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect() as sock:
        sock.sendall(head + b"5\r\nhello\r\n")
        time.sleep(0.1)
        sock.sendall(b"6;x=y\r\n world\r\n0\r\n\r\n" + get("/behind"))
        buffer = bytearray()
        assert read_reply(sock, buffer).json["received"] == 11
        assert read_reply(sock, buffer).json["path"] == "/behind"


def test_body_that_drips_in(connect: Connect) -> None:
    request = post(b"x" * 400)
    with connect() as sock:
        for start in range(0, len(request), 40):
            sock.sendall(request[start : start + 40])
            time.sleep(0.02)
        assert read_reply(sock).json["received"] == 400


@pytest.mark.parametrize("size", [1024 * 1024, 1024 * 1024 + 1, 6 * 1024 * 1024])
def test_large_body_is_read_whole(connect: Connect, size: int) -> None:
    with connect() as sock:
        sock.sendall(post(b"x" * size) + get("/behind"))
        buffer = bytearray()
        assert read_reply(sock, buffer).json["received"] == size
        assert read_reply(sock, buffer).json["path"] == "/behind"


@pytest.mark.parametrize("size", [2_000, 100_000, 1024 * 1024, 6 * 1024 * 1024])
@pytest.mark.parametrize("chunked", [False, True])
def test_body_nobody_reads_does_not_disturb_the_next_request(connect: Connect, size: int, chunked: bool) -> None:
    """Nor does it end a connection that the answer has promised to keep: what comes behind would be lost."""
    body = b"GET /evil HTTP/1.1\r\n\r\n" * (size // 22)
    request = post(body, path="/?ignore")
    if chunked:
        head = b"POST /?ignore HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        request = head + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    with connect() as sock:
        for _ in range(2):
            sock.sendall(request)
            reply = read_reply(sock)
            assert (reply.json["received"], reply.headers["connection"]) == (0, "keep-alive")
        sock.sendall(request + get("/behind"))
        buffer = bytearray()
        assert read_reply(sock, buffer).json["received"] == 0
        assert read_reply(sock, buffer).json["path"] == "/behind"


def test_a_body_without_end_that_nobody_reads_is_left(connect: Connect) -> None:
    piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    with connect() as sock:
        sock.sendall(b"POST /?ignore HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(36):
            sock.sendall(piece)
        assert read_reply(sock).json["received"] == 0
        assert sock.recv(1) == b""


def test_body_beyond_every_limit_is_refused_unread(connect: Connect) -> None:
    with connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99000000\r\n\r\n" + b"x" * 200_000)
        assert read_reply(sock).status == 413
        assert sock.recv(1) == b""


def test_head_beyond_every_limit_is_refused(connect: Connect) -> None:
    with connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 80_000)
        assert read_reply(sock).status == 431


@pytest.mark.parametrize("size", [1000, 2 * 1024 * 1024])
def test_continue_is_sent_exactly_once(connect: Connect, size: int) -> None:
    request = post(b"x" * size, headers="Expect: 100-continue\r\n")
    head, body = request[: len(request) - size], request[-size:]
    with connect() as sock:
        buffer = bytearray()
        sock.sendall(head)
        assert read_reply(sock, buffer).status == 100
        sock.sendall(body)
        reply = read_reply(sock, buffer)
        assert (reply.status, reply.json["received"]) == (200, size)


def test_nonsense_is_answered_with_400(connect: Connect) -> None:
    for nonsense in (b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/1.1\nHost: a\n\n", b"G\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        with connect() as sock:
            sock.sendall(nonsense)
            assert read_reply(sock).status == 400


def test_ambiguous_framing_is_refused(connect: Connect) -> None:
    with connect() as sock:
        sock.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            + get("/evil")
        )
        assert read_reply(sock).status == 400
        assert sock.recv(1) == b""


def test_failing_application_is_answered_with_500(connect: Connect) -> None:
    with connect() as sock:
        sock.sendall(get("/fail"))
        assert read_reply(sock).status == 500


def test_client_that_ends_its_side_gets_its_answer(web: Web) -> None:
    with socket.create_connection(web.plain, timeout=15) as sock:
        sock.sendall(get("/half"))
        sock.shutdown(socket.SHUT_WR)
        assert read_reply(sock).json["path"] == "/half"
        assert sock.recv(1) == b""


def test_slow_reader_gets_everything(connect: Connect) -> None:
    size = 8 * 1024 * 1024
    with connect() as sock:
        sock.sendall(get(f"/?bytes={size}"))
        time.sleep(0.3)
        buffer = bytearray()
        while len(buffer) < size // 4:
            buffer += sock.recv(16384)
            time.sleep(0.005)
        assert read_reply(sock, buffer).body == b"x" * size
        sock.sendall(get("/behind"))
        assert read_reply(sock).json["path"] == "/behind"


@pytest.mark.alone
def test_slow_readers_hold_no_thread(web: Web) -> None:
    held = []
    try:
        for _ in range(THREADS * 4):
            sock = tls_connect(web.secure)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(get("/?bytes=1000000"))
            held.append(sock)
        time.sleep(0.3)
        started = time.monotonic()
        assert ask(web.secure, get(), tls=True).status == 200
        assert time.monotonic() - started < 0.5
    finally:
        for sock in held:
            sock.close()


@pytest.mark.alone
def test_streamed_bodies_hold_only_a_share_of_the_threads(web: Web) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"
    with many(web.plain, THREADS * 4) as held:
        for sock in held:
            sock.sendall(head)
        time.sleep(0.3)
        started = time.monotonic()
        assert ask(web.plain, get()).status == 200
        assert time.monotonic() - started < 0.5
        for sock in held:
            sock.sendall(b"lo\r\n0\r\n\r\n")
        assert [read_reply(sock).json["received"] for sock in held] == [5] * len(held)


# The wrong protocol.


def test_plain_http_on_the_tls_port_is_redirected_to_the_port_the_client_used(web: Web) -> None:
    reply = ask(web.secure, get("/certificates/?q=1", host="portal.test:9443"))
    assert (reply.status, reply.headers["location"]) == (308, "https://portal.test:9443/certificates/?q=1")
    assert reply.headers["connection"] == "close"


def test_tls_on_the_plain_port_is_redirected_to_the_https_port(web: Web) -> None:
    reply = ask(web.plain, get("/x?q=1", host="portal.test:8000"), tls=True)
    assert (reply.status, reply.headers["location"]) == (308, f"https://portal.test:{web.secure[1]}/x?q=1")


def test_redirect_keeps_posts_and_names_no_host_that_is_none(web: Web) -> None:
    assert ask(web.secure, post(b"a=1")).status == 308
    assert ask(web.secure, b"GET / HTTP/1.0\r\n\r\n").status == 400
    assert ask(web.secure, get(host="evil.test/path")).status == 400


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"])
def test_a_front_that_speaks_the_wrong_protocol_is_told_so_instead(web: Web, header: str) -> None:
    """Its browsers speak HTTPS already: a redirect would lead them back to where they are."""
    request = get("/x", more={header: "https"})
    for place, tls in ((web.secure, False), (web.plain, True)):
        reply = ask(place, request, tls=tls)
        assert reply.status == 502
        assert "location" not in reply.headers
        assert b"What stands in front of this portal speaks" in reply.body


def test_a_browser_that_comes_back_is_not_sent_away_for_ever(web: Web) -> None:
    statuses, cookie = [], ""
    for _ in range(loops.MOST + 1):
        reply = ask(web.secure, get("/x", more={"Cookie": f"other=1; {cookie}"}))
        statuses.append(reply.status)
        cookie = reply.headers.get("set-cookie", "").partition(";")[0]
    assert statuses == [308] * loops.MOST + [502]


def test_gunicorn_itself_believes_nobody(web: Web) -> None:
    """Its defaults take the scheme from what 127.0.0.1 says, and hand on headers written with underscores."""
    said = {"X-Forwarded-Proto": "https", "X-Forwarded-Protocol": "ssl", "X-Forwarded-Ssl": "on"}
    said["X_Forwarded_For"] = "1.2.3.4"
    reply = ask(web.plain, get(more=said))
    assert (reply.json["scheme"], reply.json["remote"]) == ("http", "127.0.0.1")
    assert sorted(reply.json["forwarded"]) == ["https", "on", "ssl"]  # type: ignore[call-overload]  # for our own rule


def test_headers_that_come_twice_are_one_list_in_their_order(web: Web) -> None:
    """As HAProxy appends: what a client made up stands at the left, where nobody believes it."""
    twice = b"X-Forwarded-For: 1.2.3.4\r\nX-Other: y\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n"
    reply = ask(web.plain, get().removesuffix(b"\r\n") + twice)
    assert reply.json["forwarded"] == ["1.2.3.4,9.9.9.9"]


def test_challenges_are_answered_as_plain_http_on_the_tls_port_too(web: Web) -> None:
    reply = ask(web.secure, get("/.well-known/acme-challenge/abc"))
    assert (reply.status, reply.json["scheme"]) == (200, "http")


# Clients that stall.


def ended_after(sock: socket.socket, timeout: float = 6) -> float:
    """Seconds until the server ends the connection."""
    started = time.monotonic()
    sock.settimeout(timeout)
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - started


@pytest.mark.parametrize("port", ["plain", "secure"])
@pytest.mark.parametrize("start", [b"", b"\x16", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00" + b"\x01" * 100, b"GET"])
def test_silence_is_ended(web: Web, port: str, start: bytes) -> None:
    with socket.create_connection(getattr(web, port)) as sock:
        sock.sendall(start)
        assert 0.5 < ended_after(sock) < 4


def test_silence_after_the_hello_is_ended(web: Web) -> None:
    with socket.create_connection(web.secure) as sock:
        sock.sendall(client_hello())
        assert sock.recv(5)[0] == 22
        assert 0.5 < ended_after(sock) < 4


def test_dripping_does_not_move_the_deadline(web: Web) -> None:
    for address, data in ((web.secure, client_hello()), (web.plain, b"GET / HTTP/1.1\r\nX: " + b"y" * 500)):
        with socket.create_connection(address) as sock:
            stop = threading.Event()

            def drip(sock: socket.socket = sock, data: bytes = data, stop: threading.Event = stop) -> None:
                for byte in data:
                    try:
                        sock.send(bytes([byte]))
                    except OSError:
                        return
                    if stop.wait(0.05):
                        return

            thread = threading.Thread(target=drip)
            thread.start()
            try:
                assert ended_after(sock) < 4
            finally:
                stop.set()
                thread.join()


def test_unfinished_head_is_told_408(connect: Connect) -> None:
    with connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        sock.settimeout(5)
        assert read_reply(sock).status == 408


@pytest.mark.parametrize(
    "start",
    [
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x16\x03",
    ],
)
def test_broken_hellos_are_ended_and_nothing_else_suffers(web: Web, start: bytes) -> None:
    with socket.create_connection(web.secure) as sock:
        sock.sendall(start)
        with suppress(OSError):  # the server may have ended it already, which is what is wanted
            sock.shutdown(socket.SHUT_WR)
        assert ended_after(sock) < 1
    assert ask(web.secure, get(), tls=True).status == 200


def test_a_vanished_client_costs_nothing(web: Web) -> None:
    failures = web.log.count("Traceback")
    for _ in range(20):
        with socket.create_connection(web.secure) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            sock.sendall(client_hello()[:100])
        sock = tls_connect(web.secure)
        sock.sendall(get("/?sleep=0.05"))
        sock.close()
    eventually(lambda: ask(web.secure, get(), tls=True).status == 200)
    assert web.log.count("Traceback") == failures


def client_hello() -> bytes:
    """The first flight of a real client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(incoming, outgoing, server_hostname="portal.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.mark.alone
def test_silent_clients_at_the_limit_of_connections_make_room(tmp_path: Path) -> None:
    few = {"GUNICORN_CMD_ARGS": "--worker-connections 40"}
    with web_running(make_home(tmp_path), env=few) as web, many(web.plain, 120):
        started = time.monotonic()
        assert ask(web.secure, get(), tls=True).status == 200
        assert ask(web.plain, get()).status == 200
        assert time.monotonic() - started < 1


@pytest.mark.alone
def test_unfinished_bodies_do_not_fill_the_memory(tmp_path: Path) -> None:
    with web_running(make_home(tmp_path)) as web, many(web.plain, 100) as held:
        for sock in held:
            sock.sendall(post(b"x" * 1_000_000)[:-1])
        time.sleep(1.5)
        assert 30 < sum(is_ended(sock) for sock in held) < 50  # 64 MiB are kept
        assert ask(web.plain, get()).status == 200


def is_ended(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_idle_process_uses_hardly_any_cpu(tmp_path: Path) -> None:
    import psutil

    with web_running(make_home(tmp_path)) as web:
        worker = psutil.Process(web.workers_of(web.processes[0])[0])
        # The hello option keeps drips from waking the process, so waiting clients cost as little as none.
        held = [socket.create_connection(web.secure) for _ in range(100)]
        for sock in held:
            sock.sendall(client_hello()[:50])
        time.sleep(0.5)
        before = sum(worker.cpu_times()[:2])
        time.sleep(3)
        used = sum(worker.cpu_times()[:2]) - before
        for sock in held:
            sock.close()
        assert used / 3 < 0.05
