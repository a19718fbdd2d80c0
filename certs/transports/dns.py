"""DNS as a CA sees it: asked of a name's own servers, each of them, over IPv4 and IPv6, past every cache.

Recursive resolvers are only asked where a zone begins and which servers it has. A server that cannot be reached from
here is "could not ask", never "it says no": a CA may well reach it, over IPv6 for one.

Names are lower-case text without the final dot. Nothing here changes a zone.
"""

import contextlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.resolver

from certs.domain.errors import InputError, Unavailable
from certs.transports.dns_answers import (
    PORT,
    Answer,
    Caa,
    Found,
    NoZone,
    Server,
    Zone,
    caa_parse,
    heard_of,
    servers_parse,
    troubles,
    values_of,
)
from certs.transports.dns_messages import (
    alias_of,
    name_clean,
    parent_of,
    query_send,
    record_values,
    referral_of,
    soa_owner,
    trouble_of,
)

T = TypeVar("T")
ALIASES = 10  # CNAMEs followed
WHOLE_SECONDS = 8.0  # for one question, however many servers it needs
SILENT_SECONDS = 60.0  # a server that did not answer is not asked again for so long
SERVERS = 26  # addresses of one zone that are asked; the root has 26
AT_ONCE = 16
NOT_ITS_OWN = "it says REFUSED"
PAYLOAD = 1232  # bytes of UDP that no path cuts (DNS flag day 2020)


