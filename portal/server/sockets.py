"""The listening sockets, owned by the supervisor and handed to its children.

Every socket carries SO_REUSEADDR and SO_REUSEPORT, so that a second one of ours may be bound beside it during a rebind
(0.0.0.0 beside 127.0.0.1 on the same port). SO_REUSEPORT would also let us in beside a stranger of the same user, so
each bind is tried without it first, unless the port is known to be ours.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass

from certs.domain.addresses import addresses_collide
from certs.domain.errors import InputError
from certs.services.listeners import address_refusal, address_usable

BACKLOG = 2048
_SO_ATTACH_FILTER = 26
# Classic BPF over the TCP header: drop what has SYN and not ACK, let everything else pass.
_DROP_SYN = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_TCP_INFO_UNACKED = struct.Struct("B" * 8 + "I" * 5)


@dataclass(frozen=True)
class BoundSocket:
    sock: socket.socket
    protocol: str  # http or https
    address: str
    port: int

    @property
    def key(self) -> tuple[str, int]:
        return self.address, self.port

    @property
    def fd(self) -> int:
        return self.sock.fileno()

    def waiting(self) -> int:
        """Connections that the kernel has accepted and no process has taken yet (tcp_info, of a listener)."""
        raw = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        return int(_TCP_INFO_UNACKED.unpack(raw[: _TCP_INFO_UNACKED.size])[12])

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.close()


def sockets_open(
    addresses: Iterable[str], port: int, protocol: str, *, ours: Iterable[BoundSocket] = ()
) -> list[BoundSocket]:
    """All of them or none. A wildcard address of a family this machine lacks is left out quietly.

    Raises ConflictError naming the holder of a taken port, NotAllowed for a privileged one, InputError for an address
    that is not on this machine.
    """
    opened: list[BoundSocket] = []
    held = list(ours)
    try:
        for address in addresses:
            bound = _open(address, port, protocol, held)
            if bound is not None:
                opened.append(bound)
                held.append(bound)
        if not opened:
            raise InputError(f"None of the addresses {', '.join(addresses)} is on this machine.")
    except Exception:  # whatever it was: what has been opened so far must not stay open
        sockets_close(opened)
        raise
    return opened


def sockets_close(sockets: Iterable[BoundSocket]) -> None:
    for bound in sockets:
        bound.close()


def sockets_drain(sockets: Iterable[BoundSocket], *, limit: float = 2.0) -> None:
    """Let no new connection arrive, and wait until those in the accept queue were taken by a process.

    A connection in the queue of a socket that is closed is reset. So SYNs are dropped first: the client's kernel sends
    them again a second later, when another socket of ours (or nobody) answers for the address.
    """
    waiting = [bound for bound in sockets if _stop_new(bound)]
    deadline = time.monotonic() + limit
    time.sleep(0.05)  # a handshake whose SYN came before the filter is over by then on any near network
    while time.monotonic() < deadline and any(bound.waiting() for bound in waiting):
        time.sleep(0.02)


def _open(address: str, port: int, protocol: str, held: list[BoundSocket]) -> BoundSocket | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    ours = any(addresses_collide(address, bound.address) and bound.port == port for bound in held)
    if not ours and not address_usable(address, port):
        return None
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise address_refusal(error, address, port) from error
    sock.setblocking(False)
    return BoundSocket(sock, protocol, address, port)


def _stop_new(bound: BoundSocket) -> bool:
    """Whether new connections are held off; False where the system has no such filter (it is Linux's)."""
    program = b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN)
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }: the pointer needs a buffer that stays.
    import ctypes  # noqa: PLC0415 - needed only while a socket is given up

    buffer = ctypes.create_string_buffer(program)
    argument = struct.pack("HL", len(_DROP_SYN), ctypes.addressof(buffer))
    try:
        bound.sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, argument)
    except OSError:
        return False
    return True
