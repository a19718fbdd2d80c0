"""Typed readers of environment variables.

Every variable NAME may also be given as NAME_FILE, the path of a file that holds the value (a mounted secret); naming
both is refused. A value that cannot be read as its type stops the start with a sentence that names the variable.
"""

import os
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from certs.domain.addresses import address_parse, server_parse
from certs.domain.errors import InputError
from certs.domain.forwarded import network_shown, proxies_parse
from certs.transports.roots import roots_read


class EnvError(Exception):
    """An environment variable has a value that cannot be used; the text is for the person."""


def text(name: str, default: str = "") -> str:
    value, file = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if value is not None and file:
        raise EnvError(f"Both {name} and {name}_FILE are set. Unset one of them.")
    if file:
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise EnvError(f"{name}_FILE names {file}, which cannot be read: {error}.") from error
    return default if value is None else value.strip()


def is_set(name: str) -> bool:
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE"))


def integer(name: str, default: int, *, low: int, high: int) -> int:
    raw = text(name)
    if not raw:
        return default
    try:
        value = int(raw)
    except ValueError:
        raise EnvError(f"{name} must be a whole number, not {raw!r}.") from None
    if not low <= value <= high:
        raise EnvError(f"{name} must be between {low} and {high}, not {value}.")
    return value


def port(name: str, default: int) -> int:
    return integer(name, default, low=1, high=65535)


def boolean(name: str, default: bool = False) -> bool:
    raw = text(name).lower()
    if not raw:
        return default
    if raw in {"1", "true", "yes", "on"}:
        return True
    if raw in {"0", "false", "no", "off"}:
        return False
    raise EnvError(f"{name} must be 1 or 0, not {raw!r}.")


def rate(name: str, default: str) -> tuple[int, int]:
    """“600/m” is 600 in 60 seconds; “0” is (0, 60), no limit."""
    raw = text(name) or default
    count, _, unit = raw.partition("/")
    seconds = {"": 60, "s": 1, "m": 60, "h": 3600}.get(unit)
    if seconds is None or not count.isascii() or not count.isdecimal() or len(count) > 9:
        raise EnvError(f"{name} must be a number and a period such as 1200/m (s, m or h), or 0, not {raw!r}.")
    return int(count), seconds


def words(name: str) -> list[str]:
    """A comma-separated list; empty items are dropped."""
    return [word.strip() for word in text(name).split(",") if word.strip()]


def servers(name: str) -> list[str]:
    """A comma-separated list of hosts or addresses, each with or without a port: 192.0.2.53, [2001:db8::53]:5353."""
    found = words(name)
    for word in found:
        try:
            server_parse(word, 0)
        except InputError as error:
            raise EnvError(f"{name}: {error}") from error
    return found


def proxies(name: str) -> list[str]:
    """A comma-separated list of addresses and networks: 192.0.2.10, 10.0.0.0/8."""
    try:
        return [network_shown(network) for network in proxies_parse(words(name))]
    except InputError as error:
        raise EnvError(f"{name}: {error}") from error


def addresses(name: str) -> list[str]:
    """A comma-separated list of IPv4 and IPv6 addresses, each once and in its canonical form."""
    try:
        return list(dict.fromkeys(address_parse(word) for word in words(name)))
    except InputError as error:
        raise EnvError(f"{name}: {error}") from error


def zone(name: str, default: str) -> str:
    value = text(name).removeprefix(":") or default
    try:
        return ZoneInfo(value).key if value != default else default
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise EnvError(f"{name} must be a time zone such as Europe/Berlin, not {value!r}.") from None


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = text(name, default).lower() or default
    if value not in allowed:
        raise EnvError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
    return value


def certificates(name: str) -> str:
    """PEM text: what the file holds that is named (PEM or DER), or the value itself."""
    raw = text(name)
    if not raw:
        return ""
    try:
        data = raw.encode() if "-----BEGIN" in raw else Path(raw).read_bytes()
        return roots_read(data)
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = getattr(error, "strerror", "") or error
        raise EnvError(f"{name} names {raw[:200]}, which cannot be read: {reason}.") from error
    except InputError as error:
        what = "The text in" if "-----BEGIN" in raw else f"The file {raw}, which is named by"
        raise EnvError(f"{what} {name} holds no usable certificate. Give the root certificates in PEM form.") from error
