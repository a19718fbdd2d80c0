"""A token is answered whatever Host it is asked under: names that lead here by redirect or by proxy are anybody's."""

import socket
from collections.abc import Iterator

import pytest

from tests.harness.portal import Portal
from tests.harness.ports import LOOPBACK
from tests.harness.tls import client_context

pytestmark = pytest.mark.e2e
PATH = "/.well-known/acme-challenge/"
# Force SSL and HSTS on, and an administrator: from then on unknown hosts are refused on every page.
STRICT = """
from certs.models import User
from certs.services.portal_state import state_update
User.objects.create_superuser("alice@example.com", "correct-horse-battery")
state_update(force_ssl=True, hsts=True, hsts_host="portal.test", hsts_step=3, public_url="https://portal.test")
"""
PROBE = """
from certs.services.reachability import probe_answer, probe_token
token = probe_token()
result = [token, probe_answer(token)]
"""

NAMED = {
    "unknown name": ["Host: shop.elsewhere.example"],
    "the portal's own": ["Host: portal.test"],
    "port": ["Host: shop.elsewhere.example:8080"],
    "upper case": ["Host: SHOP.Elsewhere.EXAMPLE"],
    "trailing dot": ["Host: shop.elsewhere.example."],
    "IPv4": ["Host: 192.0.2.80"],
    "IPv6 in brackets": ["Host: [2001:db8::80]"],
    "IPv6 with port": ["Host: [2001:db8::80]:80"],
    "underscore": ["Host: my_shop.elsewhere.example"],
    "A-label": ["Host: xn--bcher-kva.example"],
    "empty": ["Host:"],
    "junk": ["Host: <script>alert(1)</script>"],
    "two words": ["Host: shop example"],
    "bytes": ["Host: b\xfccher.example"],
    "very long": [f"Host: {'a' * 300}.example"],
    "a path": ["Host: shop.example/../../etc"],
    "user and password": ["Host: alice:secret@shop.example"],
    "bad port": ["Host: shop.example:99999999"],
    "forwarded for another": ["Host: shop.example", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https"],
}


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    with Portal() as running:
        running.run(STRICT)
        yield running


@pytest.fixture(scope="module")
def probe(portal: Portal) -> tuple[str, str]:
    token, answer = portal.run(PROBE)
    return token, answer


def _ask(portal: Portal, scheme: str, lines: list[str], *, path: str, version: str = "1.1") -> tuple[int, str]:
    """Status and the whole answer, to exactly these lines."""
    request = "\r\n".join([f"GET {path} HTTP/{version}", *lines, "Connection: close", "", ""]).encode("latin-1")
    port = portal.http_port if scheme == "http" else portal.https_port
    with socket.create_connection((LOOPBACK, port), timeout=30) as plain:
        stream = client_context().wrap_socket(plain, server_hostname="shop.example") if scheme == "https" else plain
        with stream:
            stream.sendall(request)
            answer = b""
            while chunk := stream.recv(65536):
                answer += chunk
    return int(answer.split()[1]), answer.decode("latin-1")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("name", NAMED)
def test_a_token_is_answered_under_any_host(portal: Portal, probe: tuple[str, str], name: str, scheme: str) -> None:
    status, said = _ask(portal, scheme, NAMED[name], path=PATH + probe[0])
    assert status == 200, said
    head, _, body = said.partition("\r\n\r\n")
    assert probe[1] in body
    assert "strict-transport-security" not in head.lower()
    assert "location:" not in head.lower()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_token_is_answered_without_any_host(portal: Portal, probe: tuple[str, str], scheme: str) -> None:
    status, said = _ask(portal, scheme, [], path=PATH + probe[0], version="1.0")
    assert (status, probe[1] in said) == (200, True)
    status, said = _ask(portal, scheme, ["Host: shop.example"], path=f"http://shop.example{PATH}{probe[0]}")
    assert (status, probe[1] in said) == (200, True)  # RFC 9112 §3.2.2: the absolute form must be accepted


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_two_hosts_are_refused_or_answered_and_never_a_fault(
    portal: Portal, probe: tuple[str, str], scheme: str
) -> None:
    """RFC 9112 §3.2 wants 400 for two of them, and for none in HTTP/1.1; no CA sends such a thing."""
    for lines in (["Host: one.example", "Host: two.example"], ["Host: one.example", "Host: one.example"], []):
        status, said = _ask(portal, scheme, lines, path=PATH + probe[0])
        assert status in {200, 400}, said
    assert _ask(portal, scheme, ["Host: shop.example"], path=PATH + probe[0])[0] == 200  # and it goes on


def test_no_page_is_shown_under_an_unknown_host(portal: Portal) -> None:
    """What is open for tokens is open for nothing else."""
    for name in ("unknown name", "IPv4", "junk", "empty"):
        status, said = _ask(portal, "https", NAMED[name], path="/")
        assert status == 400, said
        assert "<script>alert" not in said
    assert _ask(portal, "http", ["Host: portal.test"], path="/")[0] == 307  # Force SSL is on
