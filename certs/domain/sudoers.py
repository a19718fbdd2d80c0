"""Lines for a sudoers file that allow exactly what is named and nothing beside it (sudoers(5), "Other special
characters and reserved words")."""

import re
from collections.abc import Iterable, Sequence

from certs.domain.errors import InputError

_RESERVED = re.compile(r"([\\,:=#*?\[\]!\s\"'])")


def sudoers_lines(account: str, commands: Iterable[Sequence[str]]) -> str:
    """One line for each command, with its full path and its arguments as they are: no wildcard is left in it.

    Raises InputError for what sudoers cannot hold.
    """
    lines = [f"{_word(account)} ALL=(root) NOPASSWD: {' '.join(map(_word, argv))}" for argv in commands]
    return "".join(f"{line}\n" for line in dict.fromkeys(lines))


def _word(word: str) -> str:
    if not word or not word.isprintable():
        raise InputError("This command cannot be allowed by a sudoers file.", advice="Rename the file in question.")
    return _RESERVED.sub(r"\\\1", word)
