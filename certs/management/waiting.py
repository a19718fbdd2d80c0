"""Waiting for orders from the shell: through the real queue, or in this process with --inline."""

import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import connection
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from certs.domain import states
from certs.domain.errors import Unavailable
from certs.models import Order
from certs.services.queue import worker_alive
from certs.tasks import run_orders

TIMEOUT = 600.0
_POLL_SECONDS = 0.3
_EACH = 12  # up to so many orders have a bar of their own
_STEP = {state: number for number, (_, _, during) in enumerate(states.ORDER_STEPS) for state in during}


def worker_required(inline: bool) -> None:
    """Raises Unavailable at once, rather than wait for a queue that nobody works on."""
    if not inline and not worker_alive():
        raise Unavailable(
            "No worker is running, so nothing would be done.",
            advice="Start the portal with `manage.py up`, or do it in this process with --inline.",
            code="no-worker",
        )


def orders_await(ids: Collection[UUID], *, timeout: float, inline: bool) -> dict[UUID, Order]:
    """Wait until all are finished, or for `timeout` seconds; returns them as they then stand."""
    deadline = time.monotonic() + timeout
    with _worked_on(inline and bool(ids)), _display(len(ids)) as display:
        while True:
            rows = {row.pk: row for row in Order.objects.filter(pk__in=ids).select_related("version")}
            display.show(list(rows.values()))
            if time.monotonic() >= deadline or all(row.finished_at for row in rows.values()):
                return rows
            time.sleep(_POLL_SECONDS)


@contextmanager
def _worked_on(inline: bool) -> Iterator[None]:
    if not inline:
        yield
        return
    over = threading.Event()

    def work() -> None:
        try:
            while not over.is_set():
                run_orders()
                over.wait(_POLL_SECONDS)
        finally:
            connection.close()

    # A daemon: at the time limit the command ends, and the lease lets another worker go on.
    thread = threading.Thread(target=work, name="inline-orders", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=5)


class _Display:
    """Nothing where nobody watches."""

    def show(self, orders: list[Order]) -> None:
        return


class _Bars(_Display):
    """A bar per order with the step it is in; one bar for all where they are many."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._rows: dict[UUID, TaskID] = {}
        self._all = progress.add_task("certificates", total=total) if total > _EACH else None

    def show(self, orders: list[Order]) -> None:
        if self._all is not None:
            self._progress.update(self._all, completed=sum(order.finished_at is not None for order in orders))
            return
        for order in orders:
            row = self._rows.get(order.pk)
            if row is None:
                row = self._rows[order.pk] = self._progress.add_task("", total=len(states.ORDER_STEPS))
            done = len(states.ORDER_STEPS) if order.state == states.DONE else _STEP.get(order.state, 0)
            self._progress.update(row, completed=done, description=f"{order.names[0]}: {order.get_state_display()}")


@contextmanager
def _display(total: int) -> Iterator[_Display]:
    """On standard error, so that standard output holds the lines alone."""
    if not total or not sys.stderr.isatty():
        yield _Display()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bars(progress, total)
