"""Name constraints of a CA: which names it may certify (RFC 5280 §4.2.1.10).

Written as `dns:example.com` (it and all below it), `ip:10.0.0.0/8`, `email:example.com` (all mailboxes of that host;
with a leading dot those of the hosts below it; `email:a@example.com` is one mailbox), `uri:example.com` (that host;
with a leading dot those below it). The prefix may be left out for DNS names, networks and mailboxes.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

from cryptography import x509

from certs.domain.certinfo import extension_of
from certs.domain.errors import InputError, NameRefused
from certs.domain.hosts import Host, HostKind, host_parse
from certs.domain.names import SELF_SIGNED, address_canonical, name_parse
from certs.domain.subjects import subject_text, subject_values

# What openssl takes for a DNS name, addresses too (crypto/x509/v3_ncons.c).
_LIKE_DNS = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")
_HOST_END = re.compile("[:/]")
_PREFIX = re.compile(r"(?P<kind>dns|ip|email|uri):", re.IGNORECASE)


_GENERAL: dict[HostKind, Callable[[str], x509.GeneralName]] = {
    HostKind.DNS: x509.DNSName,
    HostKind.EMAIL: x509.RFC822Name,
    HostKind.URI: x509.UniformResourceIdentifier,
}


class ConstraintBroken(InputError):
    code = "name-constraint"


@dataclass(frozen=True)
class Constraint:
    """One subtree; `value` as in the docstring above, without its prefix."""

    kind: HostKind
    value: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.value}"

    @property
    def general_name(self) -> x509.GeneralName:
        if self.kind == HostKind.IP:
            return x509.IPAddress(ipaddress.ip_network(self.value))
        return _GENERAL[self.kind](self.value)

    @cached_property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        return ipaddress.ip_network(self.value)

    def holds(self, value: str) -> bool:
        """Whether a name of the same kind lies within."""
        return _HOLDS[self.kind](self, value)

    def touches(self, value: str) -> bool:
        """The same, or what a wildcard stands for does."""
        if self.holds(value):
            return True
        covers = self.kind == HostKind.DNS and value.startswith("*.")
        return covers and self.value.lower().partition(".")[2] == value[2:].lower()


@dataclass(frozen=True)
class Constraints:
    """Those of one certificate; `of` is whose, in words."""

    permitted: tuple[Constraint, ...] = ()
    excluded: tuple[Constraint, ...] = ()
    subjects: tuple[x509.Name, ...] = ()  # permitted directory names
    subjects_excluded: tuple[x509.Name, ...] = ()
    of: str = "The CA"

    def __bool__(self) -> bool:
        return bool(self.permitted or self.excluded or self.subjects or self.subjects_excluded)

    @property
    def extension(self) -> x509.NameConstraints:
        return x509.NameConstraints(
            [one.general_name for one in self.permitted] or None, [one.general_name for one in self.excluded] or None
        )


def constraint_parse(text: str) -> Constraint:
    """Raises NameRefused."""
    text = text.strip()
    prefix = _PREFIX.match(text)
    value = text[prefix.end() :].strip() if prefix else text
    kind = HostKind(prefix["kind"].lower()) if prefix else _kind_of(value)
    return Constraint(kind, _READERS[kind](value))


def constraints_parse(permitted: Iterable[str], excluded: Iterable[str]) -> Constraints:
    """Raises NameRefused, also where one name is both permitted and excluded."""
    allow, deny = _unique(permitted), _unique(excluded)
    if both := set(allow) & set(deny):
        raise NameRefused(
            f"{', '.join(map(str, both))} is both permitted and excluded.", advice="Leave it out of one of them."
        )
    return Constraints(allow, deny)


def constraints_of(certificate: x509.Certificate) -> Constraints:
    """What the certificate of a CA says. Raises InputError for a kind of name that is not known here."""
    value = extension_of(certificate.extensions, x509.NameConstraints)
    if value is None:
        return Constraints()
    permitted, names = _read(value.permitted_subtrees or ())
    excluded, names_excluded = _read(value.excluded_subtrees or ())
    of = next(iter(subject_values(certificate.subject, "CN")), subject_text(certificate.subject)) or "The CA"
    return Constraints(permitted, excluded, names, names_excluded, of)


def constraints_check(sets: Sequence[Constraints], hosts: Iterable[Host], subject: x509.Name) -> None:
    """Every name against every CA of the chain. Raises ConstraintBroken naming the name and the constraint.

    The mailboxes of the subject count as such, and a common name that is a DNS name counts as one where there is no
    other: clients judge them too (RFC 5280 §4.2.1.10; RFC 6125 §6.4.4).
    """
    if not any(sets):
        return
    hosts = [*hosts, *_of_subject(subject, hosts := list(hosts))]
    for one in sets:
        for host in hosts:
            _check_host(one, host)
        _check_subject(one, subject)


def _check_host(one: Constraints, host: Host) -> None:
    for constraint in one.excluded:
        if constraint.kind == host.kind and constraint.touches(host.value):
            raise ConstraintBroken(
                f"{one.of} may not certify {host}: its certificate excludes {constraint}.",
                advice="Leave that host out, or choose another CA.",
            )
    allowed = [constraint for constraint in one.permitted if constraint.kind == host.kind]
    if allowed and not any(constraint.holds(host.value) for constraint in allowed):
        raise ConstraintBroken(
            f"{one.of} may not certify {host}: its certificate permits only {', '.join(map(str, allowed))}.",
            advice="Leave that host out, or choose another CA.",
        )
    if host.kind == HostKind.URI and _uri_host(host.value) is None and _speaks_of_uris(one):
        # RFC 5280: a URI without a host name must not pass where URIs are constrained.
        raise ConstraintBroken(
            f"{one.of} may not certify {host}: its certificate constrains URIs, and this one has no plain host name.",
            advice="Use a URI of host name and path, or choose another CA.",
        )


def _check_subject(one: Constraints, subject: x509.Name) -> None:
    if not list(subject):
        return
    for name in one.subjects_excluded:
        if _within(subject, name):
            raise ConstraintBroken(
                f"{one.of} may not certify {subject_text(subject)}: its certificate excludes {subject_text(name)}.",
                advice="Change the subject, or choose another CA.",
            )
    if one.subjects and not any(_within(subject, name) for name in one.subjects):
        allowed = " or ".join(subject_text(name) for name in one.subjects)
        raise ConstraintBroken(
            f"{one.of} may not certify {subject_text(subject)}: its certificate permits only subjects below {allowed}.",
            advice="Change the subject, or choose another CA.",
        )


def _within(subject: x509.Name, above: x509.Name) -> bool:
    return list(subject.rdns)[: len(above.rdns)] == list(above.rdns)


def _of_subject(subject: x509.Name, hosts: Sequence[Host]) -> list[Host]:
    found: list[Host] = []
    found += [Host(HostKind.EMAIL, value) for value in subject_values(subject, "E")]
    if not any(host.kind == HostKind.DNS for host in hosts):
        names = (value for value in subject_values(subject, "CN") if _LIKE_DNS.fullmatch(value))
        found += [Host(HostKind.DNS, value) for value in names]
    return found


def _speaks_of_uris(one: Constraints) -> bool:
    return any(constraint.kind == HostKind.URI for constraint in (*one.permitted, *one.excluded))


def _below(value: str, root: str) -> bool:
    return value == root or value.endswith(f".{root}")


def _holds_dns(one: Constraint, value: str) -> bool:
    root, value = one.value.lower(), value.lower()
    if not root:
        return True  # the empty subtree is every name
    if root.startswith("."):  # not RFC 5280, but found: only what is below
        return value.endswith(root)
    return _below(value, root)


def _holds_ip(one: Constraint, value: str) -> bool:
    address = ipaddress.ip_address(value)
    return address.version == one.network.version and address in one.network


def _holds_email(one: Constraint, value: str) -> bool:
    local, _, domain = value.rpartition("@")
    wanted_local, mark, wanted = one.value.rpartition("@")
    if mark:
        return local == wanted_local and domain.lower() == wanted.lower()
    return _host_within(domain.lower(), wanted.lower())


def _holds_uri(one: Constraint, value: str) -> bool:
    host = _uri_host(value)
    return host is not None and _host_within(host, one.value.lower())


def _host_within(host: str, wanted: str) -> bool:
    if wanted.startswith("."):
        return host.endswith(wanted)
    return not wanted or host == wanted


def _uri_host(value: str) -> str | None:
    """None also where openssl would take something else for it: to it a host ends at the first colon or slash."""
    host = urlsplit(value).hostname if "://" in value else None
    if not host or address_canonical(host):
        return None
    seen = _HOST_END.split(value.partition("://")[2], maxsplit=1)[0]
    return host.lower() if seen.lower() == host.lower() else None


_HOLDS: dict[HostKind, Callable[[Constraint, str], bool]] = {
    HostKind.DNS: _holds_dns,
    HostKind.IP: _holds_ip,
    HostKind.EMAIL: _holds_email,
    HostKind.URI: _holds_uri,
}


def _unique(texts: Iterable[str]) -> tuple[Constraint, ...]:
    return tuple(dict.fromkeys(constraint_parse(text) for text in texts if text.strip()))


def _kind_of(value: str) -> HostKind:
    if "@" in value:
        return HostKind.EMAIL
    return HostKind.IP if address_canonical(value.partition("/")[0]) else HostKind.DNS


def _dns(value: str) -> str:
    if value.startswith("*."):
        raise NameRefused(f"“{value}” has a wildcard.", advice=f"Type {value[2:]}: it means all below it as well.")
    if value.startswith("."):
        raise NameRefused(f"“{value}” begins with a dot.", advice=f"Type {value[1:]}: it means all below it as well.")
    return name_parse(value, SELF_SIGNED)


def _ip(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value.strip("[]")))
    except ValueError as error:
        raise NameRefused(
            f"“{value}” is no network of IP addresses.", advice="Type it like 10.0.0.0/8 or 2001:db8::/32."
        ) from error


def _email(value: str) -> str:
    if "@" in value:
        return host_parse(f"email:{value}").value
    return _host(value)


def _host(value: str) -> str:
    dot = "." if value.startswith(".") else ""
    return dot + name_parse(value.removeprefix("."), SELF_SIGNED)


_READERS: dict[HostKind, Callable[[str], str]] = {
    HostKind.DNS: _dns,
    HostKind.IP: _ip,
    HostKind.EMAIL: _email,
    HostKind.URI: _host,
}
_KINDS: dict[type[x509.GeneralName], HostKind] = {
    x509.DNSName: HostKind.DNS,
    x509.IPAddress: HostKind.IP,
    x509.RFC822Name: HostKind.EMAIL,
    x509.UniformResourceIdentifier: HostKind.URI,
}


def _read(subtrees: Iterable[x509.GeneralName]) -> tuple[tuple[Constraint, ...], tuple[x509.Name, ...]]:
    found, names = [], []
    for subtree in subtrees:
        if isinstance(subtree, x509.DirectoryName):
            names.append(subtree.value)
        elif kind := _KINDS.get(type(subtree)):
            found.append(Constraint(kind, str(subtree.value)))
        # Of other kinds nothing is ever certified here.
    return tuple(found), tuple(names)
