"""Where names lead, seen from here, and what a server that stands there needs so that a CA finds the portal.

A redirect is offered to where a CA can follow it: the portal's public name on port 80 or 443. Where only that server
reaches the portal, it may pass the challenge path on instead. Looking again after the change is the proof of it.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from certs.domain.destinations import address_is_public
from certs.domain.names import is_address
from certs.domain.preflight import Level
from certs.domain.recipes import Kind, Recipe, recipes_filled, server_told
from certs.services.addresses import LOOPBACK, public_url
from certs.services.listeners import local_addresses
from certs.services.reachability import (
    NO_ADDRESS,
    NO_CONNECTION,
    OTHER,
    VANTAGE,
    ReachResult,
    addresses_seen,
    private_allowed,
    probe_base,
    reach_probe,
)
from certs.services.upstreams import upstreams

SECONDS = 14.0  # for everything
MOST_NAMES = 20  # of one look
MOST_ADDRESSES = 6  # of one name
_AT_ONCE = 24

HERE = "an address of this machine"
PORTAL = "where the portal's own name leads"
AWAY = "not an address of this machine"


@dataclass(frozen=True)
class Target:
    """`base` is scheme://host, where redirects are to lead; `proven`: the portal answered there, asked from here.
    `trouble` says why a CA may not find it there, `advice` what to do."""

    base: str
    proven: bool = False
    trouble: str = ""
    advice: str = ""

    @property
    def host(self) -> str:
        return urlsplit(self.base).hostname or ""


@dataclass(frozen=True)
class Place:
    """One address of a name; `whose` is HERE, PORTAL or AWAY."""

    address: str
    whose: str
    reach: ReachResult

    @property
    def level(self) -> Level:
        return Level.OK if self.reach.ok else Level.ERROR if self.reach.outcome == OTHER else Level.UNKNOWN


@dataclass(frozen=True)
class Where:
    """A name, every address of it, and what answers there. `trouble` where there is no address to ask."""

    name: str
    places: tuple[Place, ...]
    target: Target
    upstream: str  # host:port at which other machines reach the portal's plain HTTP
    own_upstream: str  # the same for a server on this machine
    trouble: str = ""
    publish: str = ""  # the line that leads there, into a container
    vantage: str = VANTAGE

    @property
    def ok(self) -> bool:
        """As a CA goes about it: what does not answer is passed over, what answers otherwise is the end."""
        levels = {place.level for place in self.places}
        return Level.OK in levels and Level.ERROR not in levels

    @property
    def level(self) -> Level:
        if self.trouble or not self.places:
            return Level.UNKNOWN
        levels = {place.level for place in self.places}
        return next(level for level in (Level.ERROR, Level.UNKNOWN, Level.OK) if level in levels)

    @property
    def sentence(self) -> str:
        if self.trouble:
            return self.trouble
        if self.level == Level.OK:
            return f"The challenge path of {self.name} leads to this portal."
        if self.ok:
            return f"The challenge path of {self.name} leads to this portal, as far as it could be asked."
        if self.level == Level.ERROR and any(place.level == Level.OK for place in self.places):
            return f"The challenge path of {self.name} leads to this portal at some of its addresses only."
        if self.level == Level.UNKNOWN:
            return f"The challenge path of {self.name} could not be followed to this portal."
        return f"The challenge path of {self.name} does not lead to this portal."

    @property
    def is_portal(self) -> bool:
        return self.name == self.target.host

    @property
    def server(self) -> str:
        """The key of the web server that answers there instead, as far as it says so."""
        told = (server_told(hop.server) for place in self.places if not place.reach.ok for hop in place.reach.hops[:1])
        return next((key for key in told if key), "")

    @property
    def redirects(self) -> list[Recipe]:
        """For a server elsewhere; none for the portal's own name, which would lead back to itself."""
        away = any(place.whose == AWAY and not place.reach.ok for place in self.places)
        if self.ok or self.is_portal or not away:
            return []
        return recipes_filled(Kind.REDIRECT, name=self.name, portal=self.target.base, first=self.server)

    @property
    def proxies(self) -> list[Recipe]:
        if self.ok or not self.places:
            return []
        here = all(place.whose == HERE for place in self.places)
        upstream = self.own_upstream if here else self.upstream
        return recipes_filled(Kind.PROXY, name=self.name, upstream=upstream, first=self.server)


