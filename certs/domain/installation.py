"""What an installation is made of: the nodes of an endpoint, what is to be put there, and the plan a person reads.

A plan is data: it is stored, shown, compared and carried out step by step, by whichever process has its turn. It holds
no secret; what is to be written is named by its part and its SHA-256.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

from certs.domain.certinfo import covers


class Part(StrEnum):
    """What a file holds of a version."""

    LEAF = "leaf"
    CHAIN = "chain"  # the intermediates alone
    FULLCHAIN = "fullchain"  # leaf and intermediates
    KEY = "key"
    WHOLE = "whole"  # key, leaf and intermediates, as HAProxy and many programs read them

    @property
    def secret(self) -> bool:
        return self in (Part.KEY, Part.WHOLE)


class Risk(StrEnum):
    NONE = "none"
    RELOAD = "reload"
    RESTART = "restart"


@dataclass(frozen=True)
class Probe:
    """A handshake that shows what is served: `server_name` "" sends no SNI."""

    address: str
    port: int
    server_name: str = ""


@dataclass(frozen=True)
class NodeSeen:
    """A place of an endpoint that listens, as discovery finds it. `key` stays the same as long as a person would call
    it the same place. `files` says which path holds which `Part`."""

    key: str
    name: str
    protocol: str  # "http" or "https"
    address: str  # as the server says: "*", "127.0.0.1", "::"
    port: int
    alias: str = ""
    names: tuple[str, ...] = ()  # it is asked for by these; DNS names, wildcards too
    where: str = ""  # file:line of its configuration
    files: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""  # why nothing can be installed there by us


@dataclass(frozen=True)
class Material:
    """A version to install, as PEM. `key` is "" where it was made on the endpoint and stays there."""

    leaf: str
    chain: str
    key: str
    fingerprint: str  # SHA-256 of the leaf's DER, hex
    names: tuple[str, ...]

    def part(self, part: Part) -> bytes:
        texts = {
            Part.LEAF: (self.leaf,),
            Part.CHAIN: (self.chain,),
            Part.FULLCHAIN: (self.leaf, self.chain),
            Part.KEY: (self.key,),
            Part.WHOLE: (self.key, self.leaf, self.chain),
        }[part]
        return "".join(_line_ended(text) for text in texts).encode()


@dataclass(frozen=True)
class Write:
    """A file to be replaced. `before` is its SHA-256 now, "" where there is none; `after` what it will be."""

    path: str
    part: Part
    before: str
    after: str
    mode: str
    owner: str
    group: str
    linked_from: str = ""  # what the configuration names, where that is a symbolic link to `path`

    @property
    def changes(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True)
class Command:
    argv: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Plan:
    """`test` says whether the configuration is good, `activate` makes the server read it."""

    writes: tuple[Write, ...]
    activate: Command | None
    risk: Risk
    probes: tuple[Probe, ...]
    test: Command | None = None
    start: Command | None = None  # where a failed reload has ended the server
    shares: tuple[str, ...] = ()  # names of other nodes that will serve it too
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        return any(write.changes for write in self.writes)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "Plan":
        commands = {name: _command(given[name]) for name in ("test", "activate", "start")}
        return cls(
            writes=tuple(Write(**{**each, "part": Part(each["part"])}) for each in given["writes"]),
            risk=Risk(given["risk"]),
            probes=tuple(Probe(**each) for each in given["probes"]),
            shares=tuple(given["shares"]),
            notes=tuple(given["notes"]),
            **commands,
        )


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def names_uncovered(asked: Sequence[str], held: Sequence[str]) -> list[str]:
    """Names of a node that the certificate does not hold."""
    return [name for name in asked if not covers(held, name)]


def _command(given: Mapping[str, Any] | None) -> Command | None:
    return Command(tuple(given["argv"]), given["why"]) if given else None


def _line_ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"
