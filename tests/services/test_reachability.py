import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pytest_django import Settings

from certs.models import AcmeAccount
from certs.services import reachability
from certs.services.reachability import private_allowed, probe_answer, probe_token, reach_probe, reach_probe_all
from portal import clock
from tests import stock
from tests.harness.bind import Bind
from tests.harness.need import need
from tests.harness.ports import free_port

Answer = Callable[[str], tuple[int, dict[str, str], bytes]]


@contextmanager
def server(answer: Answer) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running.server_address[1]
        running.shutdown()
        thread.join()


def portal(path: str) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, (probe_answer(path.rpartition("/")[2]) or "").encode()


def test_a_token_of_this_portal_is_answered() -> None:
    answer = probe_answer(probe_token())
    assert answer
    assert answer.startswith("bindery-probe-")


@pytest.mark.parametrize("token", ["", "x", "bindery-probe-", "bindery-probe-1-2-3", "bindery-probe-zz", "a" * 500])
def test_any_other_token_is_not(token: str) -> None:
    assert probe_answer(token) is None


def test_a_changed_or_old_token_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    token = probe_token()
    assert probe_answer(token[:-1] + ("0" if token[-1] != "0" else "1")) is None
    later = time.time() + 301
    monkeypatch.setattr(reachability.time, "time", lambda: later)
    assert probe_answer(token) is None


def test_another_secret_key_is_another_portal(settings: Settings) -> None:
    token = probe_token()
    settings.SECRET_KEY = "another"
    assert probe_answer(token) is None


def test_the_portal_is_found(settings: Settings) -> None:
    with server(portal) as port:
        settings.PROBE_PORT = port
        result = reach_probe("localhost", allow_private=True)
    assert result.ok
    assert result.vantage == "this server, through its DNS"
    assert "127.0.0.1" in result.addresses


def test_redirects_are_followed_like_a_ca(settings: Settings) -> None:
    def moved(path: str) -> tuple[int, dict[str, str], bytes]:
        return (302, {"Location": f"/moved{path}"}, b"") if not path.startswith("/moved") else portal(path)

    with server(moved) as port:
        settings.PROBE_PORT = port
        assert reach_probe("localhost", allow_private=True).ok


def test_what_answers_instead_is_shown(settings: Settings) -> None:
    with server(lambda _: (404, {}, b"<h1>\x00Welcome to nginx!</h1>" + b"x" * 9000)) as port:
        settings.PROBE_PORT = port
        result = reach_probe("localhost", allow_private=True)
    assert (result.outcome, result.status) == ("other", 404)
    assert "Welcome to nginx!" in result.seen
    assert len(result.seen) <= 300
    assert result.seen.isprintable()


def test_an_echo_is_not_taken_for_the_portal(settings: Settings) -> None:
    with server(lambda path: (200, {}, path.rpartition("/")[2].encode())) as port:
        settings.PROBE_PORT = port
        assert reach_probe("localhost", allow_private=True).outcome == "other"


@pytest.mark.parametrize("location", ["ftp://localhost/x", "http://", "javascript:alert(1)", "http://local host/"])
def test_a_redirect_to_nowhere_is_no_crash(settings: Settings, location: str) -> None:
    with server(lambda _: (302, {"Location": location}, b"")) as port:
        settings.PROBE_PORT = port
        assert reach_probe("localhost", allow_private=True).outcome in {"no-connection", "other"}


def test_an_endless_redirect_ends(settings: Settings) -> None:
    with server(lambda path: (302, {"Location": path}, b"")) as port:
        settings.PROBE_PORT = port
        assert "redirects more than" in reach_probe("localhost", allow_private=True).detail


def test_a_closed_port_is_a_refused_connection(settings: Settings) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings.PROBE_PORT = free.getsockname()[1]
        result = reach_probe("127.0.0.1", allow_private=True)
    assert (result.outcome, "refused" in result.detail) == ("no-connection", True)


