"""The way out: where it must not lead, and what must not hold it up."""

import contextlib
import gzip
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from certs.domain.errors import InputError, Unavailable
from certs.transports import connections, line, roots
from certs.transports.connections import Adapter, any_certificate, trust_context
from certs.transports.line import CA, PROBE, Line
from certs.transports.outbound import Answer, fetch, url_check
from tests.harness import pki
from tests.harness.ports import free_port
from tests.harness.raw import Handler, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(url: str, **options: Any) -> Answer:
    return fetch(url, **{"purpose": CA, "plain_http": True, "allow_private": True, **options})


def refused(url: str, **options: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        get(url, allow_private=False, **options)
    assert caught.value.code == "private-address"
    return caught.value


def unavailable(code: str, url: str, **options: Any) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        get(url, **options)
    assert caught.value.code == code, caught.value
    return caught.value


Resolver = Callable[..., list[str]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Host → the answers of a resolver, one after the other, the last one for ever. Others are as they are."""
    answers: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def answer(host: str, port: int, *args: Any, **options: Any) -> Any:
        if host not in answers or options.get("flags"):
            return real(host, port, *args, **options)
        given = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        if not given:
            raise socket.gaierror(-2, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in given
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return answers


@pytest.fixture
def on_the_internet(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Addresses of loopback that count as public, since no other may be asked in a test."""
    public: set[str] = set()
    monkeypatch.setattr(line, "address_is_public", public.__contains__)
    return public


def moved(to: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


# Where it must not lead.


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "localhost",
        "LOCALHOST",
        "169.254.169.254",
        "[fe80::1]",
    ],
)
def test_no_spelling_of_a_private_address_is_asked(host: str) -> None:
    with serving(OK) as server:
        error = refused(f"http://{host}:{server.port}/")
        assert not server.requests
    assert "tick" in error.advice


def test_with_the_tick_it_is() -> None:
    with serving(OK) as server:
        answer = get(server.url)
    assert (answer.status, answer.text, answer.address) == (200, "ok", "127.0.0.1")


def test_a_name_is_resolved_once(names: dict[str, list[list[str]]], on_the_internet: set[str]) -> None:
    """DNS rebinding: the first answer is judged, the second would lead inside."""
    on_the_internet.add("127.0.0.2")
    names["rebind.example"] = [["127.0.0.2"], ["127.0.0.1"]]
    with (
        serving(OK) as inside,
        serving(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npublic", "127.0.0.2", inside.port),
    ):
        answer = get(f"http://rebind.example:{inside.port}/", allow_private=False)
        assert not inside.requests
    assert (answer.text, answer.address) == ("public", "127.0.0.2")
    assert names["rebind.example"] == [["127.0.0.1"]]


@pytest.mark.parametrize("order", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]])
def test_one_private_address_among_public_ones_is_enough(
    names: dict[str, list[list[str]]], on_the_internet: set[str], order: list[str]
) -> None:
    on_the_internet.add("127.0.0.2")
    names["mixed.example"] = [order]
    with serving(OK, "127.0.0.2") as server:
        error = refused(f"http://mixed.example:{server.port}/")
        assert not server.requests
    assert "mixed.example is at 127.0.0.1" in error.message


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/", "http://[::1]:{port}/", "http://169.254.169.254/latest",
                                    "http://inside.example:{port}/", "http://0x7f.1:{port}/"])  # fmt: skip
def test_a_redirect_inside_is_not_followed(
    names: dict[str, list[list[str]]], on_the_internet: set[str], target: str
) -> None:
    on_the_internet.add("127.0.0.2")
    names |= {"out.example": [["127.0.0.2"]], "inside.example": [["127.0.0.1"]]}
    with serving(OK) as inside, serving(moved(target.format(port=inside.port)), "127.0.0.2") as server:
        refused(f"http://out.example:{server.port}/", redirects=5)
        assert not inside.requests


def test_the_address_given_is_judged_too() -> None:
    with serving(OK) as server:
        refused(f"http://a.example:{server.port}/", address="127.0.0.1")
        answer = get(f"http://a.example:{server.port}/", address="127.0.0.1")
        assert f"Host: a.example:{server.port}" in server.requests[0]
    assert answer.ok


