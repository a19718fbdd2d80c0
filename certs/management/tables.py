"""Tables for people: columns as wide as what stands in them, cut where the terminal ends, whole where nobody looks."""

import shutil
import sys
from collections.abc import Sequence
from unicodedata import east_asian_width

GAP = "  "


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]], *, width: int = 0) -> list[str]:
    """The last column takes what is left of `width`; 0 is no limit. No rows, no table."""
    if not rows:
        return []
    table = [[_one_line(cell) for cell in row] for row in (list(head), *rows)]
    widths = [max(_wide(row[column]) for row in table) for column in range(len(head) - 1)]
    lines = [GAP.join([*map(_padded, row[:-1], widths), row[-1]]).rstrip() for row in table]
    return [_cut(line, width) for line in lines] if width else lines


def terminal_width() -> int:
    """Of standard output; 0 where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def facts_lines(facts: Sequence[tuple[str, str]]) -> list[str]:
    """NAME  VALUE, one below the other; what has no value is left out."""
    shown = [(name, value) for name, value in facts if value]
    broad = max((len(name) for name, _ in shown), default=0)
    return [f"{name.ljust(broad)}{GAP}{value}" for name, value in shown]


def _one_line(cell: str) -> str:
    """What a certificate says of itself must move no cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in cell)


def _wide(text: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _wide(text))


def _cut(line: str, width: int) -> str:
    if _wide(line) <= width:
        return line
    kept = line
    while _wide(kept) > width - 1:
        kept = kept[:-1]
    return f"{kept}…"
