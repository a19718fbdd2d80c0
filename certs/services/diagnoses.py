"""Running the checks of `certs/services/diagnosis/` side by side, each with an end to its time; reads, writes nothing.

A check that raises, or does not end in time, "could not be checked" and takes no other with it.
"""

import logging
import math
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from django.db import Error as DatabaseProblem
from django.db import InterfaceError, connections

from certs.domain.diagnosis import Line, Look, Situation, lines_sorted
from certs.domain.errors import BinderyError
from certs.domain.redaction import Redaction
from certs.domain.registry import declared
from certs.services.database import database_problem
from certs.services.nodes import node_name
from certs.services.redaction import redaction_read
from portal import home

log = logging.getLogger("bindery.diagnosis")
SECONDS = 20.0  # for everything
PACKAGE = "certs.services.diagnosis"
AT_ONCE = 12  # checks of one process: each may hold a connection to the database
_ROOM = threading.BoundedSemaphore(AT_ONCE)


def looks(topics: Collection[str] = ()) -> list[Look]:
    """All checks, or those of the topics named."""
    return [each for each in declared(PACKAGE, Look) if not topics or each.topic in topics]


def situation_read(seconds: float = SECONDS) -> Situation:
    """Asks whether the database can be used, so that no check waits for one that is away."""
    return Situation(node=node_name(), home=home.path(), seconds=seconds, database=database_problem())


def diagnosis_run(topics: Collection[str] = (), *, seconds: float = SECONDS) -> list[Line]:
    """The lines of all topics, or of those named, sorted; after at most about `seconds`. Network, no transaction."""
    until = time.monotonic() + seconds
    situation = situation_read(seconds)
    chosen = looks(topics)
    possible = [each for each in chosen if not (each.database and situation.database)]
    # What is quick first, so that it does not wait for room behind what waits for the network.
    work = [_Work(each, situation) for each in sorted(possible, key=lambda look: look.seconds)]
    for each in work:
        each.start()
    for each in work:
        each.end_by(until)
    lines = [line for each in work for line in each.lines()]
    if situation.database:
        lines += [each.could_not("not known without the database") for each in chosen if each.database]
    return lines_sorted(_clean(lines, redaction_read()))


@dataclass
class _Work:
    """One check in a thread, which is left to itself where it does not end: it must hold up neither page nor shell."""

    look: Look
    situation: Situation
    found: list[Line] = field(default_factory=list)
    reason: str = ""
    begun: float = math.inf  # on the monotonic clock

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"diagnosis-{self.look.code}", daemon=True)
        self._thread.start()

    def end_by(self, until: float) -> None:
        while self._thread.is_alive():
            left = min(until, self.begun + self.look.seconds) - time.monotonic()
            if left <= 0:
                return
            self._thread.join(min(left, 0.1) if math.isinf(self.begun) else left)

    def lines(self) -> list[Line]:
        if self._thread.is_alive():
            return [self.look.could_not(f"no end within {min(self.look.seconds, self.situation.seconds):g} seconds")]
        return [self.look.could_not(self.reason)] if self.reason else self.found

    def _run(self) -> None:
        with _ROOM:
            self.begun = time.monotonic()
            self._look()

    def _look(self) -> None:
        try:
            self.found = self.look(self.situation)
        except BinderyError as error:
            self.reason = error.message.rstrip(".")
        except (DatabaseProblem, InterfaceError) as error:
            self.reason = f"the database refuses ({_first_line(error)})"
        except OSError as error:
            self.reason = f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}"
        except Exception as error:  # a fault in one check must not keep the others from being told
            log.exception("The check %s failed", self.look.code)
            self.reason = f"the check itself failed ({type(error).__name__}: {_first_line(error)})"
        finally:
            connections.close_all()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _clean(lines: list[Line], redaction: Redaction) -> Iterator[Line]:
    for line in lines:
        yield replace(
            line,
            sentence=redaction.known(line.sentence),
            mend=redaction.known(line.mend),
            evidence=redaction.known(line.evidence),
        )
