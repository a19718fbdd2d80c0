"""Hot swap: a thread in each serving process follows the generation in the database.

It builds and proves the new contexts off to the side and then swaps one reference: no signal, no restart, no dropped
connection. On any error the process keeps what it serves, stays at the old generation, says why in its row and raises
an alarm in the log; it tries again, more and more slowly. Only a process that serves nothing yet takes what it can get.
"""

import logging
import os
import ssl
import threading
import time
from datetime import datetime

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from certs.domain.errors import BinderyError
from certs.services import serving
from certs.services.on_demand import on_demand_hosts
from certs.services.portal_state import generation_wanted
from portal import clock
from portal.server.contexts import Contexts, context_make, contexts_build
from portal.server.demand import Demand

log = logging.getLogger("bindery.swap")

REPORT_SECONDS = 4.0  # how often an unchanged process says that it lives; below serving.LIVE_SECONDS
LONGEST_DELAY = 30.0
FIRST_LOAD_SECONDS = 10.0
_DATABASE_AWAY = (DatabaseError, InterfaceError)


class Follower:
    """`context` is what new TLS connections begin with; None while nothing could be loaded."""

    def __init__(self) -> None:
        self._contexts: Contexts | None = None
        self.demand = Demand()
        # Made by `start`: this object is made before the fork, and Python 3.13 starts no thread of a parent.
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._first = threading.Event()  # the first attempt is over, well or not
        self._error = ""
        self._partial = False
        self._changes_at: datetime | None = None  # what is served ends then, at the same generation
        self._failed_generation: int | None = None
        self._delay = 0.0
        self._retry_at = 0.0
        self._report_at = 0.0
        self._reported: tuple[int, str] | None = None
        self._started_at = clock.real()
        self._database_away = False

    @property
    def context(self) -> ssl.SSLContext | None:
        contexts = self._contexts
        return contexts.entry if contexts else None

    @property
    def generation(self) -> int:
        """The one that is served whole; 0 where bindings had to be left out."""
        return self._contexts.generation if self._contexts and not self._partial else 0

    def start(self) -> None:
        """Returns when the first load has succeeded or failed: TLS must not be accepted with nothing to show."""
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()
        self._first.wait(FIRST_LOAD_SECONDS)

    def stop(self) -> None:
        self._stop.set()
        if self._thread and self._thread.is_alive():
            self._thread.join(timeout=3)

    def _run(self) -> None:
        try:
            while True:
                self._step_guarded()
                self._first.set()
                if self._stop.wait(settings.GENERATION_POLL_SECONDS):
                    break
        finally:
            self._leave()

    def _step_guarded(self) -> None:
        try:
            self.step()
        except _DATABASE_AWAY as error:
            if not self._database_away:
                log.error("The database cannot be reached; what is served stays as it is: %s", error)
            self._database_away = True
            connection.close()
        except Exception:  # the thread must outlive whatever goes wrong in one round; it is logged whole
            log.exception("Following the generation failed; what is served stays as it is.")
            connection.close()
        else:
            if self._database_away:
                log.info("The database is back.")
            self._database_away = False

    def step(self) -> None:
        """One look: load where something newer is wanted and a retry is due, then report. Raises DatabaseError."""
        wanted = generation_wanted()
        if wanted != self._failed_generation:
            self._delay = self._retry_at = 0.0
        lapsed = self._changes_at is not None and clock.now() >= self._changes_at
        if (wanted != self.generation or lapsed) and time.monotonic() >= self._retry_at:
            self._load(wanted)
        self._report()

    def _load(self, wanted: int) -> None:
        first = self._contexts is None or self._partial
        self.demand.follow(on_demand_hosts())
        try:
            material = serving.serving_material(partial=first, check=context_make if first else None)
            contexts = contexts_build(material)
            contexts.on_unknown = self.demand.notice
        except BinderyError as error:
            self._fail(wanted, str(error))
            return
        # A generation that lags behind what was read is caught up with in the next round.
        self._contexts, self._partial = contexts, bool(material.problems)
        self._changes_at = material.changes_at
        if material.problems:
            self._fail(wanted, " ".join(material.problems.values()))
            return
        if self._error:
            log.info("Generation %d is served after all.", contexts.generation)
        log.info("Serving generation %d with %d certificate bindings.", contexts.generation, len(material.pairs))
        self._error, self._failed_generation = "", None

    def _fail(self, wanted: int, why: str) -> None:
        if why != self._error:
            log.error("ALARM: generation %d cannot be served by process %d: %s", wanted, os.getpid(), why)
        self._error, self._failed_generation = why, wanted
        self._delay = min(LONGEST_DELAY, self._delay * 2 or settings.GENERATION_POLL_SECONDS)
        self._retry_at = time.monotonic() + self._delay

    def _report(self) -> None:
        """At once when something changed, otherwise now and then: each report is a write."""
        now = time.monotonic()
        current = (self.generation, self._error)
        if current == self._reported and now < self._report_at:
            return
        self._report_at = now + REPORT_SECONDS
        if current == self._reported and serving.process_seen(os.getpid()):
            return
        serving.process_report(
            os.getpid(),
            generation=self.generation,
            fingerprints=self._contexts.fingerprints if self._contexts else {},
            error=self._error,
            started_at=self._started_at,
        )
        self._reported = current

    def _leave(self) -> None:
        try:
            serving.process_gone(os.getpid())
        except _DATABASE_AWAY as error:
            log.debug("The row of this process stays until it is pruned: %s", error)
        finally:
            connection.close()
