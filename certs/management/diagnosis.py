"""A diagnosis on a terminal: by topic, at most 80 columns, with colours only where a person looks."""

import os
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

from certs.domain.diagnosis import TOPICS, Line, State, lines_counted

WIDTH = 80
WRONG = 3  # exit code of `doctor` where a line is red
_WORDS = {State.OK: "ok", State.UNKNOWN: "could not check", State.NOTE: "look", State.BAD: "WRONG"}
_COLOURS = {State.OK: "32", State.UNKNOWN: "36", State.NOTE: "33", State.BAD: "1;31"}
_INDENT = " " * 9


def colours_wanted(*, terminal: bool) -> bool:
    """On a terminal, unless NO_COLOR is set to anything (no-color.org) or the terminal is a dumb one."""
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def diagnosis_text(lines: Sequence[Line], *, colours: bool = False, evidence: bool = False) -> Iterator[str]:
    """`lines` are sorted; one line of text at a time. `evidence` is told of all lines, not only where it matters."""
    for topic, group in groupby(lines, key=lambda line: line.topic):
        yield _painted(TOPICS[topic], "1", colours)
        for line in group:
            yield from _shown(line, colours, evidence)
        yield ""
    yield from _wrapped(_summary(lines), "", "")


def _shown(line: Line, colours: bool, evidence: bool) -> Iterator[str]:
    word = _WORDS[line.state]
    first, *rest = textwrap.wrap(
        line.sentence, WIDTH - len(_INDENT), break_long_words=False, break_on_hyphens=False
    ) or [""]
    if len(word) < len(_INDENT) - 2:
        yield "  " + _painted(word.ljust(len(_INDENT) - 2), _COLOURS[line.state], colours) + first
    else:
        yield "  " + _painted(word, _COLOURS[line.state], colours)
        rest = [first, *rest]
    yield from (_INDENT + each for each in rest)
    if line.state == State.OK and not evidence:
        return
    yield from _wrapped(line.mend, _INDENT + "→ ", _INDENT + "  ")
    yield from _wrapped(line.evidence, _INDENT + "seen: ", _INDENT + "  ")


def _wrapped(text: str, first: str, then: str) -> Iterator[str]:
    for number, part in enumerate(text.splitlines()):
        yield from textwrap.wrap(
            part,
            WIDTH,
            initial_indent=then if number else first,
            subsequent_indent=then,
            break_long_words=False,
            break_on_hyphens=False,
        )


def _summary(lines: Sequence[Line]) -> str:
    counts = ", ".join(f"{count} {_WORDS[state]}" for state, count in lines_counted(lines).items() if count)
    wrong = list(dict.fromkeys(line.code for line in lines if line.state == State.BAD))
    return f"{counts or 'nothing was looked at'}." + (f" To mend: {', '.join(wrong)}." if wrong else "")


def _painted(text: str, colour: str, colours: bool) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if colours else text
