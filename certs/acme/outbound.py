"""Where a directory may be: https only, and on a private address only where somebody has allowed it."""

import ipaddress
import socket

from certs.domain.errors import AcmeRetry, InputError
from certs.domain.urls import url_split

PRIVATE_ADVICE = (
    "If it is your own CA, tick “The directory is on a private address” (allow_private_ca, or --allow-private-ca)."
)


def address_check(url: str, *, allow_private: bool) -> None:
    """Raises InputError for an address that must not be asked, AcmeRetry when its host cannot be resolved now."""
    parts = url_split(url)
    if parts.scheme != "https":
        raise InputError(f"{url} is not an https:// address.", advice="A directory is asked over https only.")
    host = parts.hostname
    if not host or parts.username or parts.password:
        raise InputError(f"{url} is not a usable address.", advice="Give https://host/path, without user and password.")
    try:
        port = parts.port or 443
    except ValueError:
        raise InputError(f"{url} is not a usable address.", advice="The port must be between 1 and 65535.") from None
    if allow_private:
        return
    for address in _resolve(host, port):
        if not address.is_global or address.is_multicast:
            raise InputError(
                f"{host} is at {address}, which is not on the Internet.", advice=PRIVATE_ADVICE, code="private-address"
            )


def _resolve(host: str, port: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AcmeRetry(
            f"The host {host} cannot be found.", advice="Check its spelling and this machine's DNS.", code="acme-host"
        ) from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).split("%")[0]) for entry in found]
    return [
        address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped else address
        for address in addresses
    ]
