"""What an order left unserved is looked at again, until a handshake shows it."""

import random
from uuid import UUID

from certs.domain import states
from certs.models import Order
from certs.services.events import job_event
from certs.services.order_flow import NO_ERROR
from certs.services.served import served_now

_AT_ONCE = 5  # a silent listener costs five seconds each
_dice = random.SystemRandom()


def orders_not_served() -> dict[UUID, Order]:
    """Certificate → the order that brought its current version, where that is known not to be served."""
    rows = Order.objects.filter(served=False, state=states.DONE, version__current_of__isnull=False)
    found = rows.filter(certificate__deleted_at=None).select_related("certificate__current", "account")
    return {
        order.certificate_id: order for order in found.defer("csr_pem", "account__ca_bundle").order_by("created_at")
    }


def orders_prove_again() -> int:
    """Returns how many of them are served by now. Network; of many, others each time: the first may never be served."""
    unserved = list(orders_not_served().values())
    return sum(_prove(order) for order in _dice.sample(unserved, min(_AT_ONCE, len(unserved))))


def _prove(order: Order) -> bool:
    result = served_now(order.certificate)
    if not result.ok:
        return False
    if not Order.objects.filter(pk=order.pk, served=False).update(served=True, **NO_ERROR):
        return False
    job_event(order.pk, f"It is served by now: {result.detail}", step="check")
    return True