@pytest.mark.parametrize(
    "url",
    [
        "ftp://ca.example/",
        "file:///etc/passwd",
        "ca.example/directory",
        "",
        "https://",
        "https:///directory",
        "https://user:secret@ca.example/",
        "https://user@ca.example/",
        "https://@ca.example/",
        "https://ca.example:99999/",
        "https://ca.example:0/",
        "https://ca.example\\@127.0.0.1/",
        "https://ca.example/\r\nHost: other",
        "https://ca.example /",
        "http://[",
    ],
)
def test_only_whole_addresses_are_asked(url: str) -> None:
    with pytest.raises(InputError):
        url_check(url, plain_http=True)


def test_https_only_unless_said() -> None:
    with pytest.raises(InputError, match="not an https:// address"):
        fetch("http://ca.example/", purpose=CA)


# Redirects.


def test_redirects_are_followed_only_where_allowed_and_so_many() -> None:
    with serving(moved("/again")) as server:
        assert get(server.url).status == 302
        error = unavailable("too-many-redirects", server.url, redirects=3)
        assert len(server.requests) == 1 + 4
    assert "more than 3 times" in error.message


def test_a_post_is_never_redirected() -> None:
    with serving(moved("/again", 307)) as server:
        assert get(server.url, method="POST", body=b"x", redirects=3).status == 307


def test_headers_stay_with_the_first_origin() -> None:
    with serving(OK) as other, serving(moved(other.url)) as server:
        answer = get(server.url, redirects=1, headers={"Authorization": "Bearer secret"})
        assert "Bearer secret" in server.requests[0]
        assert "Bearer" not in other.requests[0]
    assert (answer.url, answer.text) == (other.url, "ok")


@pytest.fixture(scope="module")
def root() -> pki.Pair:
    return pki.authority()


@pytest.fixture(scope="module")
def tls(root: pki.Pair, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    made = pki.leaf(root, ["a.example"])
    file = tmp_path_factory.mktemp("tls") / "pair.pem"
    file.write_text(made.pem + made.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def test_never_from_https_to_http(tls: ssl.SSLContext, root: pki.Pair) -> None:
    with serving(OK) as plain, serving(moved(plain.url), context=tls) as server:
        with pytest.raises(InputError, match="must stay on https"):
            get(f"https://a.example:{server.port}/", redirects=3, address="127.0.0.1", trust=trust_context(root.pem))
        assert not plain.requests


def test_the_certificate_is_that_of_the_name_not_of_the_address(tls: ssl.SSLContext, root: pki.Pair) -> None:
    trust = trust_context(root.pem)
    with serving(OK, context=tls) as server:
        assert get(f"https://a.example:{server.port}/", address="127.0.0.1", trust=trust).ok
        unavailable("untrusted", f"https://b.example:{server.port}/", address="127.0.0.1", trust=trust)
        unavailable("untrusted", f"https://127.0.0.1:{server.port}/", trust=trust)
        unavailable("untrusted", f"https://a.example:{server.port}/", address="127.0.0.1")
        assert get(f"https://b.example:{server.port}/", address="127.0.0.1", trust=any_certificate()).ok
        # The shared contexts are as they were.
        unavailable("untrusted", f"https://b.example:{server.port}/", address="127.0.0.1", trust=trust)


# What must not hold it up.


def test_a_body_without_end_is_not_read_to_its_end() -> None:
    def endless(sock: socket.socket, _: str) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sock.sendall(b"x" * 65536)

    with serving(endless) as server:
        error = unavailable("too-large", server.url, limit=200_000)
        cut = get(server.url, limit=300, whole=False)
    assert "200000 bytes" in error.message
    assert cut.body == b"x" * 300


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_counted_as_it_unpacks(coding: str) -> None:
    squeeze = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    packed = b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(64)) + squeeze.flush()
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(packed)}\r\n\r\n"
    with serving(head.encode() + packed) as server:
        tracemalloc.start()
        try:
            unavailable("too-large", server.url)
            assert tracemalloc.get_traced_memory()[1] < 10 << 20
        finally:
            tracemalloc.stop()


