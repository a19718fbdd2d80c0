"""Which proxy a URL is asked through, by the variables that curl, Go and Python have made usual.

`https_proxy`, `http_proxy` and `all_proxy` name a proxy, `no_proxy` what is asked without one. Each may be written in
capitals; where both forms are set, the lower-case one counts, and one that is set to nothing switches the other off.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from certs.domain.addresses import address_shown
from certs.domain.errors import InputError
from certs.domain.urls import url_split

_PORTS = {"http": 80, "https": 443}
_EXAMPLE = "http://proxy.example.com:3128"


@dataclass(frozen=True)
class Proxy:
    """`url` may hold a user and a password and is never shown; the text of a Proxy is what may be."""

    host: str
    port: int
    variable: str  # that named it, as it is written there
    url: str = field(repr=False)

    def __str__(self) -> str:
        return f"{address_shown(self.host, self.port)} ({self.variable})"


def proxy_for(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """None where the URL is asked directly. Raises InputError, which holds no password, for what names no proxy."""
    parts = url_split(url)
    variable, value = proxy_named(parts.scheme, environment)
    if not value or is_spared(url, _value("no_proxy", environment)[1]):
        return None
    return proxy_parse(variable, value)


def proxy_named(scheme: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """(the variable as it is written, its value) for URLs of this scheme; ("", "") where none is set."""
    found = (_value(name, environment) for name in (f"{scheme}_proxy", "all_proxy"))
    return next((each for each in found if each[1]), ("", ""))


def proxy_parse(variable: str, value: str) -> Proxy:
    """Raises InputError, which holds no password."""
    written = value if "://" in value else f"http://{value}"
    parts = url_split(written)
    if parts.scheme and parts.scheme not in _PORTS:
        raise InputError(
            f"{variable} names a proxy of the kind {parts.scheme}://, which Bindery does not speak.",
            advice=f"Name an HTTP proxy, such as {_EXAMPLE}.",
            code="proxy",
        )
    port = 0
    try:
        port = _PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
        usable = bool(parts.hostname) and port > 0 and not parts.query and not parts.fragment
    except ValueError:
        usable = False
    if not usable or parts.path not in {"", "/"}:
        raise InputError(
            f"{variable} is not the address of a proxy.",
            advice=f"Write {_EXAMPLE}, or http://user:password@host:port with @ : / ? # and % of the password encoded "
            "(%40, %3A, %2F, %3F, %23, %25).",
            code="proxy",
        )
    return Proxy(parts.hostname or "", port, variable, written)


def is_spared(url: str, no_proxy: str) -> bool:
    """Whether a list like that of NO_PROXY names the host of the URL.

    Its entries, between commas or spaces: `example.com`, `.example.com` and `*.example.com` are the name and all below
    it; `192.0.2.1`, `2001:db8::1`, `10.0.0.0/8` and `fd00::/8` addresses; each may have a port (`example.com:8443`,
    `[::1]:8443`); `*` is everything.
    """
    parts = url_split(url)
    try:
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        port = None
    host = (parts.hostname or "").rstrip(".")
    return any(_entry_fits(entry.lower(), host, port) for entry in re.split(r"[,\s]+", no_proxy) if entry)


def _entry_fits(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    bare, wanted = entry, ""
    if entry.startswith("["):
        bare, _, wanted = entry[1:].partition("]")
        wanted = wanted.removeprefix(":")
    elif entry.count(":") == 1:
        bare, _, wanted = entry.partition(":")
    if wanted and wanted != str(port):
        return False
    try:
        network = ipaddress.ip_network(bare, strict=False)
    except ValueError:
        name = bare.removeprefix("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False


def _value(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    written = name if name in environment else name.upper()
    return written, environment.get(written, "").strip()