def names_look(names: Sequence[str], *, allow_private: bool = False) -> list[Where]:
    """One for each name, in that order, within about `SECONDS` altogether. Network; stores nothing.

    What answers at a private address is told where the operator has permitted private addresses, or does so now.
    """
    private = allow_private or private_allowed()
    portal, local = urlsplit(public_url()), frozenset(local_addresses())
    # Not `with` blocks: leaving one would wait for a resolver that hangs.
    each = ThreadPoolExecutor(min(_AT_ONCE, len(names)) + 1, thread_name_prefix="where")
    ask = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="where-ask")
    until = time.monotonic() + SECONDS
    goal = each.submit(_target, portal, private)
    work = {name: each.submit(_reach, name, private, ask, until) for name in names}
    pending: list[Future[Any]] = [goal, *work.values()]
    wait(pending, timeout=SECONDS)
    for pool in (each, ask):
        pool.shutdown(wait=False, cancel_futures=True)
    target, own = goal.result() if goal.done() else (Target(_base(portal), trouble=_LATE), frozenset[str]())
    there = upstreams()
    found = []
    for name, future in work.items():
        results = future.result() if future.done() else []
        places = [
            Place(one.addresses[0], _whose(one.addresses[0], local, own), one) for one in results if one.addresses
        ]
        trouble = next((one.detail for one in results if not one.addresses), "" if results else _LATE)
        found.append(Where(name, tuple(places), target, there.others, there.own, trouble, there.publish))
    return found


def _reach(name: str, private: bool, ask: ThreadPoolExecutor, until: float) -> list[ReachResult]:
    """One for each address, or a single one without any."""
    addresses = addresses_seen(name)[:MOST_ADDRESSES]
    if not addresses:
        detail = f"{name} has no address in DNS, as far as this server can see."
        return [ReachResult(name, NO_ADDRESS, probe_base(name), detail)]
    work = {one: ask.submit(reach_probe, name, address=one, allow_private=private) for one in addresses}
    wait(work.values(), timeout=max(0.0, until - time.monotonic()))
    return [
        future.result()
        if future.done() and not future.cancelled()
        else ReachResult(name, NO_CONNECTION, probe_base(name), _LATE, addresses=[one])
        for one, future in work.items()
    ]


def _target(portal: SplitResult, private: bool) -> tuple[Target, frozenset[str]]:
    """Where a redirect should lead, and the addresses of that."""
    host, base = portal.hostname or "", _base(portal)
    if host in LOOPBACK or ("." not in host and not is_address(host)):
        trouble = f"The portal is known as {portal.geturl()}, which no other machine finds."
        return Target(base, trouble=trouble, advice=_NAME_IT), frozenset()
    addresses = frozenset(addresses_seen(host))
    if not addresses:
        trouble = f"The portal's own name {host} has no address in DNS, as far as this server can see."
        return Target(base, trouble=trouble, advice=_NAME_IT), addresses
    if not private and not any(address_is_public(one) for one in addresses):
        trouble = f"The portal's own name {host} is at {', '.join(sorted(addresses))}, which is not on the Internet."
        return Target(base, trouble=trouble, advice=_BY_PROXY), addresses
    for scheme in ("http", "https"):
        if reach_probe(host, scheme=scheme, allow_private=private).ok:
            advice = _BARE if is_address(host) else ""
            return Target(probe_base(host, scheme), proven=True, advice=advice), addresses
    trouble = f"Neither port 80 nor port 443 of {host} answered as this portal, asked from this server."
    return Target(base, trouble=trouble, advice=_OPEN_ONE), addresses


def _base(portal: SplitResult) -> str:
    """By https only where the public URL says so without a port of its own: port 80 is what CAs ask first."""
    scheme = "https" if portal.scheme == "https" and portal.port is None else "http"
    return probe_base(portal.hostname or "localhost", scheme)


def _whose(address: str, local: frozenset[str], own: frozenset[str]) -> str:
    return HERE if address in local else PORTAL if address in own else AWAY


_LATE = f"No result within {SECONDS:g} seconds."
_NAME_IT = (
    "Give it a public URL that leads here from the Internet (BINDERY_PUBLIC_URL, or Configuration), or let that server "
    "pass the path on."
)
_BY_PROXY = "A CA on the Internet cannot follow a redirect there: let that server pass the path on instead."
_OPEN_ONE = (
    "CAs follow redirects to these two ports only. Let one of them reach the portal, or let that server pass the path "
    "on. If this server cannot reach its own public address, as behind many routers, this says nothing."
)
_BARE = "Some CAs follow no redirect to a bare address: give the portal a name."
