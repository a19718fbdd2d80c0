"""What the configuration pages share: how this request came in, and where a rebind would lead this browser."""

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest

from certs.domain import states
from certs.domain.addresses import address_covers, address_is_any
from certs.domain.forwarded import HANDED_ON, HandedOn
from certs.domain.names import is_address
from certs.models import Rebind
from certs.services.addresses import host_is_accepted, host_normalize, public_url, url_make
from certs.services.arrivals import Arrival
from certs.services.nodes import node_name
from certs.services.rebinds import rebind_open


def arrival_of(request: HttpRequest) -> Arrival:
    return Arrival(request.is_secure(), request.get_host())


def handed_on(request: HttpRequest) -> HandedOn | None:
    """By which listed proxy it came; None for what came directly (`portal/forwarded.py`)."""
    found = request.META.get(HANDED_ON)
    return found if isinstance(found, HandedOn) else None


def is_direct(request: HttpRequest) -> bool:
    """By HTTPS to our own listener: what a front says is believed elsewhere, but shows nothing of this connection."""
    return request.is_secure() and handed_on(request) is None


def public_url_offer(request: HttpRequest) -> str:
    """The address this browser just used, where it is HTTPS by a name and not yet the public URL; else empty."""
    origin = arrival_of(request).origin
    host = urlsplit(origin).hostname or ""
    if settings.PUBLIC_URL or not request.is_secure() or is_address(host) or "." not in host:
        return ""
    return "" if origin == public_url() else origin


def rebind_url(request: HttpRequest, rebind: Rebind, host: str = "") -> str:
    """How this browser would reach the new address: by `host` where that is one of ours, else by the name it uses now,
    or by the new address itself where it uses another."""
    wanted = host_normalize(host)
    if not wanted or not host_is_accepted(wanted):
        wanted = host_normalize(request.get_host())
    if is_address(wanted) and not any(address_covers(one, wanted) for one in rebind.addresses):
        wanted = next((one for one in rebind.addresses if not address_is_any(one)), wanted)
    return url_make("https", wanted, rebind.port)


def rebind_awaiting() -> Rebind | None:
    """The listener on trial at another address, waiting for somebody to confirm it there."""
    rebind = rebind_open(node_name())
    return rebind if rebind is not None and rebind.state == states.AWAITING else None


def rebind_notice(request: HttpRequest, host: str) -> dict[str, object]:
    """What `configuration/_rebind_notice.html` needs to lead to an address on trial; empty where none is."""
    rebind = rebind_awaiting()
    if rebind is None:
        return {}
    return {"rebind": rebind, "rebind_url": rebind_url(request, rebind, host), "rebind_host": host}
