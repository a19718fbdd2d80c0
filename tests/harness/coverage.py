"""Coverage: its total and what is tested least are shown before the failures, all of it is in artifacts/coverage.txt.

`make coverage` names pyproject.toml in COVERAGE_PROCESS_START: coverage starts itself in pytest, in the workers
of pytest-xdist and in programs the tests start. Here each process saves what it has seen, and the first shows the sum.
"""

import io
import os
import re

import coverage
import psutil
import pytest

from tests.harness.artifacts import ARTIFACTS, ROOT
from tests.harness.namespace import is_inside

LOW, FEW = 75, 8  # per cent; so many files at most are named
_ROW = re.compile(r"^(\S+)\s.*?(\d+)%$", re.MULTILINE)


def is_on() -> bool:
    return "COVERAGE_PROCESS_START" in os.environ


def save() -> None:
    """At the end of a session; a worker's process may be ended before its own end-of-process hooks run."""
    current = coverage.Coverage.current()
    if is_on() and current is not None:
        current.stop()
        current.save()


def show(reporter: pytest.TerminalReporter) -> None:
    """Combine what all processes saved. Only the outermost session does: combining takes the others' files away."""
    if not is_on() or is_inside() or "PYTEST_XDIST_WORKER" in os.environ:
        return
    # The workers are told to end but not waited for, and each writes its file once more when it ends.
    psutil.wait_procs(psutil.Process().children(), timeout=15)
    os.environ.pop("COVERAGE_PROCESS_START")
    total = coverage.Coverage(config_file=str(ROOT / "pyproject.toml"))
    table = io.StringIO()
    try:
        total.combine()
        per_cent = total.report(file=table, skip_covered=True, show_missing=False)
    except coverage.CoverageException as error:
        reporter.write_line(f"coverage: {error}")
        return
    ARTIFACTS.mkdir(exist_ok=True)
    (ARTIFACTS / "coverage.txt").write_text(table.getvalue())
    reporter.ensure_newline()
    reporter.write_line(
        f"coverage: {per_cent:.0f} % in all, each file in artifacts/coverage.txt{least(table.getvalue())}"
    )


def least(table: str) -> str:
    """Of a report of coverage: the files below LOW per cent, the lowest first."""
    rows = [(int(share), name) for name, share in _ROW.findall(table) if name != "TOTAL"]
    low = [f"{name} {share} %" for share, name in sorted(rows) if share < LOW]
    more = f" and {len(low) - FEW} more" if len(low) > FEW else ""
    return f"; low: {', '.join(low[:FEW])}{more}" if low else ""
