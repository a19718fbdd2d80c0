"""What the queue calls. Each takes ids at most, calls one service, and may run twice."""

import logging

from certs.services.https import hsts_advance
from certs.services.order_runner import orders_run
from certs.services.prune import prune_run
from certs.services.renewal_info import renewal_info_refresh
from certs.services.sweeps import sweep_run

log = logging.getLogger("bindery.tick")


def run_orders() -> int:
    return orders_run()


def tick() -> int:
    """Every few minutes: hear the CAs, decide about the certificates whose time has come, take HSTS a step further."""
    try:
        renewal_info_refresh()
    except Exception:  # whatever it meets, renewal goes on by the dates
        log.exception("What the CAs suggest could not be asked")
    lines = sweep_run()
    hsts_advance()
    return len(lines)


def prune() -> str:
    return str(prune_run())
