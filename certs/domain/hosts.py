"""What a certificate may be made out for: DNS names, IP addresses, e-mail addresses and URIs (RFC 5280 §4.2.1.6)."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from cryptography import x509

from certs.domain.errors import NameRefused
from certs.domain.names import SELF_SIGNED, address_canonical, name_parse

LIMIT = 1000  # of one certificate
_LONGEST = 255  # characters; what the store keeps of a name
_PREFIX = re.compile(r"(?P<kind>dns|ip|email|uri):(?!//)", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://|urn:", re.IGNORECASE)
_MAILBOX = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.")
_URI = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")  # RFC 3986 §2


class HostKind(StrEnum):
    DNS = "dns"
    IP = "ip"
    EMAIL = "email"
    URI = "uri"

    @property
    def label(self) -> str:
        return {"dns": "DNS name", "ip": "IP address", "email": "e-mail address", "uri": "URI"}[self.value]


@dataclass(frozen=True)
class Host:
    kind: HostKind
    value: str  # A-labels, a canonical address, local@domain, an absolute URI

    def __str__(self) -> str:
        return self.value

    @property
    def general_name(self) -> x509.GeneralName:
        return _GENERAL[self.kind](self.value)


_GENERAL = {
    HostKind.DNS: x509.DNSName,
    HostKind.IP: lambda value: x509.IPAddress(ipaddress.ip_address(value)),
    HostKind.EMAIL: x509.RFC822Name,
    HostKind.URI: x509.UniformResourceIdentifier,
}


def hosts_parse(texts: Iterable[str]) -> tuple[Host, ...]:
    """In the order given, without duplicates. Raises NameRefused naming the one that cannot be used."""
    found = tuple(dict.fromkeys(host_parse(text) for text in texts if text.strip()))
    if len(found) > LIMIT:
        raise NameRefused(
            f"These are {len(found)} hosts; one certificate holds at most {LIMIT}.",
            advice="Use a second certificate for the others.",
        )
    return found


def host_parse(text: str) -> Host:
    """Its kind is seen from its form; `dns:`, `ip:`, `email:` or `uri:` before it says it. Raises NameRefused."""
    text = text.strip()
    kind, value = _kind_of(text)
    host = Host(kind, _READERS[kind](value))
    if len(host.value) > _LONGEST:
        raise NameRefused(f"“{text[:40]}…” is longer than {_LONGEST} characters.", advice="Use a shorter one.")
    return host


def _kind_of(text: str) -> tuple[HostKind, str]:
    if prefix := _PREFIX.match(text):
        return HostKind(prefix["kind"].lower()), text[prefix.end() :].strip()
    if _SCHEME.match(text):
        return HostKind.URI, text
    if "@" in text:
        return HostKind.EMAIL, text
    return (HostKind.IP if address_canonical(text) else HostKind.DNS), text


def _dns(value: str) -> str:
    if address_canonical(value):
        raise NameRefused(f"{value} is an IP address, not a DNS name.", advice=f"Type it as ip:{value}.")
    return name_parse(value, SELF_SIGNED)


def _ip(value: str) -> str:
    address = address_canonical(value)
    if not address:
        raise NameRefused(f"“{value}” is no IP address.", advice="Type it like 192.0.2.10 or 2001:db8::10.")
    return address


def _email(value: str) -> str:
    local, _, domain = value.rpartition("@")
    if not local or not domain or len(local) > 64 or not _MAILBOX.fullmatch(local):
        raise NameRefused(
            f"“{value}” is no e-mail address that a certificate can hold.", advice="Type it like person@example.com."
        )
    return f"{local}@{name_parse(domain)}"


def _uri(value: str) -> str:
    bad = NameRefused(f"“{value}” is no absolute URI.", advice="Type it like https://example.com/path or urn:uuid:….")
    if not _URI.fullmatch(value) or not _ABSOLUTE.match(value):
        raise bad
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise bad from error
    if "://" in value:
        if not host:
            raise bad
        if not address_canonical(host):
            name_parse(host, SELF_SIGNED)
    elif not parts.path:
        raise bad
    return value


_READERS = {HostKind.DNS: _dns, HostKind.IP: _ip, HostKind.EMAIL: _email, HostKind.URI: _uri}
