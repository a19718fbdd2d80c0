"""Which addresses are on the Internet, and which belong to the inside of somebody's network."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_GLOBAL_UNICAST = IPv6Network("2000::/3")  # the only IPv6 addresses in use on the Internet (RFC 4291 §2.4)
_DOCUMENTATION = IPv6Network("3fff::/20")  # RFC 9637, which the standard library of Python 3.11 does not know
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1
# Not in Python 3.11's list; RFC 6890 keeps the whole for protocols, and clouds put their metadata there.
_PROTOCOLS = IPv4Network("192.0.0.0/24")
# Public by its number and nobody's but the host's own: Azure's platform address, which hands out secrets of the machine
# (learn.microsoft.com, “What is IP address 168.63.129.16?”).
_OF_THE_CLOUD = IPv4Network("168.63.129.16/32")


def address_is_public(text: str) -> bool:
    """False for loopback, private, link-local, shared, multicast and reserved addresses, and for an IPv6 address that
    leads to one of these (IPv4-mapped, 6to4, Teredo, NAT64). Raises ValueError for what is no address.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv4Address):
        return _is_public(address)
    if inner := _inside(address):
        return _is_public(inner)
    return address in _GLOBAL_UNICAST and address not in _DOCUMENTATION and address.is_global


def _is_public(address: IPv4Address) -> bool:
    inside = address in _PROTOCOLS or address in _OF_THE_CLOUD
    return address.is_global and not address.is_multicast and not inside


def _inside(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to this one may end at."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
