"""IP addresses of listeners: what is an address, which covers which, how one is shown."""

import ipaddress

from certs.domain.errors import InputError

EVERY_ADDRESS = ("0.0.0.0", "::")


def address_parse(text: str) -> str:
    """The canonical form of one IPv4 or IPv6 address, brackets or not. Raises InputError."""
    bare = text.strip().strip("[]")
    if "%" in bare and ":" in bare:
        raise InputError(
            f"{text!r} holds for one link only, and no browser opens it.",
            advice="Choose ::, which takes link-local addresses too, or an address without a zone.",
        )
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        raise InputError(
            f"{text!r} is not an IP address.", advice="Type an address such as 0.0.0.0, 127.0.0.1 or ::1."
        ) from None


def address_is_any(address: str) -> bool:
    return address in EVERY_ADDRESS


def address_covers(wide: str, narrow: str) -> bool:
    """Whether a listener on `wide` also answers for `narrow`: the same address, or all of the same family."""
    return wide == narrow or (address_is_any(wide) and (":" in wide) == (":" in narrow))


def addresses_collide(one: str, other: str) -> bool:
    """Whether two listeners on the same port would answer for an address that both have."""
    return address_covers(one, other) or address_covers(other, one)


def addresses_meant(choice: str) -> list[str]:
    """What a person means by one address: a wildcard is every address of both families, nothing stays nothing."""
    if not choice:
        return []
    return list(EVERY_ADDRESS) if address_is_any(choice) else [choice]


def address_reachable(address: str) -> str:
    """An address to connect to from this machine in order to reach a listener on `address`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)


def host_shown(host: str) -> str:
    """As it stands in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def address_shown(address: str, port: int) -> str:
    return f"{host_shown(address)}:{port}"


def addresses_shown(addresses: list[str], port: int) -> str:
    """For a sentence: "port 8443 on all addresses", "127.0.0.1:8443 and [::1]:8443"."""
    if "0.0.0.0" in addresses:
        return f"port {port} on all addresses"
    return " and ".join(address_shown(address, port) for address in addresses)


def server_parse(text: str, port: int) -> tuple[str, int]:
    """(host or address, port) of host, host:port, address, [v6] or [v6]:port; `port` where none is named.

    Raises InputError.
    """
    bare = text.strip()
    host, separator, number = bare, "", ""
    if bare.startswith("["):
        host, separator, number = bare[1:].partition("]:")
        host = host if separator else host.removesuffix("]") if host.endswith("]") else ""
    elif bare.count(":") == 1:
        host, separator, number = bare.partition(":")
    is_port = number.isascii() and number.isdigit() and 0 < int(number) < 65536
    if not host or any(letter.isspace() or letter in "[]/@" for letter in host) or (separator and not is_port):
        raise InputError(
            f"“{text}” is not a server.",
            advice="Type an address or a host name, such as 192.0.2.53 or [2001:db8::53]:53.",
        )
    return host, int(number) if separator else port
