"""Free ports and waiting for them."""

import random
import socket
import time
from collections.abc import Callable

LOOPBACK = "127.0.0.1"
# Below the kernel's range for outgoing connections, so that none of those takes a port between choice and use.
FIRST, LAST = 10240, 32000
# Times to wait are those of a quiet machine; on a busy one it may take so many times as long. A test that promises a
# time measures it.
PATIENCE_FACTOR = 3


def free_port(address: str = LOOPBACK) -> int:
    """A TCP port nobody listens on now; the same number is free for UDP too."""
    return free_ports(1, address)[0]


def free_ports(count: int, address: str = LOOPBACK) -> list[int]:
    found: list[int] = []
    held: list[socket.socket] = []
    try:
        while len(found) < count:
            port = _choose()
            if port in found:
                continue
            taken = _take(port, address)
            if taken:
                found.append(port)
                held += taken
    finally:
        for each in held:
            each.close()
    return found


_handed_out: set[int] = set()


def _choose() -> int:
    """Never the same port twice in one process: a server that ended may leave connections in TIME_WAIT."""
    while (port := random.randrange(FIRST, LAST)) in _handed_out:
        pass
    _handed_out.add(port)
    return port


def _take(port: int, address: str) -> list[socket.socket]:
    """Bound on the wanted address and on all addresses, TCP and UDP; empty where any of these is taken."""
    held: list[socket.socket] = []
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        probe = socket.socket(family, kind)
        held.append(probe)
        try:
            probe.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        except OSError:
            for each in held:
                each.close()
            return []
    return held


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def is_listening(port: int, address: str = LOOPBACK) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], object], *, timeout: float, what: str) -> None:
    """Poll ten times a second. Raises TimeoutError naming `what` was awaited."""
    deadline = time.monotonic() + timeout * PATIENCE_FACTOR
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout * PATIENCE_FACTOR:g} s")
        time.sleep(0.1)


def wait_for_port(port: int, address: str = LOOPBACK, timeout: float = 20) -> None:
    wait_until(lambda: is_listening(port, address), timeout=timeout, what=f"a listener on {address}:{port}")
