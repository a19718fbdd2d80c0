"""The listening sockets that the supervisor hands to gunicorn, and which of them speak TLS.

BINDERY_SOCKETS is a JSON list of {"fd": 5, "protocol": "http" | "https"}. gunicorn duplicates each descriptor and
closes the original, so the addresses are read here, before gunicorn touches them; they identify the listeners later.
"""

import json
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

VARIABLE = "BINDERY_SOCKETS"


class SocketsError(RuntimeError):
    """BINDERY_SOCKETS cannot be used; the text is one sentence for the person."""


@dataclass(frozen=True)
class Inherited:
    fd: int
    protocol: str  # http or https
    address: tuple[Any, ...]  # what getsockname says: (host, port) or (host, port, flow, scope)

    def __str__(self) -> str:
        host, port = self.address[:2]
        return f"{self.protocol}://{f'[{host}]' if ':' in host else host}:{port}"


def read(text: str | None = None) -> tuple[Inherited, ...]:
    """The sockets of this process, none when the variable is unset. Raises SocketsError."""
    text = os.environ.get(VARIABLE, "") if text is None else text
    if not text:
        return ()
    try:
        entries = [(int(entry["fd"]), str(entry["protocol"])) for entry in json.loads(text)]
    except (ValueError, KeyError, TypeError) as error:
        raise SocketsError(f'{VARIABLE} must be a JSON list of {{"fd": …, "protocol": …}}, not {text!r}.') from error
    return tuple(_inherit(fd, protocol) for fd, protocol in entries)


@cache
def read_once() -> tuple[Inherited, ...]:
    """What `read` found the first time in this process: gunicorn closes the descriptors later."""
    return read()


def _inherit(fd: int, protocol: str) -> Inherited:
    if protocol not in {"http", "https"}:
        raise SocketsError(f"{VARIABLE} names the protocol {protocol!r}; it must be http or https.")
    try:
        copy = socket.socket(fileno=os.dup(fd))
    except OSError as error:
        raise SocketsError(f"{VARIABLE} names descriptor {fd}, which is not an open socket: {error}.") from error
    with copy:
        address = copy.getsockname()
    if not isinstance(address, tuple):
        raise SocketsError(f"{VARIABLE} names descriptor {fd}, which is not a TCP socket.")
    return Inherited(fd, protocol, address)


def secure_addresses(sockets: Iterable[Inherited]) -> frozenset[tuple[Any, ...]]:
    return frozenset(entry.address for entry in sockets if entry.protocol == "https")


def https_port(sockets: Iterable[Inherited]) -> int | None:
    return next((int(entry.address[1]) for entry in sockets if entry.protocol == "https"), None)
