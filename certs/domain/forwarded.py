"""What a proxy in front says of a request that it hands on, and how far it is believed.

Whoever can connect can write these headers, so only what a listed proxy wrote counts: X-Forwarded-For is walked from
its right end, which the proxy next to the portal wrote, as long as each hop is itself on the list. X-Forwarded-Proto
and X-Forwarded-Host are read as far from their right end as that walk went: a proxy that appends leaves what a client
made up at the left, one that overwrites leaves a single value. `Forwarded` (RFC 7239), Via and everything else of the
kind is never believed: what no proxy of the list is known to overwrite would be the client's own word.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from certs.domain.errors import InputError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MOST_PROXIES = 64
# A shorter prefix is a good part of the Internet: then anybody in it is believed.
_SHORTEST = {4: 8, 6: 7}  # fc00::/7 are all unique local addresses (RFC 4193)
_EXAMPLE = "Type an address such as 192.0.2.10, or a network such as 10.0.0.0/8 or fd00::/8."
_WITH_PORT = re.compile(r"\[(?P<six>[^\[\]]*)\](?::\d{1,5})?|(?P<four>[\d.]+):\d{1,5}")
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*)|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_MOST_HOPS = 32
_MOST_LENGTH = 255


@dataclass(frozen=True)
class Said:
    """The headers as they came; repeated ones joined by commas (RFC 9110 section 5.3), "" where there was none."""

    chain: str = ""  # X-Forwarded-For
    proto: str = ""  # X-Forwarded-Proto
    host: str = ""  # X-Forwarded-Host


@dataclass(frozen=True)
class Believed:
    """`client` is an address; `scheme` is http, https or "", `host` is name[:port] or "", where nobody said it."""

    client: str
    scheme: str
    host: str


HANDED_ON = "bindery.handed_on"  # where the WSGI environment keeps the next
NOT_BELIEVED = "bindery.not_believed"  # and that somebody who is not listed said https


@dataclass(frozen=True)
class HandedOn:
    """By which listed proxy a request came, and whether that said http or https."""

    peer: str
    says_scheme: bool


def believed(peer: str, said: Said, proxies: Iterable[Network]) -> Believed | None:
    """What holds of a request that `peer` handed on; None where the peer is not on the list."""
    networks = tuple(proxies)
    nearest = address_read(peer)
    if nearest is None or not is_within(nearest, networks):
        return None
    client, hops = _walk(nearest, said.chain, networks)
    scheme, host = _at(said.proto, hops).lower(), _at(said.host, hops)
    return Believed(
        client=str(client),
        scheme=scheme if scheme in ("http", "https") else "",
        host=host if len(host) <= _MOST_LENGTH and _AUTHORITY.fullmatch(host) else "",
    )


def address_read(text: str) -> Address | None:
    """One address as proxies write it: bare, with a port, in brackets. None for anything else, zones included.

    An IPv4 address in IPv6 clothes (::ffff:192.0.2.1) is the IPv4 address.
    """
    bare = text.strip()
    match = _WITH_PORT.fullmatch(bare)
    if match is not None:
        bare = match["six"] if match["six"] is not None else match["four"]
    if "%" in bare or (match is not None and match["six"] is not None and ":" not in bare):
        return None
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)  # of the other family: never


def is_near(peer: str) -> bool:
    """Whether an address is this machine's or of an inner network, where no stranger of the Internet connects from."""
    address = address_read(peer)
    inner = address is not None and (address.is_loopback or address.is_private or address.is_link_local)
    return inner and address is not None and not address.is_unspecified


def proxies_parse(texts: Sequence[str]) -> tuple[Network, ...]:
    """Addresses and networks, sorted, each once. Raises InputError (code "proxies") with what is wrong with which."""
    found = {_network(text) for text in texts if text.strip()}
    if len(found) > MOST_PROXIES:
        raise InputError(f"These are {len(found)} proxies; {MOST_PROXIES} is the most.", code="proxies")
    return tuple(sorted(found, key=lambda network: (network.version, network.network_address, network.prefixlen)))


def network_shown(network: Network) -> str:
    """A single address without its prefix."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _network(text: str) -> Network:
    bare = text.strip()
    try:
        network = ipaddress.ip_network(bare.strip("[]") if "/" not in bare else bare)
    except ValueError:
        raise _refusal(bare) from None
    if "%" in bare:
        raise InputError(
            f"“{bare}” names a zone, which is not the same on another day.", advice=_EXAMPLE, code="proxies"
        )
    first = network.network_address
    mapped = getattr(first, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= 96:
        network = ipaddress.ip_network((mapped, network.prefixlen - 96), strict=False)
    if network.prefixlen < _SHORTEST[network.version]:
        raise InputError(
            f"{network} is too much of the Internet: everybody in it could say who he is and that he came by HTTPS.",
            advice="List the address of the proxy itself, or the network that only proxies are in.",
            code="proxies",
        )
    if first.is_unspecified or first.is_multicast:
        raise InputError(f"{network_shown(network)} is no address that a proxy has.", advice=_EXAMPLE, code="proxies")
    return network


def _refusal(text: str) -> InputError:
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        shown = text if len(text) <= 60 else f"{text[:60]}…"
        return InputError(
            f"“{shown}” is neither an IP address nor a network; a name is not enough, since DNS would decide whom to "
            "believe.",
            advice=_EXAMPLE,
            code="proxies",
        )
    return InputError(
        f"{text} is an address inside {meant}, not a network.",
        advice=f"Type {meant} for all of it, or {text.partition('/')[0]} for this one.",
        code="proxies",
    )


def _walk(nearest: Address, chain: str, networks: tuple[Network, ...]) -> tuple[Address, int]:
    """The client, and how many proxies of the list the request came through."""
    client, hops = nearest, 1
    for entry in reversed(chain.split(",")[-_MOST_HOPS:] if chain.strip() else []):
        told = address_read(entry)
        if told is None:  # from here on nobody knows
            break
        client = told
        if not is_within(told, networks):
            break
        hops += 1
    return client, hops


def _at(values: str, hops: int) -> str:
    """The value that the outermost of `hops` proxies wrote: counted from the right, the first where there are fewer."""
    entries = values.split(",")
    return entries[-min(hops, len(entries))].strip()
