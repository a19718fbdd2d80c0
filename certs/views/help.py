from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from certs.domain.addresses import host_shown
from certs.domain.recipes import Kind, recipes_filled
from certs.services import addresses
from certs.services.listeners import listener_get
from certs.services.port80 import port_80_mend_here
from certs.services.upstreams import upstreams
from portal import home


@login_required
@require_safe
def help_page(request: HttpRequest) -> HttpResponse:
    """Where things are, with this portal's own names and paths filled in."""
    plain, host, there = listener_get("http"), addresses.https_host(), upstreams()
    context = {
        "data_directory": home.path(),
        "key_ring": home.key_ring_place() or "BINDERY_KEY_RING",
        "mend": port_80_mend_here(),
        "public_url": addresses.public_url(),
        "host": host_shown(host),
        "http": plain,
        "recipes": recipes_filled(Kind.PROXY, name=host, upstream=there.own),
        "publish": there.publish,
        "https": listener_get("https"),
    }
    return render(request, "help.html", context)
