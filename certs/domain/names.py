"""DNS names as people type them, and as certificates carry them.

Stored names are lower-case IDNA 2008 A-labels without a trailing dot (RFC 5890, RFC 8555 §7.1.4).
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

import idna

from certs.domain.errors import NameRefused

LIMIT = 100  # names per certificate; Let's Encrypt's classic profile
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:/*", re.IGNORECASE)
_PORT = re.compile(r"^(?P<host>[^:\[\]]*):(?P<port>\d{0,5})$")
_ADDRESS = re.compile(r"[0-9a-fA-F.:]+")  # asked first: most texts are none, and that is dear to find out
_EXAMPLE = "portal.example.com"


@dataclass(frozen=True)
class NameRules:
    """What may be named besides plain public DNS names. The refusals speak of certificates of a public CA."""

    wildcard: bool = False
    dotless: bool = False
    address: bool = False


PUBLIC = NameRules()
SELF_SIGNED = NameRules(wildcard=True, dotless=True, address=True)
SERVER_NAME = NameRules(wildcard=True, dotless=True)


def names_parse(text: str, rules: NameRules = PUBLIC) -> list[str]:
    """Names separated by commas or line breaks, as A-labels, without duplicates, sorted; at most `LIMIT`.

    Raises NameRefused naming the piece that cannot be used and what to type instead.
    """
    names = sorted({name_parse(piece, rules) for piece in re.split(r"[,\n\r]", text) if piece.strip()})
    if not names:
        raise NameRefused("No DNS name was given.", advice=f"Type one, for example {_EXAMPLE}.")
    if len(names) > LIMIT:
        raise NameRefused(
            f"These are {len(names)} names; one certificate holds at most {LIMIT}.",
            advice="Use a second certificate for the others.",
        )
    return names


def name_parse(text: str, rules: NameRules = PUBLIC) -> str:
    """One name or, where the rules allow it, address. Raises NameRefused."""
    name = text.strip()
    if address := address_canonical(name):
        return _address_allowed(address, rules)
    _refuse_web_address(name)
    if any(character.isspace() for character in name):
        raise NameRefused(
            f"“{name}” contains a space.",
            advice=f"Type just the name, for example {_EXAMPLE}; put a comma between two names.",
        )
    wildcard = name.startswith("*.")
    if "*" in name.removeprefix("*."):
        raise NameRefused(
            f"“{name}” has a * where none can be.", advice="A wildcard is the whole first part: *.example.com."
        )
    if wildcard and not rules.wildcard:
        raise NameRefused(
            f"“{name}” is a wildcard, which a CA gives only after a DNS challenge.",
            advice="Choose a DNS challenge, or type each name by itself: www.example.com, mail.example.com.",
            code="wildcard",
        )
    ascii_name = _to_ascii(name.removeprefix("*."), name)
    if "." not in ascii_name and (wildcard or not rules.dotless):
        raise NameRefused(
            f"“{name}” is not a full DNS name.", advice=f"Type the whole name with its domain, for example {_EXAMPLE}."
        )
    result = f"*.{ascii_name}" if wildcard else ascii_name
    if len(result) > 253:
        raise NameRefused(
            f"“{name[:40]}…” is {len(result)} characters long; a DNS name has at most 253.",
            advice="Type the name as it stands in DNS.",
        )
    return result


def name_covers(pattern: str, host: str) -> bool:
    """Whether a name of a certificate fits a host (RFC 6125 §6.4.3: `*` is one whole leftmost label)."""
    pattern, host = pattern.lower().rstrip("."), host.lower().rstrip(".")
    address = address_canonical(host)
    if address or address_canonical(pattern):
        return bool(address) and address == address_canonical(pattern)
    if not pattern.startswith("*."):
        return bool(host) and pattern == host
    first, _, rest = host.partition(".")
    return bool(first) and first != "*" and rest == pattern[2:]


def names_cover(patterns: Iterable[str], host: str) -> bool:
    return any(pattern.lower() == host.lower() or name_covers(pattern, host) for pattern in patterns)


def name_display(name: str) -> str:
    """As people read it: A-labels in their own script, where they decode; otherwise unchanged."""
    return ".".join(_label_display(label) for label in name.split("."))


def name_reversed(name: str) -> str:
    """com.example.www: makes "everything under example.com" a range of a sorted index."""
    return ".".join(reversed(name.split(".")))


def is_address(text: str) -> bool:
    return bool(address_canonical(text))


def _label_display(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return idna.decode(label)
    except idna.IDNAError:
        return label


def address_canonical(text: str) -> str:
    """The canonical form of an IPv4 or IPv6 address, also in brackets; empty for anything else."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not _ADDRESS.fullmatch(bare):  # a zone (%) belongs to one machine, never to a certificate
        return ""
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return ""


