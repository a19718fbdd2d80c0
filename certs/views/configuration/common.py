"""What the configuration pages share: how this request came in, and whether its address should be the public one."""

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest

from certs.domain.names import is_address
from certs.services.addresses import public_url
from certs.services.https import Arrival


def arrival_of(request: HttpRequest) -> Arrival:
    return Arrival(request.is_secure(), request.get_host())


def public_url_offer(request: HttpRequest) -> str:
    """The address this browser just used, where it is HTTPS by a name and not yet the public URL; else empty."""
    origin = arrival_of(request).origin
    host = urlsplit(origin).hostname or ""
    if settings.PUBLIC_URL or not request.is_secure() or is_address(host) or "." not in host:
        return ""
    return "" if origin == public_url() else origin
