"""The answers of the server itself."""

import pytest

from portal.plainhttp import is_plain_http_path
from portal.server.redirects import authority_split, to_https


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("a.test", ("a.test", None)),
        ("a.test:8443", ("a.test", 8443)),
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:8000", ("::1", 8000)),
        ("", None),
        ("a.test/evil", None),
        ("user@a.test", None),
        ("a.test\r\nX: y", None),
        ("a.test:port", None),
    ],
)
def test_host_headers(host: str, expected: tuple[str, int | None] | None) -> None:
    assert authority_split(host) == expected


def test_redirect_keeps_the_path_and_ends_the_connection() -> None:
    answer = to_https("https://a.test:8443", "/x?y=1").decode()
    assert answer.startswith("HTTP/1.1 308 Permanent Redirect\r\nConnection: close\r\n")
    assert "\r\nLocation: https://a.test:8443/x?y=1\r\n" in answer
    assert "\r\nCache-Control: no-store\r\n" in answer  # another port tomorrow


def test_redirect_never_lets_the_target_change_the_host() -> None:
    assert "\r\nLocation: https://a.test/\r\n" in to_https("https://a.test", ".evil.test/").decode()
    assert "\r\nLocation: https://a.test//evil.test/\r\n" in to_https("https://a.test", "//evil.test/").decode()


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("/.well-known/acme-challenge/abc", True),
        ("/.well-known/acme-challenge", False),
        ("/healthz", True),
        ("/healthz/", True),
        ("/healthzz", False),
        ("/pki/crl/1.crl", True),
        ("/pki/ocsp", True),
        ("/pki/ocsp/MFE", True),
        ("/", False),
        ("/certificates/", False),
    ],
)
def test_plain_paths(path: str, plain: bool) -> None:
    assert is_plain_http_path(path) is plain
