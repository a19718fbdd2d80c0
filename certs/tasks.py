"""What the queue calls. Each takes ids at most, calls one service, and may run twice."""

from certs.services.https import hsts_advance
from certs.services.order_runner import orders_run
from certs.services.prune import prune_run
from certs.services.sweeps import sweep_run


def run_orders() -> int:
    return orders_run()


def tick() -> int:
    """Every few minutes: decide about the certificates whose time has come, and take HSTS a step further."""
    lines = sweep_run()
    hsts_advance()
    return len(lines)


def prune() -> str:
    return str(prune_run())
