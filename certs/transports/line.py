"""What a way out keeps to: its purpose, the addresses that may be asked, the time it has."""

import math
import socket
import threading
import time
from dataclasses import dataclass
from itertools import zip_longest
from queue import Empty, SimpleQueue
from typing import Any

from certs.domain.destinations import address_is_public
from certs.domain.errors import InputError, Unavailable

ADDRESS_SECONDS = 2.0  # for one address while there are others
Found = tuple[int, int, int, Any]  # family, type, protocol, address as the socket takes it


@dataclass(frozen=True)
class Purpose:
    """`name` is for the User-Agent, `private_advice` says how the operator permits a private address for it."""

    name: str
    private_advice: str


CA = Purpose(
    "acme",
    "If it is your own CA, tick “The directory is on a private address” (allow_private_ca, or --allow-private-ca).",
)
WEBHOOK = Purpose("webhook", "If it is your own server, tick “It may be on a private address”.")
PROBE = Purpose("reachability probe", "Only names that are on the Internet are asked.")
CRL = Purpose("crl", "If it is your own CA, permit private addresses for its account.")
AIA = Purpose("aia", "If it is your own CA, permit private addresses for its account.")


@dataclass
class Line:
    """What the connections of one adapter keep to, and the address of the last; used by one thread at a time."""

    purpose: Purpose
    allow_private: bool = False
    until: float = math.inf  # on the monotonic clock, for whatever is under way
    address: str = ""  # connect here instead of resolving
    peer: str = ""

    def left(self) -> float:
        """Seconds. Raises TimeoutError."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def addresses(self, host: str, port: int, seconds: float) -> list[Found]:
        """To be tried in turn, families alternating. Raises InputError where one must not be asked, Unavailable."""
        found = resolve(self.address or host, port, seconds)
        for each in found:
            self.judge(host, str(each[3][0]))
        families = {each[0]: [other for other in found if other[0] == each[0]] for each in found}
        return [each for row in zip_longest(*families.values()) for each in row if each is not None]

    def judge(self, host: str, address: str) -> None:
        if self.allow_private or address_is_public(address):
            return
        bare = address.partition("%")[0].removeprefix("::ffff:")
        raise InputError(
            f"{host} is at {bare}, which is not on the Internet."
            if host != bare
            else f"{bare} is not on the Internet.",
            advice=self.purpose.private_advice,
            code="private-address",
        )

    def judge_spelled(self, host: str) -> None:
        """An address written as a host, in any spelling that a resolver takes (127.1, 0x7f000001), and localhost."""
        if host == "localhost" or host.endswith(".localhost"):
            self.judge(host, "127.0.0.1")
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            return  # a name
        for each in found:
            self.judge(host, str(each[4][0]))


def resolve(host: str, port: int, seconds: float) -> list[Found]:
    """Raises Unavailable, TimeoutError. In a thread: `getaddrinfo` itself knows no limit of time."""
    answers: SimpleQueue[list[Found] | Exception] = SimpleQueue()

    def look() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put([(family, type_, protocol, place) for family, type_, protocol, _, place in found])
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=look, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError("the resolver did not answer in time") from None
    if isinstance(answer, list) and answer:
        return answer
    raise Unavailable(
        f"The host {host} cannot be found.",
        advice="Check its spelling and this machine's DNS, or set HTTPS_PROXY where only a proxy knows the Internet.",
        code="host-unknown",
    ) from (answer if isinstance(answer, Exception) else None)
