"""Which names a first visitor may have a certificate ordered for."""

from collections.abc import Iterable
from dataclasses import dataclass

from certs.domain.errors import InputError
from certs.domain.names import NameRules, name_parse

HOSTS_LIMIT = 1000
_RULES = NameRules(wildcard=True)


@dataclass(frozen=True)
class HostList:
    """Names, and with *.example.com the direct children of example.com. Nothing else is ever asked for."""

    exact: frozenset[str] = frozenset()
    parents: frozenset[str] = frozenset()

    @classmethod
    def of(cls, hosts: Iterable[str]) -> "HostList":
        """`hosts` are as `hosts_parse` returns them."""
        every = frozenset(hosts)
        wild = frozenset(host for host in every if host.startswith("*."))
        return cls(every - wild, frozenset(host[2:] for host in wild))

    def __bool__(self) -> bool:
        return bool(self.exact or self.parents)

    def lists(self, name: str) -> bool:
        """By itself, not as somebody's child."""
        return name in self.exact

    def allows(self, name: str) -> bool:
        """`name` in lower case. Cheap: it is asked at every handshake for a name without a certificate."""
        return name in self.exact or name.partition(".")[2] in self.parents


def hosts_parse(hosts: Iterable[str]) -> list[str]:
    """As A-labels, sorted, without duplicates. Raises NameRefused (addresses too), InputError for too many."""
    found = sorted({name_parse(host, _RULES) for host in hosts if host.strip()})
    if len(found) > HOSTS_LIMIT:
        raise InputError(
            f"These are {len(found)} names; at most {HOSTS_LIMIT} can be listed.", advice="Use *.example.com for many."
        )
    return found