def _address_allowed(address: str, rules: NameRules) -> str:
    if rules.address:
        return address
    raise NameRefused(
        f"{address} is an IP address; a CA puts one into a certificate only under a profile with IP names "
        "(“shortlived” at Let's Encrypt).",
        advice=f"Type the DNS name that points to it, for example {_EXAMPLE}.",
        code="address",
    )


def _refuse_web_address(name: str) -> None:
    scheme = _SCHEME.match(name)
    if scheme and ("/" in scheme[0] or scheme[0].lower() in {"http:", "https:"}):
        bare = _SCHEME.sub("", name).split("/")[0]
        raise NameRefused(
            f"“{name}” begins with {scheme[0]}.",
            advice=f"Type just the name, for example {_suggest(bare)}, without {scheme[0]}.",
        )
    for mark, what in (("/", "a path"), ("\\", "a backslash"), ("?", "a query"), ("#", "a fragment"), ("@", "an @")):
        if mark in name:
            bare = name.rpartition(mark)[2] if mark == "@" else name.partition(mark)[0]
            raise NameRefused(
                f"“{name}” contains {what}.",
                advice=f"Type just the name, for example {_suggest(bare)}, without “{mark}”.",
            )
    if port := _PORT.match(name):
        raise NameRefused(
            f"“{name}” ends with a port.", advice=f"Type just the name, for example {_suggest(port['host'])}."
        )


def _suggest(bare: str) -> str:
    """The person's own name where it would be accepted, else a neutral example."""
    try:
        labels = bare.lower().rstrip(".").split(".")
        return ".".join(labels) if len(labels) > 1 and all(_LABEL.fullmatch(label) for label in labels) else _EXAMPLE
    except ValueError:
        return _EXAMPLE


def _to_ascii(name: str, shown: str) -> str:
    mapped = _uts46(name, shown).removesuffix(".")
    labels = mapped.split(".")
    for label in labels:
        if not label:
            raise NameRefused(
                f"“{shown}” has an empty part: two dots together, or a dot at the beginning.",
                advice=f"Type the name like {_EXAMPLE}.",
            )
    return ".".join(_label(label, shown) for label in labels)


def _uts46(name: str, shown: str) -> str:
    if name.isascii():
        return name.lower()
    try:
        return idna.uts46_remap(name, std3_rules=False, transitional=False)
    except idna.IDNAError as error:
        raise _no_name(shown, str(error)) from error


def _label(label: str, shown: str) -> str:
    if label.isascii() and not label.startswith("xn--"):
        _check_plain(label, shown)
        return label
    try:
        # Decoding first proves that an A-label typed by hand is one.
        encoded = idna.alabel(idna.ulabel(label)).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise _no_name(shown, str(error)) from error
    return encoded


def _check_plain(label: str, shown: str) -> None:
    if _LABEL.fullmatch(label) and label[2:4] != "--":
        return
    if "_" in label:
        reason = f"the part “{label}” has an underscore, which no CA accepts"
    elif len(label) > 63:
        reason = f"the part “{label[:20]}…” is longer than 63 characters"
    elif label.startswith("-") or label.endswith("-"):
        reason = f"the part “{label}” begins or ends with a hyphen"
    elif label[2:4] == "--":
        reason = f"the part “{label}” has two hyphens where only encoded international names (xn--) have them"
    else:
        reason = f"the part “{label}” has a character other than letters, digits and hyphens"
    raise _no_name(shown, reason)


def _no_name(shown: str, reason: str) -> NameRefused:
    return NameRefused(
        f"“{shown}” cannot be a DNS name: {reason.rstrip('.')}.", advice=f"Type just the name, for example {_EXAMPLE}."
    )
