"""A diagnosis where not even the settings can be read: one red line for what is wrong with them, the rest left open.

Without Django, which cannot be set up then.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from certs.domain.diagnosis import Line, bad, document, unknown
from certs.management.diagnosis import WRONG, colours_wanted, diagnosis_text

_MEND = "Correct the variable where it is set: in the shell, the service's environment file or compose.yaml."


def unread_lines(trouble: str) -> list[Line]:
    wrong = bad("settings", trouble, _MEND)
    rest = unknown("rest", "Nothing else was looked at, since the settings cannot be read.")
    return [replace(line, topic="settings") for line in (wrong, rest)]


def unread_tell(trouble: str, words: Sequence[str], *, node: str) -> int:
    """Prints it as `doctor` with these words would; returns the exit code."""
    lines = unread_lines(trouble)
    if "--json" in words:
        told = document(lines, node=node, version="", made_at=datetime.now(UTC))
        print(json.dumps(told, indent=2, ensure_ascii=False))  # noqa: T201 - there is no command to print it
        return WRONG
    colours = colours_wanted(terminal=sys.stdout.isatty()) and "--no-color" not in words
    print("\n".join(diagnosis_text(lines, colours=colours)))  # noqa: T201 - as above
    return WRONG
