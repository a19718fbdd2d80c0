"""Coverage, shown before pytest's closing line.

`make test` names pyproject.toml in COVERAGE_PROCESS_START, with which coverage starts itself in pytest, in the workers
of pytest-xdist and in programs the tests start. Here each process saves what it has seen, and the first shows the sum.
"""

import io
import os
from pathlib import Path

import coverage
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]


def is_on() -> bool:
    return "COVERAGE_PROCESS_START" in os.environ


def save() -> None:
    """At the end of a session; a worker's process may be ended before its own end-of-process hooks run."""
    current = coverage.Coverage.current()
    if is_on() and current is not None:
        current.stop()
        current.save()


def show(reporter: pytest.TerminalReporter) -> None:
    """Combine what all processes saved, and write the table of files that lack something."""
    if not is_on() or "PYTEST_XDIST_WORKER" in os.environ:
        return
    # The workers are told to end but not waited for, and each writes its file once more when it ends.
    psutil.wait_procs(psutil.Process().children(), timeout=5)
    os.environ.pop("COVERAGE_PROCESS_START")
    total = coverage.Coverage(config_file=str(ROOT / "pyproject.toml"))
    try:
        total.combine()
        table = io.StringIO()
        total.report(file=table, skip_covered=True, show_missing=False)
    except coverage.CoverageException as error:
        reporter.write_line(f"coverage: {error}")
        return
    reporter.section("coverage")
    reporter.write(table.getvalue())
