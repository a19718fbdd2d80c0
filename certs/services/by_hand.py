"""What a person has to put in place for an order, and what is seen of it just now.

However many tabs are open, one look at a time is taken for an order, and none until the last is a few seconds old.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from django.core.cache import cache
from django.db import transaction

from certs.domain import states
from certs.domain.errors import BinderyError, ConflictError
from certs.domain.roles import Right
from certs.models import Challenge, Order
from certs.services.access import Actor, needs
from certs.services.challenges import challenge_task, solver_kinds, solver_make
from certs.services.events import audit_record, job_event
from certs.services.order_advance import LONGEST_LIFE_BY_HAND
from certs.services.order_answers import TOLD
from certs.solvers.base import Instruction, Solver, Task

_AT_ONCE = 8
_FRESH = 4  # seconds; a tab asks every five
_KEPT = 60  # seconds: what a tab is told while another one looks
_LONGEST_LOOK = 15  # seconds; after a kill in the middle of it the next one looks


@dataclass(frozen=True)
class ByHand:
    """`until`: when the order is given up; `looking`: a first look is under way, so that nothing is known yet."""

    records: tuple[Instruction, ...]
    until: datetime
    looking: bool = False

    @property
    def left(self) -> int:
        return sum(not record.done for record in self.records)

    @property
    def is_blind(self) -> bool:
        """Whether nothing that is left could ever be seen from here, so that only a person can say that it is done."""
        left = [record for record in self.records if not record.done]
        return bool(left) and all(record.blind for record in left)

    @property
    def is_hearsay(self) -> bool:
        """Whether something is known from a resolver only."""
        return any(record.done and record.blind for record in self.records)


def by_hand_awaited(order: Order) -> bool:
    """Whether the order waits for a person. Asks nobody."""
    kind = solver_kinds().get(order.challenge_kind)
    waits = kind is not None and kind.by_hand and order.state == states.ORDERED and order.finished_at is None
    return waits and order.challenges.filter(clean_at=None).exists()


@needs(Right.CERTIFICATE_CHANGE)
def by_hand_go_on(order: Order, *, actor: Actor) -> None:
    """A person says that all records are in place, where the portal cannot see any. Raises ConflictError."""
    if not by_hand_awaited(order):
        raise ConflictError("This order does not wait for records any more.", advice="See its page under Activity.")
    with transaction.atomic():
        job_event(order.pk, f"{actor} says that the records are in place.", **TOLD)
        audit_record(actor, "order.records", ", ".join(order.names))


def by_hand_look(order: Order) -> ByHand:
    """The records of all its names, as they were seen a few seconds ago at most, or while somebody else looks, at the
    look before. Network, 8 s or so for all together."""
    until = order.created_at + LONGEST_LIFE_BY_HAND
    if not by_hand_awaited(order):
        return ByHand((), until)
    fresh, kept, asking = (f"by-hand-{what}.{order.pk}" for what in ("fresh", "kept", "asking"))
    if not cache.get(fresh) and cache.add(asking, True, _LONGEST_LOOK):
        try:
            records = _look(order)
            cache.set(kept, records, _KEPT)
            cache.set(fresh, True, _FRESH)
        finally:
            cache.delete(asking)
    records = cache.get(kept)
    return ByHand((), until, looking=True) if records is None else ByHand(records, until)


def _look(order: Order) -> tuple[Instruction, ...]:
    rows = order.challenges.filter(clean_at=None).select_related("method", "order__account").order_by("name", "token")
    jobs = list(_jobs(rows))
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="by-hand") as pool:
        found = pool.map(lambda job: job[0].instructions(job[1]), jobs)
        return tuple(dict.fromkeys(record for records in found for record in records))


def _jobs(rows: Iterable[Challenge]) -> Iterable[tuple[Solver, Task]]:
    """Made here: the threads that ask have no database."""
    for row in rows:
        try:
            yield solver_make(row.kind, row.method), challenge_task(row)
        except BinderyError:
            continue  # the order itself fails with it, and says so
