"""Taking secrets and people out of texts that leave the portal: a diagnosis, a support bundle. Pure.

Whole records are built from lists of what may be in them; this is the second line, for sentences that came from
elsewhere. It takes out too much rather than too little.
"""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote, quote_plus

MASK = "•••"
SHORTEST = 6  # characters of a secret that is looked for; a shorter one would take words apart
_URL = re.compile(r"""(?ix) \b ([a-z][a-z0-9+.-]*://) ([^\s/?\#"'<>]*@)? ([^\s/?\#"'<>]*) ([/?\#][^\s"'<>]*)?""")
CHALLENGES = "/.well-known/acme-challenge/"
_CHALLENGE = re.compile(r"(/\.well-known/acme-challenge/)[^\s\"'<>]+")
_ONE_TIME = re.compile(r"(/(?:setup|session)/)[^\s/\"'<>]+")
_MAIL = re.compile(r"[\w.+%-]+@(?=[\w-]+\.|\[|localhost)")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_PAIR = re.compile(
    r"""(?ix) (password|passwd|passphrase|secret|token|authorization|hmac|api[_-]?key|credential)
        (["']?\s*[=:]\s*["']?) (?:(?:bearer|basic)\s+)? [^\s"',;&]+"""
)
RANDOM_FROM = 20  # characters
_RANDOM = re.compile(r"[A-Za-z0-9_+/=-]{20,}")
_PUBLIC = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")  # UUIDs name rows


@dataclass(frozen=True)
class Redaction:
    """`secrets` are known ones, taken out in every usual spelling; `urls` may keep what is behind their host."""

    secrets: frozenset[str] = frozenset()
    urls: frozenset[str] = frozenset()

    @cached_property
    def _known(self) -> re.Pattern[str] | None:
        forms = {form for secret in self.secrets for form in spellings(secret)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def known(self, text: str) -> str:
        """Without the known secrets and what is always one, but with addresses: for the administrator's own eyes."""
        text = self._known.sub(MASK, text) if self._known else text
        text = _ONE_TIME.sub(rf"\1{MASK}", _PEM.sub(MASK, text))
        return _URL.sub(_without_user, text)

    def strict(self, text: str) -> str:
        """For somebody else's eyes: also without e-mail addresses, paths of URLs, and whatever looks random."""
        text = _CHALLENGE.sub(rf"\1{MASK}", self.known(text))
        text = _URL.sub(self._without_path, text)
        text = _PAIR.sub(rf"\1\2{MASK}", text)
        return _RANDOM.sub(_without_random, _MAIL.sub(f"{MASK}@", text))

    def _without_path(self, found: re.Match[str]) -> str:
        scheme, _, host, path = found.groups()
        if not path or path == "/" or found.group(0).rstrip(".,;:)") in self.urls:
            return found.group(0)
        return f"{scheme}{host}{CHALLENGES if path.startswith(CHALLENGES) else '/'}{MASK}"


def spellings(secret: str) -> set[str]:
    """As it is, quoted for URLs, in hex, and in base64 at any offset of a longer text; empty for a short one."""
    if len(secret) < SHORTEST:
        return set()
    raw = secret.encode()
    encoded = {form for before in range(3) for form in _base64_inside(raw, before)}
    return {secret, quote(secret, safe=""), quote_plus(secret), raw.hex(), raw.hex().upper(), *encoded}


def secrets_of_url(url: str) -> Iterable[str]:
    """User and password of a URL, as written."""
    found = _URL.search(url)
    if found and found.group(2):
        yield found.group(2).rstrip("@").partition(":")[2]


def host_of_url(url: str) -> str:
    """scheme://host[:port] without anything that could be a secret."""
    found = _URL.search(url)
    return f"{found.group(1)}{found.group(3)}" if found else MASK


def _base64_inside(raw: bytes, before: int) -> set[str]:
    """What of the encoding is the secret's own, whatever `before` bytes stand before it (RFC 4648 §4, §5)."""
    start = (0, 2, 3)[before]
    whole = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
    spoilt = 0 if (before + len(raw)) % 3 == 0 else 1  # the last character also holds bits of what follows
    inside = whole[start : len(whole) - spoilt]
    return {inside, inside.replace("+", "-").replace("/", "_")} if len(inside) >= SHORTEST else set()


def _without_user(found: re.Match[str]) -> str:
    scheme, user, host, path = found.groups()
    return f"{scheme}{MASK + '@' if user else ''}{host}{path or ''}"


def _without_random(found: re.Match[str]) -> str:
    word = found.group(0)
    # A path of a file is judged part by part, what may be base64 as a whole.
    return "/".join(map(_judged, word.split("/"))) if word.startswith("/") else _judged(word)


def _judged(word: str) -> str:
    if len(word) < RANDOM_FROM or _PUBLIC.fullmatch(word):
        return word
    looks_random = any(letter.isdigit() for letter in word) and any(letter.isalpha() for letter in word)
    mixed = word != word.lower() and word != word.upper() and "-" not in word.strip("-")
    return MASK if looks_random or (mixed and len(word) >= 32) else word
