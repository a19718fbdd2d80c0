"""What a look before an order found: advice with proof, never a block. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Level(StrEnum):
    """From the best to the worst. UNKNOWN: it could not be checked from here, which is neither good nor bad."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    ERROR = "error"


_ORDER = list(Level)
# Where several are as bad, the first is named first: what a CA would stumble on before it came to the others.
CODES = ("directory", "terms", "clock", "budget", "resolve", "ipv6", "ipv4", "reach", "port-443", "dns", "caa", "time")


@dataclass(frozen=True)
class Finding:
    """`name` is empty for what concerns the whole order; `proof` is what was seen and where; `record` is to be added
    to DNS, or taken away from it, verbatim. `elsewhere`: port 80 of the name leads to something else than the portal.
    """

    code: str
    level: Level
    name: str
    sentence: str
    proof: str = ""
    advice: str = ""
    record: str = ""
    elsewhere: bool = False


def findings_elsewhere(findings: Iterable[Finding]) -> list[str]:
    """The names whose port 80 leads elsewhere, in the order of the findings."""
    return list(dict.fromkeys(one.name for one in findings if one.elsewhere and one.level != Level.OK))


def findings_sorted(findings: Iterable[Finding], names: Sequence[str]) -> list[Finding]:
    """The worst first, then as a CA comes upon them, then in the order of the names."""
    places = {name: place for place, name in enumerate(names)}
    return sorted(findings, key=lambda one: (-_ORDER.index(one.level), CODES.index(one.code), places.get(one.name, -1)))


def worst_level(findings: Iterable[Finding]) -> Level:
    return max((one.level for one in findings), key=_ORDER.index, default=Level.OK)


# Address findings of one name.

OURS, OTHERS, NOBODY = "ours", "others", "nobody"


@dataclass(frozen=True)
class Seen:
    """What answered at one address of a name: OURS, OTHERS or NOBODY, and the proof in words."""

    address: str
    who: str
    words: str

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.address


def reach_judge(name: str, seen: Sequence[Seen], port: int, *, here: str) -> list[Finding]:
    """What the addresses of a name mean for a challenge on `port`.

    A CA asks an IPv6 address first where there is one, and goes over to IPv4 only when nothing answers there at all
    (Boulder's, as letsencrypt.org/docs/ipv6-support says). So an IPv6 address that is somebody else's is the worst.
    """
    findings = []
    for each in sorted(seen, key=lambda one: not one.is_ipv6):
        family = "IPv6" if each.is_ipv6 else "IPv4"
        code = family.lower()
        if each.who == OURS:
            sentence = f"Port {port} of {name} leads to this portal over {family}."
            findings.append(Finding(code, Level.OK, name, sentence, proof=each.words))
        elif each.who == OTHERS:
            findings.append(_others(name, each, port, code, alone=all(one.who != OURS for one in seen)))
        else:
            findings.append(_nobody(name, each, port, code, here))
    return [replace(one, elsewhere=port == 80 and one.level != Level.OK) for one in findings]


def _others(name: str, seen: Seen, port: int, code: str, *, alone: bool) -> Finding:
    kind = "AAAA" if seen.is_ipv6 else "A"
    sentence = f"{name} has the {kind} record {seen.address}, where something else than this portal answers."
    if not seen.is_ipv6 and not alone:
        advice = "A CA that prefers IPv6 does not notice; other CAs, and your visitors, do. Correct the record."
        return Finding(code, Level.WARNING, name, sentence, seen.words, advice)
    line = f"{name}. {kind} {seen.address}"
    advice = f"Correct the {kind} record, or let port {port} there lead to this portal."
    if seen.is_ipv6:
        advice = (
            "CAs ask IPv6 first and stop there. Remove or correct this AAAA record, "
            f"or let port {port} there lead here."
        )
    return Finding(code, Level.ERROR, name, sentence, seen.words, advice, record=line)


def _nobody(name: str, seen: Seen, port: int, code: str, here: str) -> Finding:
    kind = "AAAA" if seen.is_ipv6 else "A"
    return Finding(
        code,
        Level.UNKNOWN,
        name,
        f"Nothing answered on port {port} at {seen.address} ({kind} record of {name}), asked from {here}.",
        seen.words,
        f"If this server cannot reach its own public address (many routers do not allow it), this says nothing. "
        f"Else open port {port} in the firewall, or remove the record.",
    )
