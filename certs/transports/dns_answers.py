"""What DNS says, server by server, and in words for a sentence."""

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from certs.domain.addresses import server_parse
from certs.domain.errors import Unavailable

PORT = 53


class NoZone(Unavailable):
    """DNS answers, and knows no zone below the root that would hold the name."""

    code = "dns-no-zone"


@dataclass(frozen=True)
class Server:
    """One address of a name server; `name` is as its zone calls it, or the address itself."""

    name: str
    address: str
    port: int = PORT

    @property
    def where(self) -> str:
        """`address`, with its port where that is not 53."""
        if self.port == PORT:
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def __str__(self) -> str:
        return self.where if self.name == self.address else f"{self.name} ({self.where})"


@dataclass(frozen=True)
class Zone:
    """Where authority begins, and the addresses of the servers that have it."""

    name: str
    servers: tuple[Server, ...]


@dataclass(frozen=True)
class Answer:
    """What one server says. `trouble`: why it could not be asked, or could not say; then nothing follows from it."""

    server: Server
    values: tuple[str, ...] = ()  # TXT as one string each, CAA as “flags tag value”, others as in a zone file
    alias: str = ""  # target of a CNAME at the name
    trouble: str = ""
    exists: bool = True  # False: NXDOMAIN
    zone: str = ""  # it is not responsible, but delegates the name to this zone


@dataclass(frozen=True)
class Found:
    """The answers of every server of the zone where the aliases end. `name` is that end, `asked` the beginning."""

    asked: str
    name: str
    type: str
    zone: Zone
    answers: tuple[Answer, ...]
    aliases: tuple[str, ...] = ()  # the names passed on the way, `asked` first; empty where there is no CNAME

    @property
    def said(self) -> tuple[Answer, ...]:
        """Answers of the servers that could say."""
        return heard_of(self.answers)

    @property
    def unasked(self) -> tuple[Answer, ...]:
        return tuple(each for each in self.answers if each.trouble)

    @property
    def values(self) -> tuple[str, ...]:
        """Everything that any server shows, sorted."""
        return values_of(self.answers)

    def lacking(self, accept: Callable[[str], bool]) -> tuple[Server, ...]:
        """Servers that answered and show no value that is accepted."""
        return tuple(each.server for each in self.said if not any(accept(value) for value in each.values))


@dataclass(frozen=True)
class CaaRecord:
    flags: int
    tag: str  # lower-case
    value: str


@dataclass(frozen=True)
class Caa:
    """The relevant record set (RFC 8659 §3). `name`: where it was found, empty where nothing forbids anything.

    `trouble`: a name on the way up could not be asked; a CA that meets the same must not issue. `instead`: recursive
    resolvers that said it, since the authoritative servers could not be asked; a cache may be older.
    """

    name: str = ""
    records: tuple[CaaRecord, ...] = ()
    trouble: str = ""
    instead: tuple[Server, ...] = ()


def servers_parse(texts: Iterable[str]) -> tuple[Server, ...]:
    """All addresses of hosts as `server_parse` takes them. Raises InputError, Unavailable."""
    found: list[Server] = []
    for text in texts:
        host, port = server_parse(text, PORT)
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            raise Unavailable(
                f"The DNS server {host} has no address from here.", advice="Give its address instead."
            ) from None
        found += [Server(host, str(address[4][0]), port) for address in addresses]
    return tuple(dict.fromkeys(found))


def heard_of(answers: Iterable[Answer]) -> tuple[Answer, ...]:
    """Those of servers that could say."""
    return tuple(each for each in answers if not each.trouble)


def values_of(answers: Iterable[Answer]) -> tuple[str, ...]:
    """Everything that any of them shows, sorted."""
    return tuple(sorted({value for each in answers for value in each.values}))


def names_of(servers: Iterable[Server]) -> str:
    """For a sentence: "10.0.0.53 and 10.0.1.53"."""
    names = list(dict.fromkeys(str(each) for each in servers))
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def troubles(answers: Iterable[Answer]) -> str:
    """For a sentence: "ns1.example.com (192.0.2.1): no answer; …", at most four of them."""
    words = [f"{each.server}: {each.trouble}" for each in answers]
    return "; ".join(words[:4]) + (f"; and {len(words) - 4} more" if len(words) > 4 else "")


def caa_parse(value: str) -> CaaRecord:
    flags, tag, rest = value.split(" ", 2)
    return CaaRecord(int(flags), tag.lower(), rest)