def test_a_compressed_answer_within_the_limit_is_read() -> None:
    packed = gzip.compress(b"hello" * 1000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    with serving(head.encode() + packed) as server:
        assert get(server.url, limit=5000).body == b"hello" * 1000


def test_a_compressed_answer_that_is_broken_is_survived() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!"
    with serving(head) as server:
        unavailable("unreachable", server.url)


def drip(prefix: bytes) -> Handler:
    def handle(sock: socket.socket, _: str) -> None:
        sock.sendall(prefix)
        while True:
            sock.sendall(b"x")
            time.sleep(0.05)

    return handle


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize(
    "prefix", [b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Long: ", b"H"]
)
def test_a_server_that_drips_is_left_at_the_deadline(
    tls: ssl.SSLContext, root: pki.Pair, prefix: bytes, encrypted: bool
) -> None:
    with serving(drip(prefix), context=tls if encrypted else None) as server:
        url = f"{'https' if encrypted else 'http'}://a.example:{server.port}/"
        start = time.monotonic()
        unavailable("timeout", url, seconds=0.4, address="127.0.0.1", trust=trust_context(root.pem))
        assert 0.3 < time.monotonic() - start < 5


def test_continue_without_end_is_left_at_the_deadline() -> None:
    def handle(sock: socket.socket, _: str) -> None:
        while True:
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            time.sleep(0.02)

    with serving(handle) as server:
        unavailable("timeout", server.url, seconds=0.4)


def test_redirects_share_one_deadline() -> None:
    def handle(sock: socket.socket, _: str) -> None:
        time.sleep(0.2)
        sock.sendall(moved("/on"))

    with serving(handle) as server:
        start = time.monotonic()
        unavailable("timeout", server.url, seconds=0.5, redirects=50)
        assert time.monotonic() - start < 5


def test_a_handshake_that_stalls_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        start = time.monotonic()
        unavailable("timeout", f"https://127.0.0.1:{listener.getsockname()[1]}/", seconds=0.4)
        assert time.monotonic() - start < 5


def test_a_resolver_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        over.wait(30)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    unavailable("timeout", "http://slow.example/", seconds=0.3)
    over.set()
    assert time.monotonic() - start < 5


def test_a_host_that_is_not_found_is_named(names: dict[str, list[list[str]]]) -> None:
    names["gone.example"] = [[]]
    assert "gone.example" in unavailable("host-unknown", "http://gone.example/").message


def test_nobody_there_is_unreachable() -> None:
    assert "refused" in unavailable("refused", f"http://127.0.0.1:{free_port()}/").message


@pytest.mark.parametrize(
    ("answer", "code"),
    [(b"SSH-2.0-OpenSSH_9\r\n", "not-http"), (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", "cut")],
)
def test_what_went_wrong_has_a_code(answer: bytes, code: str) -> None:
    def handle(sock: socket.socket, _: str) -> None:
        sock.sendall(answer)
        sock.shutdown(socket.SHUT_RDWR)

    with serving(handle) as server:
        unavailable(code, server.url)


def test_what_speaks_no_tls_has_a_code() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH_9\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        unavailable("tls", f"https://127.0.0.1:{listener.getsockname()[1]}/")
        thread.join()


def test_a_dead_family_does_not_stop_it(names: dict[str, list[list[str]]], monkeypatch: pytest.MonkeyPatch) -> None:
    """An address of one family that swallows everything, as a firewall does."""
    monkeypatch.setattr(connections, "ADDRESS_SECONDS", 0.2)
    with _black_hole() as (dead, port), serving(OK, "::1", port):
        names["two.example"] = [[dead, "::1"]]
        start = time.monotonic()
        answer = get(f"http://two.example:{port}/")
        assert answer.address == "::1"
        assert time.monotonic() - start < 5


def test_families_are_tried_by_turns(names: dict[str, list[list[str]]]) -> None:
    names["many.example"] = [["::1", "::2", "::3", "127.0.0.1", "127.0.0.2"]]
    found = Line(CA, allow_private=True).addresses("many.example", 80, 1)
    assert [each[3][0] for each in found] == ["::1", "127.0.0.1", "::2", "127.0.0.2", "::3"]


@contextmanager
def _black_hole() -> Iterator[tuple[str, int]]:
    """A listener whose queue is full: the kernel drops further connections."""
    listener = socket.socket()
    listener.bind(("127.0.0.3", 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    fill = []
    for _ in range(4):
        sock = socket.socket()
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(("127.0.0.3", port))
        fill.append(sock)
    try:
        yield "127.0.0.3", port
    finally:
        for sock in [*fill, listener]:
            sock.close()


# Proxies.


class Proxy:
    """Says what it was asked for; answers CONNECT by a tunnel to `target`, and GET by itself."""

    def __init__(self, target: int = 0) -> None:
        self.target = target

    def __call__(self, sock: socket.socket, head: str) -> None:
        if not head.startswith("CONNECT"):
            sock.sendall(OK)
            return
        sock.sendall(b"HTTP/1.1 200 Go\r\n\r\n")
        with socket.create_connection(("127.0.0.1", self.target)) as far:
            for source, sink in ((sock, far), (far, sock)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()
            time.sleep(0.5)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_a_proxy_resolves_and_connects(environment: pytest.MonkeyPatch) -> None:
    with serving(Proxy()) as proxy:
        environment.setenv("HTTP_PROXY", proxy.url)
        answer = get("http://only-the-proxy-knows.example/x", allow_private=False)
        assert proxy.requests[0].startswith("GET http://only-the-proxy-knows.example/x ")
    assert (answer.text, answer.address) == ("ok", "")


def test_a_proxy_tunnels_and_we_verify(environment: pytest.MonkeyPatch, tls: ssl.SSLContext, root: pki.Pair) -> None:
    with serving(OK, context=tls) as server, serving(Proxy(server.port)) as proxy:
        environment.setenv("HTTPS_PROXY", proxy.url)
        assert get("https://a.example/", trust=trust_context(root.pem), allow_private=False).ok
        unavailable("untrusted", "https://b.example/", trust=trust_context(root.pem))
        assert proxy.requests[0].startswith("CONNECT a.example:443 ")


def test_a_proxy_that_is_asked_over_tls_is_verified_too(
    environment: pytest.MonkeyPatch, tls: ssl.SSLContext, root: pki.Pair, tmp_path: Path
) -> None:
    own = pki.leaf(root, ["127.0.0.1"])
    (tmp_path / "pair.pem").write_text(own.pem + own.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    trust = trust_context(root.pem)
    with serving(OK, context=tls) as server, serving(Proxy(server.port), context=context) as proxy:
        place = f"https://127.0.0.1:{proxy.port}"
        environment.setenv("HTTPS_PROXY", place)
        environment.setenv("HTTP_PROXY", place)
        for scheme in ("https", "http"):
            assert get(f"{scheme}://a.example/", trust=trust, allow_private=False).ok
            error = unavailable("proxy", f"{scheme}://a.example/")
            assert f"127.0.0.1:{proxy.port} ({scheme.upper()}_PROXY) is not trusted here" in error.message
            assert "BINDERY_CA_BUNDLE" in error.advice
        unavailable("untrusted", "https://b.example/", trust=trust)


def test_no_proxy_is_honoured(environment: pytest.MonkeyPatch, names: dict[str, list[list[str]]]) -> None:
    with serving(OK) as server:
        environment.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}/")
        environment.setenv("NO_PROXY", "near.example")
        names["near.example"] = [["127.0.0.1"]]
        assert get(f"http://near.example:{server.port}/").ok
        refused(f"http://near.example:{server.port}/")


def test_past_the_proxy_where_said(environment: pytest.MonkeyPatch) -> None:
    with serving(OK) as server:
        environment.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}/")
        unavailable("proxy", server.url)
        assert get(server.url, proxied=False).ok


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "[::1]", "localhost", "a.localhost", "169.254.169.254"])
def test_no_address_inside_is_asked_of_a_proxy(environment: pytest.MonkeyPatch, host: str) -> None:
    with serving(Proxy()) as proxy:
        environment.setenv("HTTP_PROXY", proxy.url)
        refused(f"http://{host}/")
        assert not proxy.requests


def test_a_proxy_that_drips_is_left_at_the_deadline(environment: pytest.MonkeyPatch) -> None:
    with serving(drip(b"HTTP/1.1 200 ")) as proxy:
        environment.setenv("HTTPS_PROXY", proxy.url)
        unavailable("timeout", "https://a.example/", seconds=0.4)


def gone(host: str) -> bytes:
    return f"HTTP/1.1 {host}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_gone_is_named(environment: pytest.MonkeyPatch, scheme: str) -> None:
    port = free_port()
    environment.setenv(f"{scheme}_proxy", f"http://user:s3cret@127.0.0.1:{port}")
    error = unavailable("proxy", f"{scheme}://a.example/")
    assert error.message == f"The proxy 127.0.0.1:{port} ({scheme}_proxy) cannot be reached: Connection refused."
    assert "NO_PROXY" in error.advice
    assert "s3cret" not in str(error)


def test_a_proxy_that_is_not_in_dns_is_named(
    environment: pytest.MonkeyPatch, names: dict[str, list[list[str]]]
) -> None:
    names["proxy.example"] = [[]]
    environment.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    error = unavailable("proxy", "https://a.example/")
    assert error.message == "The proxy proxy.example:3128 (HTTPS_PROXY) cannot be found in DNS."


@pytest.mark.parametrize(
    ("status", "mend"),
    [
        ("407 Proxy Authentication Required", "HTTPS_PROXY=http://user:password@host:port"),
        ("403 Forbidden", "permit the way to a.example:443"),
        ("503 Service Unavailable", "could not reach a.example:443 itself"),
    ],
)
def test_a_proxy_that_refuses_is_named_with_the_mend(environment: pytest.MonkeyPatch, status: str, mend: str) -> None:
    with serving(gone(status)) as proxy:
        environment.setenv("HTTPS_PROXY", proxy.url.replace("//", "//user:s3cret@"))
        error = unavailable("proxy", "https://a.example/")
        assert "Proxy-Authorization: Basic dXNlcjpzM2NyZXQ=" in proxy.requests[0]
    assert (
        error.message == f"The proxy 127.0.0.1:{proxy.port} (HTTPS_PROXY) refuses the way to a.example:443: {status}."
    )
    assert mend in error.advice
    assert "s3cret" not in str(error)


def test_a_proxy_that_wants_a_log_in_for_plain_http_is_named(environment: pytest.MonkeyPatch) -> None:
    with serving(gone("407 Proxy Authentication Required")) as proxy:
        environment.setenv("HTTP_PROXY", proxy.url)
        error = unavailable("proxy", "http://a.example/crl")
    assert "refuses the way to a.example: 407" in error.message


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 200 "])
def test_a_proxy_that_hangs_is_named_at_the_deadline(environment: pytest.MonkeyPatch, greeting: bytes) -> None:
    def hang(sock: socket.socket, _: str) -> None:
        sock.sendall(greeting)
        time.sleep(2)

    with serving(hang) as proxy:
        environment.setenv("HTTPS_PROXY", proxy.url)
        start = time.monotonic()
        error = unavailable("timeout", "https://a.example/", seconds=0.4)
        assert time.monotonic() - start < 5
    assert error.message == f"The proxy 127.0.0.1:{proxy.port} (HTTPS_PROXY) did not answer in time."


def test_what_is_no_proxy_is_refused_before_anything_is_asked(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(InputError, match="ALL_PROXY names a proxy of the kind socks5://"):
        get("https://a.example/")


def test_who_issued_what_is_not_trusted_is_told_with_the_mend(tls: ssl.SSLContext, root: pki.Pair) -> None:
    with serving(OK, context=tls) as server:
        error = unavailable("untrusted", f"https://a.example:{server.port}/", address="127.0.0.1")
        assert "issued by “" in error.message
        assert error.advice == "If your company inspects TLS, give its root certificate by BINDERY_CA_BUNDLE."
        other = unavailable(
            "untrusted", f"https://b.example:{server.port}/", address="127.0.0.1", trust=trust_context(root.pem)
        )
        assert not other.advice  # another name is not mended by another root


def test_the_operators_roots_are_trusted_besides(tls: ssl.SSLContext, root: pki.Pair) -> None:
    with serving(OK, context=tls) as server:
        url = f"https://a.example:{server.port}/"
        roots.roots_add(f"Über uns\n{root.pem}")
        try:
            assert get(url, address="127.0.0.1").ok
            assert get(url, address="127.0.0.1", trust=trust_context(pki.authority("own").pem)).ok
        finally:
            roots.roots_add("")
        unavailable("untrusted", url, address="127.0.0.1")


# What it says and keeps.


def test_it_says_who_asks_and_sends_no_password_of_a_netrc(environment: pytest.MonkeyPatch, tmp_path: Any) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login alice password secret\n")
    environment.setenv("NETRC", str(netrc))
    with serving(OK) as server:
        get(server.url, purpose=PROBE, version="1.2")
        head = server.requests[0]
    assert "User-Agent: Bindery/1.2 (reachability probe; Python " in head
    assert "Authorization" not in head


def test_a_kept_connection_is_neither_made_nor_resolved_again(names: dict[str, list[list[str]]]) -> None:
    names["kept.example"] = [["127.0.0.1"], []]
    line = Line(CA, allow_private=True)
    with serving(OK) as server, requests.Session() as session:
        session.mount("http://", Adapter(line, trust_context(), seconds=5))
        for _ in range(3):
            assert session.get(f"http://kept.example:{server.port}/").text == "ok"
    assert len(server.requests) == 3
    assert names["kept.example"] == [[]]


def test_each_request_on_it_has_its_own_deadline() -> None:
    with serving(OK) as server, requests.Session() as session:
        session.mount("http://", Adapter(Line(CA, allow_private=True), trust_context(), seconds=0.3))
        session.get(server.url)
        time.sleep(0.35)
        assert session.get(server.url).text == "ok"
