"""What a look before an order found, as the command line tells it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from certs.domain.preflight import Finding, Level, worst_level
from certs.management.base import FAILED

_WORDS = {Level.OK: "ok", Level.UNKNOWN: "could not check", Level.WARNING: "warning", Level.ERROR: "would fail"}


def findings_report(
    looks: Sequence[tuple[list[str], list[Finding]]], write: Callable[[str], object], *, as_json: bool
) -> int:
    """Prints what was found for each set of names, and returns the exit code: 4 where something would fail, else 0."""
    worst = worst_level(one for _, findings in looks for one in findings)
    code = FAILED if worst == Level.ERROR else 0
    if as_json:
        checks = [
            {"names": names, "level": worst_level(findings), "findings": [asdict(one) for one in findings]}
            for names, findings in looks
        ]
        write(json.dumps({"result": worst, "exit_code": code, "checks": checks}, indent=2))
        return code
    for names, findings in looks:
        for one in findings:
            write(_text(one))
        write(f"{', '.join(names)}: {_summary(findings)}")
    return code


def _text(one: Finding) -> str:
    lines = [f"{_WORDS[one.level]}: {one.sentence}"]
    if one.level != Level.OK:
        lines += [f"    seen: {one.proof}"] if one.proof else []
        lines += [f"    {one.advice}"] if one.advice else []
        lines += [f"    {one.record}"] if one.record else []
    return "\n".join(lines)


def _summary(findings: Sequence[Finding]) -> str:
    counts = [(level, sum(one.level == level for one in findings)) for level in reversed(Level)]
    told = ", ".join(f"{count} {_WORDS[level]}" for level, count in counts if count)
    return f"{told}. Nothing was ordered."
