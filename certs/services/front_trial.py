"""The end of a trial of TLS in front: who came by what is tried may keep it."""

from django.conf import settings
from django.db import transaction

from certs.domain.errors import NotAllowed
from certs.domain.roles import Right
from certs.models import PortalState
from certs.services.access import Actor, needs
from certs.services.addresses import public_url
from certs.services.arrivals import Arrival, arrival_require
from certs.services.events import audit_record
from certs.services.front import front_on_trial, front_read
from certs.services.https import force_ssl_is_on
from certs.services.portal_state import state_get
from certs.services.public_url import public_url_change
from portal import clock


@needs(Right.SETTING)
def front_confirm(arrival: Arrival, *, through: bool, actor: Actor) -> None:
    """`through`: a listed proxy handed this very request on, and said how it came.

    What is switched on must be confirmed through the front, by HTTPS at the public URL; where that is not HTTPS yet,
    the address by which the person came becomes it. What is switched off needs that only where Force SSL or HSTS lead
    everybody there.
    Raises NotAllowed from elsewhere or when it is too late.
    """
    state = state_get()
    if not front_on_trial(state):
        raise NotAllowed(
            "There is nothing to confirm: the time was over and everything is as before, or it was kept already.",
            advice="Look under Configuration ➜ TLS in front.",
        )
    front = front_read(state)
    if front.on and not (through and arrival.secure):
        raise NotAllowed(
            "This request did not come by HTTPS through a proxy of the list, so nothing shows that it works.",
            advice="Open the portal by the front's address and confirm there.",
            code="arrival",
        )
    if front.on and not settings.PUBLIC_URL and not public_url().startswith("https://"):
        public_url_change(arrival.origin, actor=actor)
    if front.on or force_ssl_is_on(state) or state.hsts:
        arrival_require(arrival)
    with transaction.atomic():
        kept = PortalState.objects.filter(pk=1, front_confirm_by__gt=clock.now()).update(
            front_before=None, front_confirm_by=None
        )
        if kept:
            audit_record(actor, "front.confirm", after={"on": front.on, "proxies": front.shown})