def test_what_does_not_speak_http_is_said(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings.PROBE_PORT = listening.getsockname()[1]

        def greet() -> None:
            connection, _ = listening.accept()
            connection.sendall(b"SSH-2.0-OpenSSH_9\r\n")
            connection.recv(4096)
            connection.close()

        thread = threading.Thread(target=greet)
        thread.start()
        result = reach_probe("127.0.0.1", allow_private=True)
        thread.join()
    assert "does not speak HTTP" in result.detail


def test_a_name_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(reachability.socket, "getaddrinfo", unknown)
    assert reach_probe("nowhere.example.com").outcome == "no-address"


def test_one_name_that_hangs_keeps_no_other_waiting(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    real = socket.getaddrinfo

    def slow(name: str, *args: object, **kwargs: object) -> object:
        if name == "slow.example.com":
            released.wait(10)
        return real("localhost", *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(reachability.socket, "getaddrinfo", slow)
    monkeypatch.setattr(reachability, "_ALL_SECONDS", 1.0)
    settings.ALLOW_PRIVATE_CA = True
    with server(portal) as port:
        settings.PROBE_PORT = port
        slow_result, quick = reach_probe_all(["slow.example.com", "localhost"])
        released.set()
    assert quick.ok
    assert "No result within" in slow_result.detail


@pytest.mark.parametrize("answers", [True, False])
def test_of_a_private_address_only_the_portal_is_told(settings: Settings, answers: bool) -> None:
    def secret(_: str) -> tuple[int, dict[str, str], bytes]:
        return 200, {"X-Secret": "1"}, b"the inside of the network"

    with server(secret) as port:
        settings.PROBE_PORT = port if answers else free_port()
        result = reach_probe("localhost")
    assert not result.ok
    assert (result.status, result.seen) == (0, "")
    assert "The portal does not answer at " in result.detail
    assert "not on the Internet" in result.detail


def test_our_own_answer_at_a_private_address_counts(settings: Settings) -> None:
    with server(portal) as port:
        settings.PROBE_PORT = port
        assert reach_probe("localhost").ok


def test_a_redirect_leads_nowhere_inside(settings: Settings) -> None:
    asked: list[str] = []

    def inside(path: str) -> tuple[int, dict[str, str], bytes]:
        asked.append(path)
        return portal(path)

    with (
        server(inside) as other,
        server(lambda path: (302, {"Location": f"http://127.0.0.1:{other}{path}"}, b"")) as port,
    ):
        settings.PROBE_PORT, settings.PROBE_TLS_PORT = port, other  # a port that CAs follow to
        assert not reach_probe("localhost").ok
        assert not asked
        assert reach_probe("localhost", allow_private=True).ok


def test_a_redirect_of_the_same_name_stays_at_the_address(settings: Settings) -> None:
    asked: list[str] = []

    def further(path: str) -> tuple[int, dict[str, str], bytes]:
        asked.append(path)
        return portal(path)

    with (
        server(further) as other,
        server(lambda path: (302, {"Location": f"http://a.example:{other}{path}"}, b"")) as port,
    ):
        settings.PROBE_PORT, settings.PROBE_TLS_PORT = port, other
        result = reach_probe("a.example", address="127.0.0.1", allow_private=True)
    assert result.ok
    assert result.last == f"http://a.example:{other}{asked[0]}"


def test_each_hop_is_told(settings: Settings) -> None:
    def moved(path: str) -> tuple[int, dict[str, str], bytes]:
        if path.startswith("/moved"):
            return portal(path)
        return 302, {"Location": f"/moved{path}", "X": "1"}, b""

    with server(moved) as port:
        settings.PROBE_PORT = port
        result = reach_probe("localhost", address="127.0.0.1", allow_private=True)
    first, last = result.hops
    assert (first.status, first.address) == (302, "127.0.0.1")
    assert result.url.startswith(first.url.removesuffix("…"))  # the rest of the token says nothing to a person
    assert first.location.startswith("/moved/.well-known/acme-challenge/bindery-probe-")
    assert "BaseHTTP" in first.server
    assert (last.status, last.location) == (200, "")
    assert result.last.startswith(last.url.removesuffix("…"))


def test_a_redirect_to_a_port_that_no_ca_follows_to_is_not_followed(settings: Settings) -> None:
    """The portal answers there, and would make it look as if all were well."""
    with (
        server(portal) as other,
        server(lambda path: (302, {"Location": f"http://127.0.0.1:{other}{path}"}, b"")) as port,
    ):
        settings.PROBE_PORT = port
        result = reach_probe("localhost", allow_private=True)
    assert (result.ok, result.outcome) == (False, "other")
    assert f"leads to port {other}" in result.detail
    assert "the ports 80 and 443 only" in result.detail
    assert len(result.hops) == 1


@pytest.mark.parametrize("location", ["/", "/.well-known/acme-challenge/", "//localhost:{port}/login?next=x"])
def test_a_redirect_that_drops_the_path_is_named(settings: Settings, location: str) -> None:
    with server(lambda _: (302, {"Location": location}, b"")) as port:
        settings.PROBE_PORT = port
        location = location.format(port=port)
        result = reach_probe("localhost", allow_private=True)
    assert result.outcome == "other"
    assert "drops the path" in result.detail


def test_the_server_names_itself_and_may_say_nonsense(settings: Settings) -> None:
    with server(lambda _: (200, {"Server": "\x1b[31mevil" + "x" * 500}, b"<html>all of it</html>")) as port:
        settings.PROBE_PORT = port
        result = reach_probe("localhost", allow_private=True)
    assert result.outcome == "other"
    assert "status 200" in result.detail
    assert result.server.isprintable()
    assert len(result.server) <= 80


def test_what_fails_behind_a_redirect_is_told_as_such(settings: Settings) -> None:
    free = free_port()
    with server(lambda path: (302, {"Location": f"https://127.0.0.1:{free}{path}"}, b"")) as port:
        settings.PROBE_PORT, settings.PROBE_TLS_PORT = port, free
        result = reach_probe("localhost", allow_private=True)
    assert result.outcome == "no-connection"
    assert result.detail.startswith(f"After a redirect to https://127.0.0.1:{free}/")


def test_the_portal_is_asked_where_a_redirect_could_lead(settings: Settings) -> None:
    with server(portal) as port:
        settings.PROBE_PORT, settings.PROBE_TLS_PORT = port, free_port()
        assert reach_probe("localhost", allow_private=True).ok
        assert not reach_probe("localhost", allow_private=True, scheme="https").ok


def test_one_address_of_a_name_is_asked(settings: Settings) -> None:
    with server(portal) as port:
        settings.PROBE_PORT = port
        assert reach_probe("a.example", address="127.0.0.1").ok
        assert not reach_probe("a.example", address="::1", allow_private=True).ok


@pytest.mark.django_db
def test_private_addresses_are_permitted_for_a_ca_in_use(settings: Settings) -> None:
    settings.ALLOW_PRIVATE_CA = False
    account = stock.account()
    assert not private_allowed()
    AcmeAccount.objects.filter(pk=account.pk).update(allow_private=True)
    assert private_allowed()
    AcmeAccount.objects.filter(pk=account.pk).update(deactivated_at=clock.now())
    assert not private_allowed()
    settings.ALLOW_PRIVATE_CA = True
    assert private_allowed()


def test_the_resolvers_of_the_settings_are_asked_where_there_are_any(settings: Settings) -> None:
    need("named")
    records = {"test": [], "one.test": ["here A 127.0.0.1", "gone TXT nothing"]}
    with Bind(zones=records, records=records) as bind, server(portal) as port:
        settings.PROBE_PORT = port
        settings.DNS_RESOLVERS = settings.DNS_AUTHORITIES = [bind.address]
        assert reach_probe("here.one.test", allow_private=True).ok  # no other DNS knows it
        assert reach_probe("gone.one.test").outcome == "no-address"
    assert reach_probe("here.one.test").outcome == "no-address"
