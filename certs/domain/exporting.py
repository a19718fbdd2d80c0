"""How exported certificates are named on disk, and which modes their files may have."""

import re
from datetime import datetime

from certs.domain.errors import InputError

GENERATION = re.compile(r"\d{14}-[0-9a-f]{12}(\.\d+)?")
_LONGEST = 100
_ALLOWED = 0o660  # nobody but owner and group, and nothing to execute


def directory_name(name: str) -> str:
    """A certificate's name as the name of a directory: *.example.com becomes _wildcard.example.com."""
    plain = re.sub(r"[^a-z0-9._-]+", "_", name.lower().replace("*", "_wildcard"))
    return plain.strip(".-")[:_LONGEST].rstrip(".-") or "certificate"


def generation_name(not_before: datetime, fingerprint: str) -> str:
    """Sorts by age, and is the same on every node."""
    return f"{not_before:%Y%m%d%H%M%S}-{fingerprint[:12].lower()}"


def mode_parse(text: str) -> int:
    """The permissions of a file with a private key, such as 0640. Raises InputError, code "mode"."""
    word = text.strip()
    mode = int(word, 8) if re.fullmatch(r"0?[0-7]{3}", word) else -1
    if mode < 0 or mode & ~_ALLOWED or not mode & 0o400:
        raise InputError(
            f"“{word}” is no mode for a private key: its owner must be able to read it, and only its group beside.",
            advice="Type 0600, or 0640 together with a group.",
            code="mode",
        )
    return mode
