"""States and allowed moves of every flow, and who acts next. Changes are compare-and-swap in the services."""

from dataclasses import dataclass
from enum import StrEnum


class Actor(StrEnum):
    WORKER = "the worker"
    CA = "the CA"
    SUPERVISOR = "the supervisor"
    PERSON = "a person"
    NOBODY = "nobody"


@dataclass(frozen=True)
class State:
    label: str
    actor: Actor
    after: tuple[str, ...] = ()  # states that may follow

    @property
    def final(self) -> bool:
        return not self.after


@dataclass(frozen=True)
class Machine:
    states: dict[str, State]

    def choices(self) -> list[tuple[str, str]]:
        return [(name, state.label) for name, state in self.states.items()]

    def allows(self, before: str, after: str) -> bool:
        return after in self.states[before].after

    def is_final(self, name: str) -> bool:
        return self.states[name].final

    @property
    def open(self) -> tuple[str, ...]:
        return tuple(name for name, state in self.states.items() if not state.final)


NEW = "new"
REGISTERED = "registered"
ORDERED = "ordered"
CHALLENGED = "challenged"
READY = "ready"
FINALIZED = "finalized"
ISSUED = "issued"
BOUND = "bound"
DONE = "done"
FAILED = "failed"
CANCELLED = "cancelled"

_ENDS = (FAILED, CANCELLED)

ORDER = Machine(
    {
        # Back to NEW from any state before the issuing: the next of the fallback issuers takes its turn.
        NEW: State("waiting to start", Actor.WORKER, (REGISTERED, *_ENDS)),
        REGISTERED: State("account ready", Actor.WORKER, (ORDERED, NEW, *_ENDS)),
        # An order at the CA may be ready at once (authorizations reused) or already done (a lost answer).
        ORDERED: State("ordered", Actor.WORKER, (CHALLENGED, READY, FINALIZED, REGISTERED, NEW, *_ENDS)),
        CHALLENGED: State("being validated", Actor.CA, (READY, FINALIZED, REGISTERED, NEW, *_ENDS)),
        READY: State("validated", Actor.WORKER, (FINALIZED, REGISTERED, NEW, *_ENDS)),
        FINALIZED: State("being issued", Actor.CA, (ISSUED, DONE, REGISTERED, NEW, *_ENDS)),
        # From here on the certificate is ours; a trouble with binding never loses it.
        ISSUED: State("issued", Actor.WORKER, (BOUND, DONE)),
        BOUND: State("bound", Actor.WORKER, (DONE,)),
        DONE: State("done", Actor.NOBODY),
        FAILED: State("failed", Actor.NOBODY),
        CANCELLED: State("cancelled", Actor.NOBODY),
    }
)

# The steps a person sees, in order, with the states in which each is under way.
ORDER_STEPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("account", "Account", (NEW,)),
    ("order", "Order", (REGISTERED,)),
    ("challenge", "Challenge", (ORDERED,)),
    ("validation", "Validation", (CHALLENGED,)),
    ("certificate", "Certificate", (READY, FINALIZED)),
    ("binding", "Binding", (ISSUED,)),
    ("check", "Check", (BOUND,)),
)

WISHED = "wished"
OPENING = "opening"
AWAITING = "awaiting"
CONFIRMED = "confirmed"
SETTLED = "settled"
RETURNED = "returned"
REFUSED = "refused"

REBIND = Machine(
    {
        WISHED: State("asked for", Actor.SUPERVISOR, (OPENING, REFUSED)),
        OPENING: State("opening the address", Actor.SUPERVISOR, (AWAITING, REFUSED)),
        AWAITING: State("waiting for confirmation", Actor.PERSON, (CONFIRMED, RETURNED)),
        # The person has confirmed; the supervisor still has to end the old arbiter.
        CONFIRMED: State("confirmed", Actor.SUPERVISOR, (SETTLED,)),
        SETTLED: State("done", Actor.NOBODY),
        RETURNED: State("went back to the old address", Actor.NOBODY),
        REFUSED: State("refused", Actor.NOBODY),
    }
)


PLANNED = "planned"
CHECKING = "checking"
STAGING = "staging"
SWITCHING = "switching"
ACTIVATING = "activating"
PROVING = "proving"
RESTORING = "restoring"
INSTALLED = "installed"
RESTORED = "restored"
STRANDED = "stranded"

# A state names the step that is next or under way, so that whoever comes after a killed process repeats it.
INSTALLATION = Machine(
    {
        PLANNED: State("waiting to start", Actor.WORKER, (CHECKING, *_ENDS)),
        CHECKING: State("being checked", Actor.WORKER, (STAGING, *_ENDS)),
        STAGING: State("being sent", Actor.WORKER, (SWITCHING, *_ENDS)),
        # From here on the machine may hold the new one: it is proven, or the old one is put back.
        SWITCHING: State("being put in place", Actor.WORKER, (ACTIVATING, RESTORING)),
        ACTIVATING: State("being read by the server", Actor.WORKER, (PROVING, RESTORING)),
        PROVING: State("being proven", Actor.WORKER, (INSTALLED, RESTORING)),
        RESTORING: State("being put back", Actor.WORKER, (RESTORED, STRANDED)),
        INSTALLED: State("installed and served", Actor.NOBODY),
        RESTORED: State("failed, the old one is served", Actor.NOBODY),
        # The one end that somebody has to look at: neither the new nor the old is proven.
        STRANDED: State("failed, and could not be put back", Actor.PERSON),
        FAILED: State("failed, nothing was changed", Actor.NOBODY),
        CANCELLED: State("cancelled", Actor.NOBODY),
    }
)
