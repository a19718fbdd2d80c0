"""What the HTTP challenge says of what it sees."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from certs.solvers.base import Site, Task
from certs.solvers.http01 import PATH, Http01
from tests.harness.bind import Bind
from tests.harness.need import need
from tests.harness.ports import LOOPBACK, free_port

TASK = Task("localhost", "tok-en", "tok-en.thumbprint")


class Server:
    def __init__(self) -> None:
        self.status, self.headers, self.body = 200, {}, b""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(server.status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(server.body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer((LOOPBACK, 0), Handler)
        self.port = self._server.server_address[1]
        self.thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


def look(port: int) -> Any:
    asked = f"http://localhost:{port}{PATH}{TASK.token}"
    return Http01(site=Site(allow_private=lambda: True)).look(
        Task(TASK.name, TASK.token, TASK.key_authorization, asked)
    )


@pytest.mark.parametrize(
    ("status", "headers", "body", "seen"),
    [
        (200, {}, b"tok-en.thumbprint\n", "the right answer"),
        (200, {}, b"tok-en.another", "another account"),
        (200, {}, b"\x00\x01\x02binary\x00", "with something else: binary"),
        (200, {}, b"<html>\n  Welcome to nginx\n</html>", "something else: <html> Welcome to nginx </html>"),
        (404, {}, b"", "HTTP 404 without a body"),
        (301, {"Location": "https://elsewhere.example/"}, b"", "a redirect to https://elsewhere.example/"),
        (302, {}, b"", "a redirect to nowhere"),
        (200, {}, b"\xff\xfe\x00" * 2000, "something else"),
    ],
)
def test_what_is_seen_is_put_into_words(
    server: Server, status: int, headers: dict[str, str], body: bytes, seen: str
) -> None:
    server.status, server.headers, server.body = status, headers, body
    evidence = look(server.port)
    assert seen in evidence.seen
    assert evidence.curl == f"curl -i {evidence.url}"
    assert len(evidence.seen) < 400


@pytest.mark.parametrize(("body", "right"), [(b"tok-en.thumbprint", True), (b"a secret", False)])
def test_of_a_private_address_only_our_own_answer_is_told(server: Server, body: bytes, right: bool) -> None:
    server.body = body
    asked = f"http://localhost:{server.port}{PATH}{TASK.token}"
    evidence = Http01().look(Task("localhost", TASK.token, TASK.key_authorization, asked))
    assert evidence.right == right
    if not right:
        assert evidence.seen.startswith("not our answer: localhost is at ")
        assert evidence.seen.endswith("which is not on the Internet")


def test_an_answer_that_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certs.solvers.http01.LOOK_SECONDS", 0.3)
    with socket.create_server((LOOPBACK, 0)) as listener:
        evidence = look(listener.getsockname()[1])
    assert "no answer within" in evidence.seen


def test_a_closed_port_is_seen() -> None:
    assert "refused" in look(free_port()).seen


def test_a_name_without_an_address_is_seen() -> None:
    evidence = Http01().look(Task("no-such-name.invalid", "t", "t.x"))
    assert "cannot find the name" in evidence.seen
    assert evidence.url == "http://no-such-name.invalid/.well-known/acme-challenge/t"


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "https://localhost/.well-known/acme-challenge/tok-en",
        "http://169.254.169.254/.well-known/acme-challenge/tok-en",
        "http://localhost/latest/meta-data",
        "http://localhost:8080/.well-known/acme-challenge/tok-en?x=1",
    ],
)
def test_only_the_challenges_own_place_is_looked_at_whatever_the_ca_names(
    asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certs.solvers.http01._seen", lambda url, expected, site: url)
    evidence = Http01().look(Task("localhost", "tok-en", "tok-en.x", asked))
    assert evidence.seen == "http://localhost/.well-known/acme-challenge/tok-en"


def test_the_resolvers_of_the_settings_are_asked_instead_of_the_systems(server: Server) -> None:
    need("named")
    records = {"test": [], "one.test": ["here A 127.0.0.1", "gone TXT nothing"]}
    with Bind(zones=records, records=records) as bind:
        site = Site(resolvers=(bind.address,), authorities=(bind.address,), allow_private=lambda: True)

        def seen(name: str, asked: Site) -> str:
            place = f"http://{name}:{server.port}{PATH}token"
            task = Task(name=name, token="token", key_authorization="token.thumb", asked=place)
            return Http01(site=asked).look(task).seen

        assert "cannot find" in seen("here.one.test", Site(allow_private=lambda: True))
        assert seen("here.one.test", site).startswith("HTTP ")
        assert "cannot find" in seen("gone.one.test", site)
