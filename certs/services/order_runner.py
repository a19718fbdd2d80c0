"""A runner: what one queue task does. It claims due orders and advances up to eight side by side."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from queue import Empty, SimpleQueue
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection

from certs.services.order_advance import order_advance
from certs.services.orders import RUNNER, leases_renew, orders_claim, orders_due
from certs.services.queue import queue_begun, queue_enqueue

log = logging.getLogger("bindery.runner")

LANES = 8
CLAIM_SECONDS = 60.0
_LOOK_SECONDS = 0.5  # how often a runner with free lanes looks for more
_SOON = timedelta(seconds=10)  # a flow that comes back so soon is waited for; later ones the supervisor requeues


def orders_run(*, lanes: int = LANES, claim_seconds: float = CLAIM_SECONDS) -> int:
    """Advance due orders; stop claiming after `claim_seconds`, then queue another runner if work is left.

    Returns how many flows were taken on. A flow that stalls holds its own lane only.
    """
    queue_begun(RUNNER)
    runner = _Runner(lanes)
    until = time.monotonic() + claim_seconds
    with runner.working():
        while time.monotonic() < until:
            runner.claim()
            if runner.busy:
                runner.await_one(_LOOK_SECONDS)
            elif orders_due(within=_SOON).exists():
                time.sleep(_LOOK_SECONDS)
            else:
                break
    if orders_due().exists():
        queue_enqueue(RUNNER)
    return runner.taken


class _Runner:
    def __init__(self, lanes: int) -> None:
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
        claimed = orders_claim(free, self.owner)
        for order_id in claimed:
            self._inbox.put(order_id)
        self.taken += len(claimed)
        self.busy += len(claimed)
        if len(claimed) == free and time.monotonic() >= self._call_at:
            self._call_at = time.monotonic() + _LOOK_SECONDS  # not after each flow: it costs a tenth of one
            if orders_due().exists():
                queue_enqueue(RUNNER)  # more than fits here: another worker may join

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
        threads = [threading.Thread(target=self._lane, daemon=True, name=f"order-{n}") for n in range(self._lanes)]
        heart = threading.Thread(target=self._beat, daemon=True, name="order-leases")
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
            for order_id in iter(self._inbox.get, None):
                try:
                    order_advance(order_id, self.owner)
                except Exception:  # the outermost frame of a thread: the lease lapses, and the order is taken up again
                    log.exception("Order %s was left where it is", order_id)
                finally:
                    self._done.put(order_id)
        finally:
            connection.close()

    def _beat(self) -> None:
        try:
            while not self._over.wait(settings.LEASE_RENEW_SECONDS):
                try:
                    leases_renew(self.owner)
                except Exception:  # the database may be away for a moment; the next beat comes before the leases lapse
                    log.exception("The leases could not be renewed")
        finally:
            connection.close()
