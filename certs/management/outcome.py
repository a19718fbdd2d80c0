"""What became of each certificate, as lines, as JSON and as an exit code; shared by issue, renew and check."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from certs.domain import states
from certs.domain.renewal import Code
from certs.models import Order
from certs.services.sweeps import FAILED, SweepLine

RENEWED = "renewed"
NOT_SERVED = "not-served"
BUSY = "busy"
DUE = "due"  # of a dry run
# The worst outcome gives the exit code; what is not here leaves nothing undone.
EXIT_CODES = {FAILED: 4, Code.HELD_BACK.value: 4, Code.LAST_ONE.value: 4, NOT_SERVED: 3, BUSY: 5}
SOMETHING_RENEWED = 10
WORDS = {
    RENEWED: "renewed",
    NOT_SERVED: "renewed but not served",
    FAILED: "failed",
    BUSY: "busy",
    DUE: "due",
    Code.HELD_BACK.value: "held back",
    Code.LAST_ONE.value: "held back",
    Code.NOT_DUE.value: "not due",
    Code.MANUAL.value: "to be renewed by hand",
    Code.NOT_ISSUED.value: "never issued",
}
# Nobody renews these by itself, and they cannot wait.
_UNDONE = frozenset({Code.EXPIRED, Code.KEY_MISSING, Code.REVOKED})


@dataclass(frozen=True)
class Outcome:
    name: str
    names: tuple[str, ...]
    outcome: str  # a key of WORDS
    decision: str  # a renewal.Code, or "failed"
    why: str
    certificate: str = ""
    order: str = ""
    served: bool | None = None
    expires: datetime | None = None
    budgets: tuple[str, ...] = ()  # what the CA's rate limits leave

    @property
    def text(self) -> str:
        left = f" Limits: {'; '.join(self.budgets)}." if self.budgets else ""
        return f"{self.name}: {WORDS.get(self.outcome, self.outcome)}. {self.why}{left}"

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "names": list(self.names),
            "outcome": self.outcome,
            "decision": self.decision,
            "why": self.why,
            "certificate": self.certificate or None,
            "order": self.order or None,
            "served": self.served,
            "expires": self.expires.isoformat() if self.expires else None,
            "limits": list(self.budgets),
        }


def outcome_of(line: SweepLine, order: Order | None, *, dry_run: bool = False, budgets: Sequence[str] = ()) -> Outcome:
    """`order` as it stands after waiting; None where this command made none."""
    outcome, why = _judge(line, order, dry_run)
    version = order.version if order else None
    return Outcome(
        name=line.name,
        names=line.names,
        outcome=outcome,
        decision=str(line.code),
        why=why,
        certificate=str(line.certificate),
        order=str(line.order or ""),
        served=order.served if order else None,
        expires=version.not_after if version else line.not_after,
        budgets=tuple(budgets),
    )


def outcome_failed(names: Sequence[str], why: str) -> Outcome:
    """Of a certificate that was not even made."""
    return Outcome(names[0], tuple(names), FAILED, FAILED, why)


def exit_code(outcomes: Sequence[Outcome], *, tell_renewed: bool = False) -> int:
    found = {outcome.outcome for outcome in outcomes}
    worst = next((code for name, code in EXIT_CODES.items() if name in found), 0)
    if worst == 0 and tell_renewed and RENEWED in found:
        return SOMETHING_RENEWED
    return worst


def summary(outcomes: Sequence[Outcome]) -> str:
    """The last line: "None due." or "2 renewed, 5 not due."; "none due" and "renewed" mean that nothing is undone."""
    if all(outcome.outcome == Code.NOT_DUE for outcome in outcomes):
        return "None due."
    counts = Counter(outcome.outcome for outcome in outcomes)
    order = [name for name in WORDS if name in counts] + [name for name in counts if name not in WORDS]
    return ", ".join(f"{counts[name]} {WORDS.get(name, name)}" for name in order) + "."


def document(outcomes: Sequence[Outcome], code: int) -> dict[str, Any]:
    counts = Counter(outcome.outcome for outcome in outcomes)
    return {
        "result": _result(counts),
        "exit_code": code,
        "counts": dict(counts),
        "certificates": [outcome.as_json() for outcome in outcomes],
    }


def _result(counts: Counter[str]) -> str:
    for name in (*EXIT_CODES, RENEWED, DUE):
        if counts[name]:
            return name
    return "none due"


def _judge(line: SweepLine, order: Order | None, dry_run: bool) -> tuple[str, str]:
    if order is None and line.due and dry_run:
        return DUE, line.text
    if order is None and line.code == Code.LAST_ONE:
        return str(line.code), f"{line.text} Add --use-last to use it."
    if order is None:
        undone = line.code in _UNDONE
        return (FAILED if undone else str(line.code)), line.text
    if order.state == states.DONE:
        return _judge_done(line, order)
    if order.finished_at is not None:
        return FAILED, f"{order.error_message} {order.error_advice}".strip() or f"The order was {order.state}."
    told = f" {order.error_message}" if order.error_message else ""
    return BUSY, f"{line.text} The order is still {order.get_state_display()}; it goes on by itself.{told}"


def _judge_done(line: SweepLine, order: Order) -> tuple[str, str]:
    if order.served is True or not order.error_code:
        until = f" Valid until {order.version.not_after:%Y-%m-%d %H:%M} UTC." if order.version else ""
        return RENEWED, line.text + until
    # Bound, but not proven: what could not be checked is not green either.
    return NOT_SERVED, f"{order.error_message} {order.error_advice}".strip()
