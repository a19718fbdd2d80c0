"""Home: the welcome page until a certificate is bound, from then on what is served and what comes next."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from certs import selectors
from certs.domain.roles import Right
from certs.services import addresses, health
from certs.services.access import PORTAL, may
from certs.services.bindings import bindings_default_only_placeholder
from certs.services.front import front_is_on
from certs.services.front_check import browser_warning_at
from certs.services.links import session_link_make
from certs.services.portal_state import state_get
from certs.services.ring import ring_mark_saved
from certs.services.trust import version_answering
from certs.views.access import actor_of, administrator_required
from certs.views.configuration.arriving import handed_on
from portal import home as data

BANNERS = ("worker", "import", "volume")  # findings that the layout shows on every page


@login_required
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    if bindings_default_only_placeholder() and not front_is_on():
        return render(request, "home/welcome.html", {"data_directory": data.path()})
    actor = actor_of(request)
    by_itself = handed_on(request) is None
    answering = version_answering(addresses.host_normalize(request.get_host())) if by_itself else None
    findings = health.portal_findings() if may(actor, Right.READ, PORTAL) else []
    context = {
        "bound": [
            (certificate, health.certificate_installed(certificate))
            for certificate in selectors.bound_certificates(actor)
        ],
        "state": state_get(),
        "orders": selectors.orders_visible_to(actor)[:6],
        "findings": [found for found in findings if not found.ok and found.code not in BANNERS],
        "answering": answering.certificate if answering and may(actor, Right.READ, answering.certificate) else None,
        "https_url": addresses.https_url(),
    }
    return render(request, "home/dashboard.html", context)


@administrator_required
@require_POST
def ring_saved(request: HttpRequest) -> HttpResponse:
    ring_mark_saved(actor=actor_of(request))
    messages.success(request, "Noted: a copy of the key ring is safe.")
    return redirect("home")


@login_required
def go(request: HttpRequest) -> HttpResponse:
    """The way to this portal's HTTPS address: says first what the browser will do, then goes there with the session.

    A form may not be answered by a redirect to another origin, so the answer is a page with a link and a script.
    """
    host = addresses.host_normalize(request.POST.get("host", ""))
    if host and not addresses.host_is_accepted(host):
        host = ""
    url = addresses.https_url(host or None)
    if request.method != "POST":
        return render(request, "home/go.html", {"url": url, "warning": _warning(host)})
    token = session_link_make(actor_of(request), reverse("home"))
    return render(request, "home/going.html", {"url": url, "link": url + reverse("session", args=[token])})


def _warning(host: str) -> str:
    wanted = host or addresses.https_host()
    return browser_warning_at(wanted, version_answering(wanted))
