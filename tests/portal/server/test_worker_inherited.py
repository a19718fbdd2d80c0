"""BINDERY_SOCKETS: what the supervisor hands down."""

import json
import os
import socket

import pytest

from portal.server import inherited


def test_sockets_are_told_by_their_address_and_stay_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain, socket.create_server(("127.0.0.1", 0)) as secure:
        text = json.dumps([{"fd": plain.fileno(), "protocol": "http"}, {"fd": secure.fileno(), "protocol": "https"}])
        found = inherited.read(text)
        assert [entry.address for entry in found] == [plain.getsockname(), secure.getsockname()]
        assert inherited.secure_addresses(found) == {secure.getsockname()}
        assert inherited.https_port(found) == secure.getsockname()[1]
        assert str(found[1]) == f"https://127.0.0.1:{secure.getsockname()[1]}"
        os.fstat(plain.fileno())


def test_without_the_variable_there_are_none() -> None:
    assert inherited.read("") == ()
    assert inherited.https_port(()) is None


@pytest.mark.parametrize(
    "text", ["{", "[1]", '[{"fd": 1}]', '[{"fd": "x", "protocol": "http"}]', '[{"fd": 99999, "protocol": "http"}]']
)
def test_nonsense_is_named(text: str) -> None:
    with pytest.raises(inherited.SocketsError, match="BINDERY_SOCKETS"):
        inherited.read(text)


def test_unknown_protocols_and_other_sockets_are_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock, pytest.raises(inherited.SocketsError, match="gopher"):
        inherited.read(json.dumps([{"fd": sock.fileno(), "protocol": "gopher"}]))
    one, other = socket.socketpair()
    with one, other, pytest.raises(inherited.SocketsError, match="not a TCP socket"):
        inherited.read(json.dumps([{"fd": one.fileno(), "protocol": "http"}]))
