"""What a look before an order found, as the command line tells it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from certs.domain.preflight import Finding, Level, worst_level
from certs.domain.recipes import Recipe
from certs.management.base import FAILED
from certs.services.elsewhere import Where

_WORDS = {Level.OK: "ok", Level.UNKNOWN: "could not check", Level.WARNING: "warning", Level.ERROR: "would fail"}
_PROVEN = ("ipv4", "ipv6")  # by which way the portal was reached is worth a line where all is well, too


def findings_report(
    looks: Sequence[tuple[list[str], list[Finding]]],
    write: Callable[[str], object],
    *,
    as_json: bool,
    wheres: Sequence[Where] = (),
) -> int:
    """Prints what was found for each set of names, and `wheres` of those that lead elsewhere.

    Returns the exit code: 4 where something would fail, else 0.
    """
    worst = worst_level(one for _, findings in looks for one in findings)
    code = FAILED if worst == Level.ERROR else 0
    if as_json:
        checks = [
            {"names": names, "level": worst_level(findings), "findings": [asdict(one) for one in findings]}
            for names, findings in looks
        ]
        led = [_where_document(one) for one in wheres]
        write(json.dumps({"result": worst, "exit_code": code, "checks": checks, "elsewhere": led}, indent=2))
        return code
    for names, findings in looks:
        for one in findings:
            write(_text(one))
        for where in wheres:
            if where.name in names:
                write(where_text(where))
        write(f"{', '.join(names)}: {_summary(findings)}")
    return code


def _text(one: Finding) -> str:
    lines = [f"{_WORDS[one.level]}: {one.sentence}"]
    if one.proof and (one.level != Level.OK or one.code in _PROVEN):
        lines.append(f"    seen: {one.proof}")
    if one.level != Level.OK:
        lines += [f"    {one.advice}"] if one.advice else []
        lines += [f"    {one.record}"] if one.record else []
    return "\n".join(lines)


def _summary(findings: Sequence[Finding]) -> str:
    counts = [(level, sum(one.level == level for one in findings)) for level in reversed(Level)]
    told = ", ".join(f"{count} {_WORDS[level]}" for level, count in counts if count)
    return f"{told}. Nothing was ordered."


def where_text(where: Where) -> str:
    """Where a name leads, hop by hop, and the lines for the server that is there: all of them where it is unknown."""
    lines = [f"{where.sentence} Seen from {where.vantage}:"]
    for place in where.places:
        lines.append(f"    {place.address} ({place.whose}): {place.reach.detail}")
        for hop in place.reach.hops:
            told = ", ".join(word for word in (f"status {hop.status}", hop.server) if word)
            lines.append(f"        {hop.url}: {told}{f', sent on to {hop.location}' if hop.location else ''}")
    if where.redirects:
        lines.append(f"To send the CA on from there to {where.target.base}:")
        lines += [f"    ({where.target.trouble} {where.target.advice})"] if where.target.trouble else []
        lines += _recipes(where, where.redirects)
    if where.proxies:
        reached = where.upstream if where.redirects else where.own_upstream
        lines.append(f"{'Or' if where.redirects else 'To'} let that server ask the portal, at {reached}:")
        lines += [f"    (By this line under ports: it is led into the container: {where.publish})"] * bool(
            where.publish
        )
        lines += _recipes(where, where.proxies)
    lines += ["Then run this check again: it is the proof."] if where.proxies else []
    return "\n".join(lines)


def _recipes(where: Where, recipes: Sequence[Recipe]) -> list[str]:
    lines = []
    for recipe in recipes:
        if where.server in ("", recipe.server.key):
            lines.append(f"    {recipe.server.label}: {recipe.place}")
            lines += [f"        {line}" for line in recipe.text.splitlines()]
            lines += [f"        {recipe.server.reload}"] if recipe.server.reload else []
    return lines


def _where_document(where: Where) -> dict[str, object]:
    return {
        "name": where.name,
        "level": where.level,
        "sentence": where.sentence,
        "target": asdict(where.target),
        "places": [asdict(place) for place in where.places],
        "redirects": [asdict(recipe) for recipe in where.redirects],
        "proxies": [asdict(recipe) for recipe in where.proxies],
    }
