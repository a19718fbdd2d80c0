"""The runner of orders: up to eight side by side."""

from certs.services.order_advance import order_advance
from certs.services.orders import RUNNER, leases_renew, orders_claim, orders_due
from certs.services.runner import CLAIM_SECONDS, Work, work_run

LANES = 8


def orders_run(*, lanes: int = LANES, claim_seconds: float = CLAIM_SECONDS) -> int:
    """Returns how many orders were taken on."""
    orders = Work("order", RUNNER, orders_due, orders_claim, order_advance, leases_renew)
    return work_run(orders, lanes=lanes, claim_seconds=claim_seconds)
