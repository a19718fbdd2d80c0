"""The harness itself: what is missing is named, demanded in CI, and ports and DNS are what they say."""

import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest
import requests

from tests.harness import counterparts
from tests.harness.balancer import Balancer
from tests.harness.dns import DnsServer
from tests.harness.haproxy import Haproxy
from tests.harness.need import need
from tests.harness.ports import free_ports, is_listening


@pytest.fixture
def nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(counterparts, "CACHE", tmp_path)


@pytest.mark.usefixtures("nothing_here")
def test_a_missing_counterpart_skips_the_test_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="left out: pebble is not here"):
        need("pebble")


@pytest.mark.usefixtures("nothing_here")
def test_in_ci_a_missing_counterpart_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="left out: chromium"):
        need("chromium")


@pytest.mark.usefixtures("nothing_here")
def test_what_is_left_out_is_told_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    said: list[str] = []
    assert counterparts.main(said.append) == 0
    assert any(line.startswith("left out: chromium, needed for all pages") for line in said)
    assert any("no apt-get" in line for line in said)
    monkeypatch.setenv("CI", "true")
    assert counterparts.main(said.append) == 1
    assert "CI is set" in said[-1]


def test_free_ports_are_free_and_different() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert not any(is_listening(port) for port in ports)
    with socket.create_server(("127.0.0.1", ports[0])):
        assert is_listening(ports[0])


@pytest.mark.parametrize("make", [DnsServer, lambda: Balancer(free_ports(1)[0])], ids=["dns", "balancer"])
def test_many_who_come_at_once_are_all_let_in(
    make: Callable[[], DnsServer | Balancer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pebble asks DNS by TCP, and gives up after five seconds: one whose first packet is dropped has lost one."""
    busy = threading.Event()
    accept = socketserver.TCPServer.get_request

    def get_request(server: socketserver.TCPServer) -> object:
        busy.wait(10)
        return accept(server)

    monkeypatch.setattr(socketserver.TCPServer, "get_request", get_request)
    with make() as server, ExitStack() as stack:
        stack.callback(busy.set)
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=0.9))


@pytest.mark.parametrize("ask", [dns.query.udp, dns.query.tcp])
def test_every_name_leads_to_loopback_unless_told_otherwise(ask: object) -> None:
    def values(name: str, kind: str) -> list[str]:
        answer = ask(dns.message.make_query(name, kind), "127.0.0.1", port=server.port, timeout=5)  # type: ignore[operator]
        if answer.rcode() != dns.rcode.NOERROR:
            return [dns.rcode.to_text(answer.rcode())]
        return [item.to_text() for row in answer.answer for item in row]

    with DnsServer() as server:
        assert values("any.test", "A") == ["127.0.0.1"]
        assert values("any.test", "AAAA") == []
        server.record("any.test", "TXT", '"one"', '"two"')
        server.record("none.test", "A")
        server.fail("broken.test")
        assert sorted(values("any.test", "TXT")) == ['"one"', '"two"']
        assert values("none.test", "A") == []
        assert values("broken.test", "CAA") == ["SERVFAIL"]


def test_haproxy_serves_other_sections_after_a_reload_and_keeps_its_own_where_they_are_refused() -> None:
    need("haproxy")
    port = free_ports(1)[0]

    def says(status: int) -> str:
        return f"frontend web\n    bind 127.0.0.1:{port}\n    http-request return status {status}\n"

    def asked() -> int:
        return requests.get(f"http://127.0.0.1:{port}/", timeout=5).status_code

    with Haproxy(says(200), port=port) as haproxy:
        assert asked() == 200
        haproxy.reload(says(403))
        assert asked() == 403
        with pytest.raises(ValueError, match="nonsense"):
            haproxy.reload("frontend web\n    nonsense\n")
        assert asked() == 403