@dataclass
class Resolver:
    """Asks for one caller; remembers zones, never records, so that asking again sees what has changed.

    `resolvers` are recursive servers (host or host:port; the system's where empty). `authorities` are asked instead of
    a zone's own servers for every name that they hold: split-horizon DNS, a hidden primary. `port` is where a zone's
    own servers listen. Each call takes `seconds` at most; raises Unavailable and InputError.
    """

    resolvers: tuple[str, ...] = ()
    authorities: tuple[str, ...] = ()
    seconds: float = WHOLE_SECONDS
    port: int = PORT
    _zones: dict[str, Zone] = field(default_factory=dict, repr=False)
    _silent: dict[str, tuple[float, str]] = field(default_factory=dict, repr=False)

    def zone(self, name: str) -> Zone:
        """The zone that holds `name`, found by its SOA. Aliases are not followed."""
        return self._zone(name_clean(name), self._deadline())

    def txt(self, name: str) -> Found:
        return self.ask(name, "TXT")

    def addresses(self, name: str) -> tuple[Found, Found]:
        """(A, AAAA) as the authoritative servers have them."""
        deadline = self._deadline()
        ipv4, ipv6 = _together(lambda type: self._follow(name, type, deadline), ("A", "AAAA"))
        return ipv4, ipv6

    def ask(self, name: str, type: str) -> Found:
        """Every authoritative server of `name`, CNAMEs followed into whatever zone they lead."""
        return self._follow(name, type, self._deadline())

    def caa(self, name: str) -> Caa:
        """Climbs from `name` (without "*.") to the top-level domain (RFC 8659 §3). Never raises.

        Once the servers of one name could not be asked, the resolvers are asked for it and for all above.
        """
        deadline = self._deadline()
        labels = name_clean(name).removeprefix("*.").split(".")
        instead: tuple[Server, ...] = ()
        for start in range(len(labels)):
            parent = ".".join(labels[start:])
            try:
                found = None if instead else self._follow(parent, "CAA", deadline, most=4)
            except NoZone:
                continue
            except (Unavailable, InputError) as error:
                return Caa(trouble=error.message)
            if found is not None and found.said:
                values = found.values
            else:
                heard = heard_of(self.instead(parent, "CAA"))
                if not heard:
                    return Caa(trouble=f"{parent}: {troubles(found.unasked) if found else 'no resolver answers'}")
                instead, values = tuple(each.server for each in heard), values_of(heard)
            if values:
                return Caa(parent, tuple(caa_parse(value) for value in values), instead=instead)
        return Caa(instead=instead)

    def recursive(self, name: str, type: str) -> tuple[Answer, ...]:
        """What each recursive resolver says, which may be old: for where no authoritative server can be reached."""
        deadline = self._deadline()
        ask = lambda server: self._answer(server, name_clean(name), type, deadline, recursive=True)  # noqa: E731
        return tuple(_together(ask, self._recursive()))

    def instead(self, name: str, *types: str) -> tuple[Answer, ...]:
        """`recursive` for all of these types, empty where this machine has no resolver. Raises InputError."""
        with contextlib.suppress(Unavailable):
            return tuple(
                each for answers in _together(lambda type: self.recursive(name, type), types) for each in answers
            )
        return ()

    # Zones and their servers.

    def _zone(self, name: str, deadline: float) -> Zone:
        if name in self._zones:
            return self._zones[name]
        zone = self._zone_of_authorities(name, deadline) if self.authorities else None
        if zone is None:
            apex = self._apex(name, deadline)
            zone = self._zones.get(apex) or Zone(apex, self._servers(apex, deadline))
        self._zones[name] = self._zones[zone.name] = zone
        return zone

    def _zone_of_authorities(self, name: str, deadline: float) -> Zone | None:
        """None where every one of them says that the name is none of its own."""
        servers = servers_parse(self.authorities)
        words = []
        for server in servers:
            response, trouble = self._exchange(server, name, "SOA", deadline)
            if response is None and trouble != NOT_ITS_OWN:
                words.append(f"{server}: {trouble}")
            if response is None or not response.flags & dns.flags.AA:
                continue
            # An alias is never where a zone begins; the SOA in its answer tells of the zone of its target.
            if alias_of(response, name):
                return self._zone(parent_of(name), deadline)
            if apex := soa_owner(response, name):
                return Zone(apex, servers)
        if words:
            raise Unavailable(
                f"The DNS servers set for Bindery could not be asked about {name} ({'; '.join(words)}).",
                advice="Check BINDERY_DNS_AUTHORITIES and the way to these servers.",
            )
        return None

    def _apex(self, name: str, deadline: float) -> str:
        place = name
        while place:
            response = self._recurse(place, "SOA", deadline)
            if not alias_of(response, place) and (apex := soa_owner(response, place)):
                return apex
            place = parent_of(place)
        raise NoZone(
            f"The zone of {name} cannot be found in DNS.",
            advice="Check that the domain is registered and delegated; for an inside zone set BINDERY_DNS_AUTHORITIES.",
        )

    def _servers(self, apex: str, deadline: float) -> tuple[Server, ...]:
        names = record_values(self._recurse(apex, "NS", deadline), "NS")
        wanted = [(name.rstrip(".").lower(), type) for name in names for type in ("A", "AAAA")]

        def look(item: tuple[str, str]) -> list[Server]:
            name, type = item
            with contextlib.suppress(Unavailable):
                response = self._recurse(name, type, deadline)
                return [Server(name, address, self.port) for address in record_values(response, type)]
            return []

        found = [server for servers in _together(look, wanted) for server in servers]
        if not found:
            raise Unavailable(
                f"The name servers of {apex} cannot be found in DNS.",
                advice="Check the delegation of the domain at its registrar.",
            )
        return tuple(dict.fromkeys(found))[:SERVERS]

    def _recursive(self) -> tuple[Server, ...]:
        if self.resolvers:
            return servers_parse(self.resolvers)
        found: tuple[Server, ...] = ()
        with contextlib.suppress(dns.exception.DNSException, OSError):
            system = dns.resolver.Resolver()
            found = tuple(Server(each, each, system.port) for each in system.nameservers if isinstance(each, str))
        if not found:
            raise Unavailable(
                "This machine has no DNS resolver.", advice="Set BINDERY_DNS_RESOLVERS, or repair /etc/resolv.conf."
            )
        return found

    def _recurse(self, name: str, type: str, deadline: float) -> dns.message.Message:
        """The first useful answer of the recursive resolvers. Raises Unavailable."""
        words = []
        for server in sorted(self._recursive(), key=lambda server: server.where in self._silent):
            response, trouble = self._exchange(server, name, type, deadline, recursive=True)
            if response is not None:
                return response
            words.append(f"{server}: {trouble}")
        raise Unavailable(
            f"No DNS resolver could say the {type} of {name} ({'; '.join(words)}).",
            advice="Check the resolvers of this machine, or set BINDERY_DNS_RESOLVERS.",
        )

    # Questions.

    def _follow(self, asked: str, type: str, deadline: float, most: int = SERVERS) -> Found:
        asked = name = name_clean(asked)
        aliases: list[str] = []
        zone = self._zone(_known(name, type), deadline)
        while True:
            place = name
            ask = lambda server, place=place: self._answer(server, place, type, deadline)  # noqa: E731
            answers = tuple(_together(ask, zone.servers[:most]))
            if child := next((each.zone for each in answers if _is_below(each.zone, zone.name)), ""):
                zone = self._zones[child] = self._zones.get(child) or Zone(child, self._servers(child, deadline))
                continue
            target = next((each.alias for each in answers if each.alias), "")
            if all(each.trouble for each in answers):
                target = self._alias_cached(name, deadline)
            if not target or any(each.values for each in answers):
                return Found(asked, name, type, zone, answers, tuple(aliases))
            aliases.append(name)
            if target in aliases or len(aliases) > ALIASES:
                raise InputError(
                    f"The aliases (CNAME) of {asked} never end: {' → '.join([*aliases, target][:4])} …",
                    advice="Correct the CNAME records.",
                    code="dns-alias",
                )
            name = target
            try:
                zone = self._zone(_known(name, type), deadline)
            except NoZone:
                raise NoZone(
                    f"{asked} is an alias (CNAME) of {name}, whose zone cannot be found in DNS.",
                    advice="Correct the CNAME record, or take it away.",
                ) from None

    def _alias_cached(self, name: str, deadline: float) -> str:
        """From behind a firewall only the resolvers can say that the name is an alias."""
        with contextlib.suppress(Unavailable):
            return alias_of(self._recurse(name, "CNAME", deadline), name)
        return ""

    def _answer(self, server: Server, name: str, type: str, deadline: float, *, recursive: bool = False) -> Answer:
        response, trouble = self._exchange(server, name, type, deadline, recursive=recursive)
        if response is None:
            return Answer(server, trouble=trouble)
        if not recursive and not response.flags & dns.flags.AA:
            return Answer(server, trouble="it is not responsible for the zone", zone=referral_of(response, name))
        values = tuple(sorted(record_values(response, type, None if recursive else name)))
        alias = "" if recursive else alias_of(response, name)
        return Answer(server, values, alias, exists=response.rcode() != dns.rcode.NXDOMAIN)

    def _exchange(
        self, server: Server, name: str, type: str, deadline: float, *, recursive: bool = False
    ) -> tuple[dns.message.Message | None, str]:
        """(response with NOERROR or NXDOMAIN, "") or (None, why not)."""
        try:
            query = dns.message.make_query(name, type, use_edns=0, payload=PAYLOAD)
        except dns.exception.DNSException as error:
            raise InputError(f"“{name}” cannot be asked of DNS: {error}.", advice="Check the name.") from None
        if not recursive:
            query.flags &= ~dns.flags.RD
        until, trouble = self._silent.get(server.where, (0.0, ""))
        if time.monotonic() < until and not recursive:
            return None, trouble
        try:
            response = query_send(query, server, deadline)
            if response.rcode() in {dns.rcode.FORMERR, dns.rcode.NOTIMP}:
                query.use_edns(False)  # a server older than EDNS
                response = query_send(query, server, deadline)
            self._silent.pop(server.where, None)
        except (OSError, EOFError, dns.exception.DNSException) as error:
            trouble = trouble_of(server, error)
            if time.monotonic() < deadline:  # else it was our own haste
                self._silent[server.where] = (time.monotonic() + SILENT_SECONDS, trouble)
            return None, trouble
        if response.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
            return None, f"it says {dns.rcode.to_text(response.rcode())}"
        return response, ""

    def _deadline(self) -> float:
        return time.monotonic() + self.seconds


def _together(work: Callable[[Any], T], items: Iterable[Any]) -> list[T]:
    """In the order of the items. Each bounds its own time."""
    todo = list(items)
    if len(todo) < 2:
        return [work(item) for item in todo]
    with ThreadPoolExecutor(min(AT_ONCE, len(todo)), thread_name_prefix="dns") as pool:
        return list(pool.map(work, todo))


def _known(name: str, type: str) -> str:
    """The name to ask resolvers about on the way to `name`.

    Never that of a TXT record itself: the resolver would remember that it is missing, and a CA that asks the same
    resolver would be told so long after it is there. What is delegated below is learnt from the servers above.
    """
    place = parent_of(name) if type == "TXT" else name
    while place.startswith("_"):
        place = parent_of(place)
    return place or name


def _is_below(zone: str, other: str) -> bool:
    return zone.endswith(f".{other}")
