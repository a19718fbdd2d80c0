"""A runner: what one queue task does. It claims due flows and advances some of them side by side."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from certs.services.queue import queue_begun, queue_enqueue

log = logging.getLogger("bindery.runner")

CLAIM_SECONDS = 60.0
_LOOK_SECONDS = 0.5  # how often a runner with free lanes looks for more
_NOW = timedelta(0)
_SOON = timedelta(seconds=10)  # a flow that comes back so soon is waited for; later ones the supervisor requeues


@dataclass(frozen=True)
class Work:
    """A kind of flow. `task` is what the queue calls for it; `due` are those that nobody works on and somebody should,
    now or within that time; `claim` takes up to so many under a lease and gives their ids; `renew` keeps the leases."""

    name: str
    task: str
    due: Callable[[timedelta], QuerySet[Any]]
    claim: Callable[[int, UUID], list[UUID]]
    advance: Callable[[UUID, UUID], None]
    renew: Callable[[UUID], int]


def work_run(work: Work, *, lanes: int, claim_seconds: float = CLAIM_SECONDS) -> int:
    """Advance what is due; stop claiming after `claim_seconds`, then queue another runner if work is left.

    Returns how many flows were taken on. A flow that stalls holds its own lane only.
    """
    queue_begun(work.task)
    runner = _Runner(work, lanes)
    until = time.monotonic() + claim_seconds
    with runner.working():
        while time.monotonic() < until:
            runner.claim()
            if runner.busy:
                runner.await_one(_LOOK_SECONDS)
            elif work.due(_SOON).exists():
                time.sleep(_LOOK_SECONDS)
            else:
                break
    if work.due(_NOW).exists():
        queue_enqueue(work.task)
    return runner.taken


class _Runner:
    def __init__(self, work: Work, lanes: int) -> None:
        self._work = work
        self.owner: UUID = uuid4()
        self.taken = 0
        self.busy = 0
        self._lanes = lanes
        self._call_at = 0.0
        self._inbox: SimpleQueue[UUID | None] = SimpleQueue()
        self._done: SimpleQueue[UUID] = SimpleQueue()
        self._over = threading.Event()

    def claim(self) -> None:
        free = self._lanes - self.busy
        if not free:
            return
        claimed = self._work.claim(free, self.owner)
        for flow in claimed:
            self._inbox.put(flow)
        self.taken += len(claimed)
        self.busy += len(claimed)
        if len(claimed) == free and time.monotonic() >= self._call_at:
            self._call_at = time.monotonic() + _LOOK_SECONDS  # not after each flow: it costs a tenth of one
            if self._work.due(_NOW).exists():
                queue_enqueue(self._work.task)  # more than fits here: another worker may join

    def await_one(self, seconds: float | None = None) -> None:
        """Until a flow has come to its end, or for `seconds`; then take note of every one that has."""
        try:
            self._done.get(timeout=seconds)
            self.busy -= 1
            while True:
                self._done.get_nowait()
                self.busy -= 1
        except Empty:
            return

    @contextmanager
    def working(self) -> Iterator[None]:
        threads = [
            threading.Thread(target=self._lane, daemon=True, name=f"{self._work.name}-{n}") for n in range(self._lanes)
        ]
        heart = threading.Thread(target=self._beat, daemon=True, name=f"{self._work.name}-leases")
        for thread in (*threads, heart):
            thread.start()
        try:
            yield
            while self.busy:
                self.await_one()
        finally:
            for _ in threads:
                self._inbox.put(None)
            self._over.set()
            if not self.busy:
                for thread in (*threads, heart):
                    thread.join()

    def _lane(self) -> None:
        try:
            for flow in iter(self._inbox.get, None):
                try:
                    self._work.advance(flow, self.owner)
                except Exception:  # the outermost frame of a thread: the lease lapses, and the flow is taken up again
                    log.exception("The %s %s was left where it is", self._work.name, flow)
                finally:
                    self._done.put(flow)
        finally:
            connection.close()

    def _beat(self) -> None:
        try:
            while not self._over.wait(settings.LEASE_RENEW_SECONDS):
                try:
                    self._work.renew(self.owner)
                except Exception:  # the database may be away for a moment; the next beat comes before the leases lapse
                    log.exception("The leases could not be renewed")
        finally:
            connection.close()
