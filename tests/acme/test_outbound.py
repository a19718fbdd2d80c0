import socket
from typing import Any

import pytest

from certs.acme.outbound import address_check
from certs.domain.errors import AcmeRetry, InputError


def resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def answer(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "224.0.0.1",
        "ff02::1",
    ],
)
def test_an_address_that_is_not_on_the_internet_needs_a_tick(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    resolves_to(monkeypatch, address)
    with pytest.raises(InputError) as error:
        address_check("https://ca.example/directory", allow_private=False)
    assert "allow_private_ca" in error.value.advice
    address_check("https://ca.example/directory", allow_private=True)


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to(monkeypatch, "1.1.1.1", "192.168.0.1")
    with pytest.raises(InputError):
        address_check("https://ca.example/directory", allow_private=False)


def test_a_public_address_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to(monkeypatch, "1.1.1.1", "2606:4700::1111")
    address_check("https://ca.example/directory", allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://ca.example/directory",
        "ftp://ca.example/",
        "ca.example/directory",
        "",
        "https://",
        "https:///directory",
        "https://user:secret@ca.example/",
        "https://ca.example:99999/",
    ],
)
def test_only_whole_https_addresses_are_asked(url: str) -> None:
    with pytest.raises(InputError):
        address_check(url, allow_private=True)


@pytest.mark.parametrize("failure", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
def test_a_host_that_is_not_found_is_named(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(AcmeRetry, match=r"ca\.example"):
        address_check("https://ca.example/directory", allow_private=False)
