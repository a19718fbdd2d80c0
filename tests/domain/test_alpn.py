"""The TLS challenge: what a CA shows itself by, and what it is shown."""

import ipaddress
import ssl
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from certs.domain import alpn
from certs.domain.keys import key_generate

NOW = datetime(2026, 9, 1, tzinfo=UTC)


def client_hello(server_name: str | None, *protocols: str) -> bytes:
    """As OpenSSL writes it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    ("server_name", "protocols", "asked"),
    [
        ("a.example.com", ("acme-tls/1",), "a.example.com"),
        (None, ("acme-tls/1",), ""),
        ("a.example.com", ("acme-tls/1", "h2"), None),
        ("a.example.com", ("http/1.1", "acme-tls/1"), None),
        ("a.example.com", ("h2", "http/1.1"), None),
        ("acme-tls/1.example.com", (), None),
        ("a.example.com", (), None),
    ],
)
def test_only_who_offers_nothing_else_is_a_ca(server_name: str | None, protocols: tuple[str, ...], asked: str) -> None:
    record = client_hello(server_name, *protocols)
    assert alpn.challenge_asked(record) == asked
    hello = alpn.hello_read(record)
    assert hello is not None
    assert hello.server_name == (server_name or "")
    assert hello.protocols == tuple(protocol.encode() for protocol in protocols)


@pytest.mark.parametrize("length", range(0, 250, 7))
def test_a_hello_cut_short_is_nobodys(length: int) -> None:
    assert alpn.hello_read(client_hello("a.example.com", "acme-tls/1")[:length]) is None


@given(st.binary(max_size=400), st.integers(0, 600))
def test_no_bytes_whatever_make_the_reader_fail(noise: bytes, at: int) -> None:
    whole = client_hello("a.example.com", "acme-tls/1")
    alpn.hello_read(noise)
    alpn.challenge_asked(whole[:at] + noise + whole[at + len(noise) :])


@pytest.mark.parametrize("name", ["a.example.com", "192.0.2.7", "2001:db8::7"])
def test_the_certificate_is_what_rfc_8737_asks_for(name: str) -> None:
    key = key_generate("ec-p256")
    certificate = alpn.challenge_certificate(name, "token.thumbprint", key, now=NOW)
    certificate.verify_directly_issued_by(certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    expected = x509.DNSName(name) if name[0] == "a" else x509.IPAddress(ipaddress.ip_address(name))
    assert list(names.value) == [expected]
    (identifier,) = [one for one in certificate.extensions if one.oid.dotted_string == "1.3.6.1.5.5.7.1.31"]
    assert identifier.critical
    assert alpn.identifier_of(certificate) == b"\x04\x20" + sha256(b"token.thumbprint").digest()


@pytest.mark.parametrize(
    ("name", "server_name"),
    [
        ("192.0.2.7", "7.2.0.192.in-addr.arpa"),
        ("2001:db8::7", "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"),
        ("a.example.com", "a.example.com"),
    ],
)
def test_an_address_is_asked_for_by_its_reverse_name(name: str, server_name: str) -> None:
    assert alpn.server_name_of(name) == server_name
    assert alpn.name_of(server_name) == name
    assert alpn.name_of(server_name.upper() + ".") == name


@pytest.mark.parametrize("name", ["2.0.192.in-addr.arpa", "300.2.0.192.in-addr.arpa", "b.d.ip6.arpa", "ip6.arpa", ""])
def test_what_is_no_whole_reverse_name_is_a_name(name: str) -> None:
    assert alpn.name_of(name) == name


@given(st.ip_addresses())
def test_addresses_come_back(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert ipaddress.ip_address(alpn.name_of(alpn.server_name_of(str(address)))) == address
