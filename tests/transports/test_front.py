"""A look at an HTTPS address, taken at Debian's nginx with certificates of our own making."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certs.domain.errors import Unavailable
from certs.transports.front import Look, look
from tests.harness import pki
from tests.harness.need import need
from tests.harness.nginx import Nginx
from tests.harness.ports import free_port, free_ports

PORTS = free_ports(3)
HEADERS = 'add_header Strict-Transport-Security "max-age=63072000"; add_header Strict-Transport-Security "max-age=1";'
SITE = """server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {home}/{name}.pem;
    ssl_certificate_key {home}/{name}.key;
    {more}
    location /there {{ return 200 'hello'; }}
}}
"""


CA = pki.authority("A Public Root")


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    file = tmp_path / "roots.pem"
    file.write_text(CA.pem)
    return file


@pytest.fixture(scope="module", autouse=True)
def front() -> Iterator[Nginx]:
    need("nginx")
    server = Nginx("", PORTS)
    pairs = {
        "good": pki.leaf(CA, ["localhost"]),
        "other": pki.leaf(CA, ["other.test"]),
        "alone": pki.leaf(None, ["localhost"]),
    }
    for name, pair in pairs.items():
        (server.home / f"{name}.pem").write_text(pair.pem)
        (server.home / f"{name}.key").write_text(pair.key_pem)
    names = zip(pairs, PORTS, ("", HEADERS, ""), strict=True)
    server.sites = "".join(SITE.format(port=port, home=server.home, name=name, more=more) for name, port, more in names)
    with server:
        yield server


def _at(number: int, roots: Path, path: str = "/there") -> Look:
    return look("localhost", PORTS[number], path, roots)


def test_what_a_browser_would_take(roots: Path) -> None:
    found = _at(0, roots)
    assert (found.distrust, found.status, found.body, found.hsts) == ("", 200, "hello", ())
    assert found.leaf.subject.rfc4514_string() == "CN=localhost"
    assert _at(0, roots, "/elsewhere").status == 404


@pytest.mark.parametrize(("number", "why"), [(1, "Hostname mismatch"), (2, "self-signed certificate")])
def test_why_a_browser_would_warn(roots: Path, number: int, why: str) -> None:
    found = _at(number, roots)
    assert why in found.distrust.replace("self signed", "self-signed")
    assert found.status == 200


def test_each_hsts_header_as_it_comes(roots: Path) -> None:
    assert _at(1, roots).hsts == ("max-age=63072000", "max-age=1")


def test_roots_that_cannot_be_read_are_no_trust(tmp_path: Path) -> None:
    assert "cannot be read" in _at(0, tmp_path / "none.pem").distrust


def test_what_cannot_be_reached_is_said(roots: Path) -> None:
    with pytest.raises(Unavailable, match=r"cannot be reached over TLS from this server: Connection refused"):
        look("localhost", free_port(), "/", roots)
    with pytest.raises(Unavailable, match="has no address"):
        look("no-such-name.invalid", 443, "/", roots)
