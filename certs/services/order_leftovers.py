"""What an order that ended leaves at its CA: pending authorizations, which count against the CA's limits until they
lapse. The worker gives them up afterwards; an order that ended waits for nobody.

`Order.order_url` of such an order stays until that is done, and `attempts` and `next_attempt_at` count the tries.
"""

import logging
import time
from datetime import timedelta
from uuid import UUID

from django.db.models import Q

from certs.acme.client import AcmeClient
from certs.domain import states
from certs.domain.errors import AcmeRefused, BinderyError
from certs.models import Order
from certs.services.accounts import account_client, account_session
from certs.services.asking import asking_held
from certs.services.events import job_event
from portal import clock

log = logging.getLogger("bindery.order")
LAPSE = timedelta(days=7)  # for as long a CA keeps what is pending (Let's Encrypt; others are shorter)
_WAITS = tuple(timedelta(minutes=minutes) for minutes in (5, 15, 60, 360))
SECONDS = 60.0  # for all of them; what is begun comes to its end


def leftovers_give_up() -> int:
    """Returns for how many orders nothing is left. Network; what failed is tried again ever later, until it lapses."""
    if asking_held():
        return 0
    now = clock.now()
    # Failed with its key: it may have been issued, so nothing is pending.
    ended = Q(state=states.CANCELLED) | Q(state=states.FAILED, key=None)
    due = Order.objects.filter(ended, finished_at__gt=now - LAPSE, next_attempt_at__lte=now).exclude(order_url="")
    until = time.monotonic() + SECONDS
    rows = due.select_related("account").order_by("next_attempt_at")
    return sum(_give_up(order) for order in rows if time.monotonic() < until)


def leftover_keep(order_id: UUID, order_url: str) -> None:
    """The order was cancelled while the CA made this one of it."""
    Order.objects.filter(pk=order_id, state=states.CANCELLED, order_url="").update(order_url=order_url)


def _give_up(order: Order) -> bool:
    # Counted before the work: one that kills its process must not be met at once again, nor by two.
    mine = Order.objects.filter(pk=order.pk, order_url=order.order_url, next_attempt_at=order.next_attempt_at)
    wait = _WAITS[min(order.attempts, len(_WAITS) - 1)]
    if not mine.update(next_attempt_at=clock.now() + wait, attempts=order.attempts + 1):
        return False
    try:
        given_up = _ask(order)
    except AcmeRefused as error:  # it has neither the order nor its authorizations any more
        log.info("%s: nothing to give up: %s", order, error)
        given_up = []
    except BinderyError as error:
        log.warning("%s: what it left at the CA could not be given up: %s", order, error)
        return False
    if given_up:
        said = f"Gave up the pending authorizations of {', '.join(given_up)} ({order.order_url})."
        job_event(order.pk, said, step="order")
    Order.objects.filter(pk=order.pk).update(order_url="")
    return True


def _ask(order: Order) -> list[str]:
    """The names whose authorizations were given up; what an open order at the account may be proving is left."""
    if order.account.deactivated_at is not None or not order.account.account_url:
        return []
    with account_client(account_session(order.account)) as client:
        urls = client.order_read(order.order_url).authorizations
        return [name for url in urls if (name := _deactivate(client, url, order))]


def _deactivate(client: AcmeClient, url: str, order: Order) -> str:
    authorization = client.authorization_read(url)
    if authorization.status != "pending" or _is_needed(authorization.name, order):
        return ""
    try:
        client.authorization_deactivate(url)
    except AcmeRefused as error:  # it was judged at this very moment
        log.info("%s stays as it is: %s", url, error)
        return ""
    return authorization.name


def _is_needed(name: str, order: Order) -> bool:
    """Asked at the last moment: whoever cancels an order often asks for the next at once."""
    others = Order.objects.filter(account=order.account_id, finished_at=None).values_list("names", flat=True)
    return any(name in {each.removeprefix("*.") for each in names} for names in others)
