"""At which host:port another web server reaches the portal's plain HTTP, for the lines that let it ask the portal."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings

from certs.domain.addresses import address_is_any, address_shown
from certs.domain.containers import Kind
from certs.services.addresses import LOOPBACK, machine_address, public_url_given
from certs.services.container import container_here, publishing_line
from certs.services.listeners import addresses_here, listener_get
from certs.services.portal_state import state_get

_BESIDE = 8080  # of the machine of a container, where another server has port 80
_UNKNOWN = "ADDRESS-OF-THE-MACHINE"


@dataclass(frozen=True)
class Upstreams:
    """For a server on this machine, and for one on another. `publish` is the line that leads there into a container,
    whose own address means nothing to other machines; empty outside of one."""

    own: str
    others: str
    publish: str = ""


def upstreams() -> Upstreams:
    plain, kind = listener_get("http"), container_here()
    if kind == Kind.NONE:
        inside = addresses_here(plain.addresses)
        given = next((one for one in plain.addresses if not address_is_any(one) and one not in LOOPBACK), inside)
        others = machine_address(plain.addresses) or given
        return Upstreams(address_shown(inside, plain.port), address_shown(others, plain.port))
    outside = 80 if kind == Kind.KUBERNETES else _BESIDE
    others = address_shown(_host_outside(), outside)
    own = others if kind == Kind.KUBERNETES else address_shown("127.0.0.1", outside)
    return Upstreams(own, others, publishing_line(plain.port, outside=outside, name="http"))


def _host_outside() -> str:
    """What people type leads to the machine of a container, or to the Service of a pod; it knows no other address."""
    chosen = public_url_given(settings.PUBLIC_URL) or state_get().public_url
    return urlsplit(chosen).hostname or _UNKNOWN
