"""The TLS challenge on the shared listener: the CA sees the answer, nobody else sees anything of it."""

import os
import socket
import sqlite3
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509

from certs.domain.alpn import identifier_of, identifier_value, server_name_of
from tests.harness.load import Load
from tests.harness.portal_data import PortalData
from tests.harness.web import Web, ask, client_context, eventually, get, make_home, web_running

ACME = "acme-tls/1"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("challenges"))


@pytest.fixture(scope="module")
def data(home: Path) -> Iterator[PortalData]:
    with PortalData(home) as data:
        yield data


@pytest.fixture(scope="module")
def web(home: Path, data: PortalData) -> Iterator[Web]:
    with web_running(home, threads=4, env={"DJANGO_SETTINGS_MODULE": "tests.harness.short_deadlines"}) as web:
        yield web


def handshake(
    web: Web, name: str | None, *protocols: str, version: ssl.TLSVersion | None = None
) -> tuple[str | None, x509.Certificate]:
    """The protocol chosen and the leaf; afterwards the server has to end the connection if it was a challenge."""
    context = client_context()
    context.set_alpn_protocols(list(protocols))
    if version:
        context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(web.secure, timeout=5) as raw,
        context.wrap_socket(raw, server_hostname=name) as secured,
    ):
        chosen = secured.selected_alpn_protocol()
        if chosen == ACME:
            assert secured.recv(1) == b""
        return chosen, x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_ca_sees_the_answer_as_often_as_it_asks(web: Web, data: PortalData, version: ssl.TLSVersion) -> None:
    data.call("challenge", "a.test", "token-a.thumb")
    for name in ("a.test", "A.TEST", "a.test"):
        chosen, leaf = handshake(web, name, ACME, version=version)
        assert chosen == ACME
        assert identifier_of(leaf) == identifier_value("token-a.thumb")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_ca_that_hangs_up_as_soon_as_it_has_seen_it_is_no_fault(
    web: Web, data: PortalData, version: ssl.TLSVersion
) -> None:
    data.call("challenge", "gone.test", "token-gone.thumb")
    context = client_context()
    context.set_alpn_protocols([ACME])
    context.minimum_version = context.maximum_version = version
    for _ in range(10):
        raw = socket.create_connection(web.secure, timeout=5)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # by a reset
        context.wrap_socket(raw, server_hostname="gone.test").close()
    handshake(web, "gone.test", ACME)
    assert "Traceback" not in web.log


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
def test_an_address_is_answered_under_its_reverse_name(web: Web, data: PortalData, address: str) -> None:
    data.call("challenge", address, f"token-{address}.thumb")
    _, leaf = handshake(web, server_name_of(address), ACME)
    assert identifier_of(leaf) == identifier_value(f"token-{address}.thumb")
    (name,) = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert str(name.value) == address


@pytest.mark.parametrize("protocols", [(ACME, "http/1.1"), ("h2", ACME), ("http/1.1",), ("h2",), ()])
def test_others_meet_the_ordinary_service_under_the_same_name(
    web: Web, data: PortalData, protocols: tuple[str, ...]
) -> None:
    data.call("challenge", "b.test", "token-b.thumb")
    context = client_context()
    if protocols:
        context.set_alpn_protocols(list(protocols))
    with (
        socket.create_connection(web.secure, timeout=5) as raw,
        context.wrap_socket(raw, server_hostname="b.test") as secured,
    ):
        assert secured.selected_alpn_protocol() == ("http/1.1" if "http/1.1" in protocols else None)
        assert identifier_of(x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")) is None
        secured.sendall(get())
        assert secured.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("name", ["nobody.test", None, "7.2.0.192.in-addr.arpa.x"])
def test_without_a_challenge_a_ca_is_refused_by_the_right_alert(web: Web, name: str | None) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        handshake(web, name, ACME)


def test_openssl_agrees(web: Web, data: PortalData) -> None:
    data.call("challenge", "o.test", "token-o.thumb")
    place = f"127.0.0.1:{web.secure[1]}"
    command = ["openssl", "s_client", "-connect", place, "-servername", "o.test", "-alpn", ACME]
    said = subprocess.run(command, input=b"", capture_output=True, timeout=10, check=False).stdout.decode()
    assert "ALPN protocol: acme-tls/1" in said
    leaf = subprocess.run(["openssl", "x509", "-noout", "-text"], input=said.encode(), capture_output=True, check=True)
    assert "1.3.6.1.5.5.7.1.31: critical" in leaf.stdout.decode()


def test_an_answer_ends_with_its_challenge(web: Web, data: PortalData) -> None:
    data.call("challenge", "c.test", "token-c.thumb")
    assert handshake(web, "c.test", ACME)[0] == ACME
    data.call("challenge_end", "c.test")
    with pytest.raises(ssl.SSLError):
        handshake(web, "c.test", ACME)


def test_of_two_challenges_for_a_name_the_newer_is_answered(web: Web, data: PortalData) -> None:
    for token in ("d1.thumb", "d2.thumb"):
        data.call("challenge", "d.test", token)
    assert identifier_of(handshake(web, "d.test", ACME)[1]) == identifier_value("d2.thumb")


def test_a_hello_in_pieces_is_a_ca_s_too(web: Web, data: PortalData) -> None:
    from tests.domain.test_alpn import client_hello

    data.call("challenge", "e.test", "token-e.thumb")
    hello = client_hello("e.test", ACME)
    with socket.create_connection(web.secure, timeout=5) as sock:
        for start in range(0, len(hello), 50):
            sock.sendall(hello[start : start + 50])
        assert sock.recv(1) == b"\x16"


def test_a_flood_of_cas_takes_no_thread_from_the_others(web: Web, data: PortalData) -> None:
    """Forty at a time ask for names that have no challenge; others are served as before, and so is a real CA."""
    data.call("challenge", "f.test", "token-f.thumb")
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            with suppress(OSError):
                handshake(web, f"{os.urandom(4).hex()}.test", ACME)

    crowd = [threading.Thread(target=flood) for _ in range(40)]
    for each in crowd:
        each.start()
    try:
        with Load(web.secure, kept=1, fresh=2) as load:
            for _ in range(5):
                assert handshake(web, "f.test", ACME)[0] == ACME
            eventually(lambda: load.total > 200, timeout=20)
    finally:
        stop.set()
        for each in crowd:
            each.join()
    assert load.failures == []
    assert max(load.seconds) < 2


def test_a_database_that_is_locked_stops_no_ordinary_client(web: Web, home: Path, data: PortalData) -> None:
    """The look-ups wait in the few threads that they have; the poller and the others do not."""
    data.call("challenge", "g.test", "token-g.thumb")
    with sqlite3.connect(home / "bindery.sqlite3") as locker:
        locker.execute("PRAGMA locking_mode=NORMAL")
        locker.execute("BEGIN EXCLUSIVE")  # in WAL mode readers go on: so does the CA
        assert handshake(web, "g.test", ACME)[0] == ACME
        assert ask(web.secure, get(), tls=True).status == 200
        locker.rollback()
