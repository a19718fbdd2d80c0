"""What a look at the portal and its surroundings found: lines, each green, worth a look, red with the mend, or open.

Pure. `Look` is one check: a function that takes a `Situation` and gives lines. It is declared by the decorator `look`
in a module of `certs/services/diagnosis/`, which the registry walks; `certs/services/diagnoses.py` runs them.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from certs.domain.errors import BinderyError

DOCUMENT_VERSION = 1


class State(StrEnum):
    """From the best to the worst. UNKNOWN: it could not be checked from here, which is neither good nor bad."""

    OK = "ok"
    UNKNOWN = "unknown"
    NOTE = "note"  # nothing is broken by it now
    BAD = "bad"


_ORDER = list(State)
# In the order in which they are told: what is here first, then what is further and further away.
TOPICS = {
    "settings": "Settings",
    "files": "Files and disk",
    "database": "Database and key ring",
    "queue": "Worker and schedule",
    "ports": "Addresses and ports",
    "certificates": "Certificates",
    "public-url": "Public URL",
    "names": "DNS and the way from outside",
    "network": "The way out",
    "cas": "CAs and the clock",
}


@dataclass(frozen=True)
class Line:
    """`code` is stable and for programs; `sentence` says what is so, `mend` what to do, `evidence` what was seen.

    One check may give several lines of the same code, about different things. None of the texts holds a secret.
    """

    code: str
    state: State
    sentence: str
    mend: str = ""
    evidence: str = ""
    topic: str = ""  # a key of TOPICS; filled in from the check


def fine(code: str, sentence: str, *, evidence: str = "") -> Line:
    return Line(code, State.OK, sentence, evidence=evidence)


def note(code: str, sentence: str, mend: str = "", *, evidence: str = "") -> Line:
    return Line(code, State.NOTE, sentence, mend, evidence)


def bad(code: str, sentence: str, mend: str, *, evidence: str = "") -> Line:
    return Line(code, State.BAD, sentence, mend, evidence)


def unknown(code: str, reason: str, mend: str = "", *, evidence: str = "") -> Line:
    """`reason` is a sentence that says why it could not be checked."""
    return Line(code, State.UNKNOWN, reason, mend, evidence)


def bad_for(code: str, error: BinderyError, *, evidence: str = "") -> Line:
    """An error tells what is so and what to do already."""
    return bad(code, error.message, error.advice, evidence=evidence)


@dataclass(frozen=True)
class Situation:
    """What every check may rely on. `database` says why the database cannot be used, None where it can."""

    node: str
    home: Path
    seconds: float  # that all checks together may take
    database: BinderyError | None = None


Check = Callable[[Situation], Iterable[Line]]


@dataclass(frozen=True)
class Look:
    """`code` and `about` ("Whether …") tell of it where it could not be made. `seconds` is its own limit."""

    code: str
    about: str
    topic: str
    check: Check
    seconds: float
    database: bool

    def __call__(self, situation: Situation) -> list[Line]:
        return [replace(line, topic=self.topic) for line in self.check(situation)]

    def could_not(self, reason: str) -> Line:
        return Line(self.code, State.UNKNOWN, f"{self.about}: {reason}.", topic=self.topic)


def look(topic: str, *, seconds: float = 5.0, database: bool = True) -> Callable[[Check], Look]:
    """Declares a check of a topic. Its code is the function's name; its docstring's first line says “Whether …”.

    The check runs in a thread of its own, and may raise: then what it looked at "could not be checked". Without a
    database only those are made that need none.
    """
    if topic not in TOPICS:
        raise ValueError(f"{topic} is not among TOPICS")

    def declare(check: Check) -> Look:
        about = (inspect.getdoc(check) or "").partition("\n")[0].rstrip(".")
        name = getattr(check, "__name__", "")
        if not name or not about:
            raise ValueError(f"a check of {topic} has no name or no docstring")
        return Look(name.replace("_", "-"), about, topic, check, seconds, database)

    return declare


def lines_sorted(lines: Iterable[Line]) -> list[Line]:
    """By topic, in each the worst first; what is as bad keeps its order."""
    places = list(TOPICS)
    return sorted(lines, key=lambda line: (places.index(line.topic), -_ORDER.index(line.state)))


def worst_state(lines: Iterable[Line]) -> State:
    return max((line.state for line in lines), key=_ORDER.index, default=State.OK)


def lines_counted(lines: Sequence[Line]) -> dict[State, int]:
    """All states, the worst first."""
    return {state: sum(line.state == state for line in lines) for state in reversed(_ORDER)}


def document(lines: Sequence[Line], *, node: str, version: str, made_at: datetime) -> dict[str, Any]:
    """What `manage.py doctor --json` prints; docs/doctor.schema.json describes it."""
    return {
        "format": DOCUMENT_VERSION,
        "version": version,
        "node": node,
        "made_at": made_at.isoformat(timespec="seconds"),
        "result": worst_state(lines).value,
        "counts": {state.value: count for state, count in lines_counted(lines).items()},
        "lines": [line_document(line) for line in lines],
    }


def line_document(line: Line) -> dict[str, str]:
    return {
        "topic": line.topic,
        "code": line.code,
        "state": line.state.value,
        "sentence": line.sentence,
        "mend": line.mend,
        "evidence": line.evidence,
    }


def line_read(found: dict[str, str]) -> Line:
    """What `line_document` gave, as stored by another node, maybe of another version: what is unknown is left open."""
    state = found.get("state", "")
    topic = found.get("topic", "")
    return Line(
        code=found.get("code", ""),
        state=State(state) if state in _ORDER else State.UNKNOWN,
        sentence=found.get("sentence", ""),
        mend=found.get("mend", ""),
        evidence=found.get("evidence", ""),
        topic=topic if topic in TOPICS else next(iter(TOPICS)),
    )
