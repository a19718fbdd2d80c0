"""Configuration: its pages with their state in words, the public URL and the accepted hosts."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from certs.domain import hsts
from certs.domain.addresses import addresses_shown
from certs.domain.roles import Right
from certs.forms.bindings import HostForm, PublicUrlForm
from certs.models import Binding, PortalState, User
from certs.selectors import Shown, certificate_shown
from certs.services import addresses
from certs.services.access import PORTAL, may
from certs.services.health import SWEEP_LATE
from certs.services.https import force_ssl_is_on
from certs.services.identity import identity_held
from certs.services.listeners import listener_get
from certs.services.nodes import node_name
from certs.services.portal_state import state_get
from certs.services.public_url import public_url_change
from certs.services.rebinds import rebind_open
from certs.services.renewal_settings import schedule_state
from certs.templatetags.bindery import ago
from certs.views.access import actor_of, administrator_required, right_required
from certs.views.configuration import diagnosis
from certs.views.configuration.accounts import accounts_shown
from certs.views.configuration.arriving import public_url_offer
from certs.views.configuration.export import export_shown
from certs.views.configuration.front import shown as front_shown
from certs.views.configuration.jwks import jwks_shown
from certs.views.configuration.methods import methods_shown
from certs.views.configuration.notifications import notifications_shown
from certs.views.configuration.on_demand import on_demand_shown
from certs.views.configuration.pki import pki_shown
from certs.views.configuration.store import store_shown
from certs.views.configuration.trust import trust_shown
from portal import clock


@dataclass(frozen=True)
class Entry:
    label: str
    url_name: str
    about: str
    shown: Shown


_FOR_ORGANIZATIONS = {"methods", "ca-accounts"}  # the other pages are about the portal itself
_FOR_ADMINISTRATORS = {"diagnosis", "people", "store", "take-over"}  # their pages show nothing to anybody else


@right_required(Right.READ)
@require_safe
def configuration(request: HttpRequest) -> HttpResponse:
    return _page(request, PublicUrlForm(initial={"public_url": addresses.public_url()}), HostForm())


@administrator_required
@require_POST
def public_url(request: HttpRequest) -> HttpResponse:
    form = PublicUrlForm(request.POST, initial={"public_url": addresses.public_url()})
    if form.is_valid():
        stored = form.attempt(lambda: public_url_change(form.cleaned_data["public_url"], actor=actor_of(request)))
        if stored is not None:
            messages.success(request, f"The public URL is {stored}.")
            return redirect(_back(request))
    return _page(request, form, HostForm())


@administrator_required
@require_POST
def host_add(request: HttpRequest) -> HttpResponse:
    form = HostForm(request.POST)
    if form.is_valid():
        host = form.attempt(lambda: addresses.host_allow(form.cleaned_data["host"], actor=actor_of(request)))
        if host is not None:
            messages.success(request, f"The portal's pages are shown under {host} too.")
            return redirect("configuration")
    return _page(request, PublicUrlForm(initial={"public_url": addresses.public_url()}), form)


@administrator_required
@require_POST
def host_remove(request: HttpRequest) -> HttpResponse:
    host = addresses.host_disallow(request.POST.get("host", ""), actor=actor_of(request))
    messages.success(request, f"{host} is no longer among the added hosts.")
    return redirect("configuration")


def _back(request: HttpRequest) -> str:
    """A page of ours that showed the same form; never an address from elsewhere."""
    target = request.POST.get("next", "")
    ours = target.startswith("/") and url_has_allowed_host_and_scheme(target, allowed_hosts=None)
    return target if ours else "configuration"


def _page(request: HttpRequest, public_url_form: PublicUrlForm, host_form: HostForm) -> HttpResponse:
    state = state_get()
    context = {
        "portal": may(actor_of(request), Right.READ, PORTAL),
        "entries": _entries(request, state),
        "public_url_form": public_url_form,
        "public_url_confirmed": bool(settings.PUBLIC_URL or state.public_url),
        "offer": public_url_offer(request),
        "host_form": host_form,
        "extra_hosts": state.extra_hosts,
        "accepted_hosts": sorted(addresses.accepted_hosts() - set(state.extra_hosts)),
    }
    return render(request, "configuration/index.html", context)


def _entries(request: HttpRequest, state: PortalState) -> list[Entry]:
    """What is looked at often comes first, what is set once in a life last; what holds everything up above all."""
    administrator = may(actor_of(request), Right.SETTING)
    held = identity_held()
    take_over = Entry(
        "Take over",
        "take-over",
        "Which of two portals goes on, where this one was copied or restored.",
        Shown("danger", "held: it orders nothing") if held else Shown("ok", "nothing is held"),
    )
    entries = [
        Entry(
            "Let's Encrypt",
            "lets-encrypt",
            "A certificate for the portal itself, from Let's Encrypt or another CA, renewed by itself.",
            _lets_encrypt(state),
        ),
        Entry("Renewal", "renewal", "When certificates are checked and renewed.", _renewal(state)),
        Entry(
            "Notifications",
            "notifications",
            "Who is told when a renewal fails or something else needs a person: by mail or webhook.",
            notifications_shown(),
        ),
        Entry("Diagnosis", "diagnosis", diagnosis.ABOUT, Shown("unknown", "looks when you open it")),
        Entry("Bindings", "bindings", "Address and port of HTTPS, and which certificate answers.", _bindings()),
        Entry(
            "HTTPS",
            "https",
            "Force SSL sends people from plain HTTP to HTTPS; HSTS has browsers remember it.",
            _https(state),
        ),
        Entry(
            "Trust",
            "trust",
            "Which CAs the portal trusts for its own calls, and client certificates on its listener.",
            trust_shown(state),
        ),
        Entry("Store", "store", "Whether missing issuers of added certificates are fetched.", store_shown(state)),
        Entry(
            "TLS in front",
            "front",
            "A web server, load balancer or Kubernetes Ingress that ends TLS before the portal.",
            front_shown(state),
        ),
        Entry(
            "Challenges",
            "methods",
            "How a CA is shown that names are yours: DNS for wildcards, a web server of your own, a script.",
            methods_shown(request),
        ),
        Entry(
            "CA accounts",
            "ca-accounts",
            "Under which accounts certificates are ordered.",
            accounts_shown(actor_of(request)),
        ),
        Entry(
            "On demand",
            "on-demand",
            "A certificate is ordered when its name is first visited.",
            on_demand_shown(state),
        ),
        Entry(
            "Public keys",
            "public-keys",
            "Keys that programs check signatures with, at /.well-known/jwks.json.",
            jwks_shown(state),
        ),
        Entry(
            "PKI addresses",
            "pki-address",
            "Where your own CAs publish revocation lists and answer OCSP: it stands in what they sign.",
            pki_shown(),
        ),
        Entry("People", "people", "Who may log in, which roles they hold, and in which organizations.", _people()),
        Entry("Export", "export", "Certificates and keys as files, for servers on this machine.", export_shown(state)),
    ]
    entries = [take_over, *entries] if held else [*entries, take_over]
    if not may(actor_of(request), Right.READ, PORTAL):
        return [entry for entry in entries if entry.url_name in _FOR_ORGANIZATIONS]
    return [entry for entry in entries if administrator or entry.url_name not in _FOR_ADMINISTRATORS]


def _people() -> Shown:
    count = User.objects.filter(is_active=True).count()
    return Shown("ok", "you alone" if count == 1 else f"{count} may log in")


def _lets_encrypt(state: PortalState) -> Shown:
    certificate = state.portal_certificate
    if certificate is None:
        return Shown("unknown", "not configured")
    return certificate_shown(certificate)


def _bindings() -> Shown:
    if rebind_open(node_name()) is not None:
        return Shown("warning", "a change of the listener is under way")
    listener = listener_get("https")
    if not Binding.objects.filter(server_name="").exists():
        return Shown("warning", f"{addresses_shown(listener.addresses, listener.port)}, placeholder")
    return Shown("ok", addresses_shown(listener.addresses, listener.port))


def _https(state: PortalState) -> Shown:
    if not force_ssl_is_on(state):
        words = "Force SSL off"
    else:
        words = "Force SSL on trial" if state.force_ssl_confirm_by else "Force SSL on"
    step = hsts.STEPS[min(state.hsts_step, state.hsts_limit)].label
    both = force_ssl_is_on(state) and state.hsts
    return Shown("ok" if both else "unknown", f"{words}, HSTS {step}" if state.hsts else f"{words}, HSTS off")


def _renewal(state: PortalState) -> Shown:
    """What has happened, not what is set: a number that nobody acts on is nothing to be green about."""
    upcoming = schedule_state().next_run
    if upcoming is None:
        return Shown("warning", "the schedule has not begun: start the portal with manage.py up")
    checked = f"last check {ago(state.sweep_finished_at)}"
    if state.sweep_finished_at is None:
        return Shown("unknown", f"not checked yet; the first check comes {_coming(upcoming)}")
    if clock.now() - state.sweep_finished_at > SWEEP_LATE:
        return Shown("danger", f"{checked}: nothing is renewed. Does the worker run?")
    return Shown("ok", f"{checked}, the next {_coming(upcoming)}")


def _coming(moment: datetime) -> str:
    return ago(moment) if moment - clock.now() >= timedelta(minutes=1) else "within a minute"
