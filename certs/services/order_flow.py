"""One order under way in this process: its row, its lease, its session with the CA, and the fenced save.

Every change of state goes through `Flow.move`, which writes only while the row is still in the state we read and still
leased to us. Whoever lost the lease stops at its next save, having changed nothing.
"""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.db import transaction

from certs.acme.client import AcmeClient, AuthorizationView, OrderView
from certs.acme.directories import directory_label
from certs.acme.problems import poll_delay
from certs.acme.sessions import session
from certs.domain import states
from certs.domain.errors import AcmeRetry
from certs.models import Challenge, Order
from certs.models.statements import row_update
from certs.services.account_changes import account_ready
from certs.services.accounts import account_session
from certs.services.challenges import challenges_clear
from certs.services.events import job_event
from certs.services.holds import directory_free, directory_still_free
from portal import clock

log = logging.getLogger("bindery.order")
T = TypeVar("T")

POLL_FIRST_SECONDS, POLL_LAST_SECONDS = 0.03, 5.0
POLL_DEADLINE_SECONDS = 30.0  # then the flow gives its place to another and comes back
STEP_OF_STATE = {state: step for step, _, under_way in states.ORDER_STEPS for state in under_way}
NO_ERROR: dict[str, Any] = {"error_code": "", "error_message": "", "error_advice": "", "problem": {}, "evidence": []}


class LeaseLost(Exception):
    """The row is no longer ours: another process took it over, or a person cancelled it."""


@dataclass
class Flow:
    """`view` and `authorizations` are what the CA said in this run, `answers` what was stored then; None after a
    resume: look again first.

    `order` may be a step ahead of its row, which is then in the state `_saved` and gets `_unsaved` with the next save.
    """

    order: Order
    owner: UUID
    view: OrderView | None = None
    authorizations: list[AuthorizationView] | None = None
    answers: list[Challenge] | None = None
    reregistered: bool = False
    looked_again: str = ""  # the state in which the order was looked at once more
    _saved: str = ""
    _unsaved: dict[str, Any] = field(default_factory=dict)
    _later: list[Callable[[], None]] = field(default_factory=list)
    _client: AcmeClient | None = None
    _open: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self._saved = self.order.state

    @property
    def ca(self) -> str:
        return directory_label(self.order.account.directory_url)

    @property
    def client(self) -> AcmeClient:
        url = self.order.account.directory_url
        if self._client is not None:
            directory_still_free(url)
        else:
            directory_free(url)
            account_ready(self.order.account, self.order)
            self._client = self._open.enter_context(session(account_session(self.order.account)))
        return self._client

    def client_return(self) -> None:
        """Give the session back, as soon as the CA is not needed any more."""
        self._client = None
        self._open.close()

    def client_drop(self) -> None:
        """Close the session: after an error nobody knows what is still on its way."""
        if self._client is not None:
            self._client.net.close()
            self._client = None
            self._open.pop_all()

    def move(
        self,
        after: str,
        message: str,
        *,
        level: str = "info",
        also: Callable[[], None] | None = None,
        at_once: bool = True,
        **fields: Any,
    ) -> None:
        """Save the step: state, fields, what `also` writes, and the event, in one transaction. Raises LeaseLost.

        Not `at_once`: with the next save, for a step whose repetition after a kill costs nothing.
        """
        before = self.order.state
        if after != before and not states.ORDER.allows(before, after):
            raise ValueError(f"an order does not go from {before} to {after}")
        now = clock.now()
        # Under the lease nobody else writes these, so what is empty here is empty there.
        reset = {name: empty for name, empty in NO_ERROR.items() if getattr(self.order, name) != empty}
        fields = {**reset, "attempts": 0, "next_attempt_at": now, **fields, "state": after, "updated_at": now}
        if states.ORDER.is_final(after):
            fields |= {"finished_at": now, "lease_owner": None, "lease_until": None}

        def beside() -> None:
            if also:
                also()
            if states.ORDER.is_final(after):
                challenges_clear(self.order.pk)
            job_event(self.order.pk, message, step=STEP_OF_STATE.get(before, before), level=level)

        if at_once:
            self._save(fields, beside)
        else:
            self._unsaved |= fields
            self.later(beside)
        for name, value in fields.items():
            setattr(self.order, name, value)

    def note(self, message: str, *, level: str = "info", **data: Any) -> None:
        while self._later:
            self._later.pop(0)()
        job_event(self.order.pk, message, step=STEP_OF_STATE.get(self.order.state, ""), level=level, **data)

    def release(self, **fields: Any) -> None:
        """Let go of the lease without a step; `fields` say when to come back and why."""
        self._save({**fields, "lease_owner": None, "lease_until": None})

    def keep(self, also: Callable[[], None] | None = None) -> None:
        """Write what `also` writes, without a step, while the order is still ours. Raises LeaseLost."""
        self._save({}, also)

    def later(self, write: Callable[[], None]) -> None:
        """To be written with the next save or note, without a transaction of its own: a kill before may lose it."""
        self._later.append(write)

    def _save(self, fields: dict[str, Any], also: Callable[[], None] | None = None) -> None:
        mine = {"pk": self.order.pk, "state": self._saved, "lease_owner": self.owner, "finished_at": None}
        changed = {**self._unsaved, "updated_at": clock.now(), **fields}
        with transaction.atomic():
            if not row_update(Order, mine, changed):
                raise LeaseLost
            for write in self._later:
                write()
            if also:
                also()
        self._saved = changed.get("state", self._saved)
        self._unsaved.clear()
        self._later.clear()

    def poll(
        self,
        read: Callable[[], T],
        settled: Callable[[T], bool],
        retry_at: Callable[[T], datetime | None],
        what: Callable[[T], str] | None = None,
        seconds: float | None = None,
    ) -> T:
        """Ask until it is settled: soon, then ever later, or as the CA's Retry-After says. `what` words the waiting;
        after `seconds` the flow gives its place to another.

        Raises AcmeRetry with code "acme-waiting" when it takes longer than a flow should hold its place.
        """
        deadline = time.monotonic() + (POLL_DEADLINE_SECONDS if seconds is None else seconds)
        own = POLL_FIRST_SECONDS
        while not settled(view := read()):
            now = clock.real()
            wait = poll_delay(retry_at(view), own, now)
            if time.monotonic() + wait > deadline:
                said = what(view) if what else f"{self.ca} is still at it."
                later = now + timedelta(seconds=wait) if retry_at(view) else None  # some CAs say a day for minutes
                raise AcmeRetry(said, code="acme-waiting", retry_at=later)
            time.sleep(wait)
            own = min(own * 2, POLL_LAST_SECONDS)
        return view
