"""Configuration ➜ Bindings: where HTTPS listens, with the trial of another address, and which certificate answers."""

from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs import selectors
from certs.domain import states
from certs.domain.addresses import address_covers, addresses_shown
from certs.domain.errors import NotAllowed
from certs.domain.roles import Right
from certs.forms.bindings import BindingForm, ListenerForm
from certs.models import Binding, Certificate, Listener, Rebind
from certs.services.access import PORTAL
from certs.services.addresses import host_normalize, public_url
from certs.services.bindings import binding_remove, binding_set
from certs.services.container import addresses_are_published, container_here, publishing_line
from certs.services.front import front_is_on
from certs.services.links import session_link_make
from certs.services.listeners import listener_get, nodes_serving
from certs.services.nodes import node_name
from certs.services.portal_state import state_get
from certs.services.public_url import public_url_follow
from certs.services.rebinds import rebind_confirm, rebind_open, rebind_request
from certs.services.trust import browser_warning, version_answering
from certs.views.access import actor_of, administrator_required, portal_required, right_required
from certs.views.configuration.arriving import public_url_offer, rebind_url
from portal import clock


@portal_required
@never_cache
@require_safe
def bindings(request: HttpRequest) -> HttpResponse:
    return _page(request)


@administrator_required
@require_POST
def listener(request: HttpRequest) -> HttpResponse:
    form = ListenerForm(request.POST, listener=listener_get("https"))
    if form.is_valid():
        given = form.cleaned_data
        rebind = form.attempt(
            lambda: rebind_request(addresses=given["addresses"], port=given["port"], actor=actor_of(request))
        )
        if rebind is not None:
            if rebind.state == states.SETTLED:
                messages.info(request, "Nothing to change: the portal listens there already.")
            return redirect("bindings")
    return _page(request, listener_form=form)


@portal_required
@never_cache
@require_safe
def watch(request: HttpRequest, pk: UUID, state: str) -> HttpResponse:
    """Asked every second while a rebind is open: the page is loaded anew when it has left the state it showed."""
    rebind_open(node_name())  # refuses a wish that nobody took up
    rebind = Rebind.objects.filter(pk=pk).first()
    if rebind is None:
        raise Http404
    response = HttpResponse(status=204 if rebind.state == state else 200)
    if rebind.state != state:
        response["HX-Refresh"] = "true"
    return response


@administrator_required
@require_POST
def go(request: HttpRequest) -> HttpResponse:
    """To the new address with the session. A form may not be answered by a redirect to another origin, so by a page."""
    rebind = rebind_open(node_name())
    if rebind is None or rebind.state != states.AWAITING:
        raise NotAllowed("No change of the listener waits for a confirmation now.", advice="Ask for it again.")
    url = rebind_url(request, rebind, request.POST.get("host", ""))
    token = session_link_make(actor_of(request), reverse("bindings-confirm"))
    link = url + reverse("session", args=[token])
    return render(request, "configuration/bindings_going.html", {"url": url, "link": link, "rebind": rebind})


@administrator_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def confirm(request: HttpRequest) -> HttpResponse:
    """Keep this address. Counts only where this very request came in through the new one."""
    rebind = rebind_open(node_name())
    if request.method == "POST":
        if rebind is None:
            raise NotAllowed(
                "There is nothing to confirm: the time was over and the old address is back, or it was kept already.",
                advice="Look under Configuration ➜ Bindings.",
            )
        if not _came_through(request, rebind):
            raise NotAllowed(
                f"This request did not come in through {addresses_shown(rebind.addresses, rebind.port)}.",
                advice=f"Open {rebind_url(request, rebind)} and confirm there.",
            )
        kept = rebind_confirm(rebind, actor=actor_of(request))
        public_url_follow(old_port=kept.old_port, new_port=kept.port, actor=actor_of(request))
        messages.success(request, f"Kept: the portal listens on {addresses_shown(kept.addresses, kept.port)}.")
        return redirect("bindings")
    if rebind is None:
        return redirect("bindings")
    context = {"came_through": _came_through(request, rebind), "url": rebind_url(request, rebind), **_rebind(rebind)}
    return render(request, "configuration/bindings_confirm.html", context)


@right_required(Right.BIND, of=PORTAL)
@require_POST
def binding_change(request: HttpRequest) -> HttpResponse:
    form = BindingForm(request.POST, certificates=selectors.certificates_visible_to(actor_of(request)))
    if form.is_valid():
        name, certificate = form.cleaned_data["server_name"], form.cleaned_data["certificate"]
        if form.attempt(lambda: binding_set(name, certificate, actor=actor_of(request))) is not None:
            messages.success(
                request,
                f"{certificate.name} answers for {name or 'every other name'}. Every process follows within seconds.",
            )
            return redirect("bindings")
    return _page(request, binding_form=form)


@right_required(Right.BIND, of=PORTAL)
@require_POST
def binding_let_go(request: HttpRequest) -> HttpResponse:
    name = request.POST.get("server_name", "").replace("\0", "")
    binding_remove(name, actor=actor_of(request))
    words = "The placeholder answers by default now." if not name else f"The default answers for {name} now."
    messages.success(request, words)
    return redirect("bindings")


def _page(
    request: HttpRequest, *, listener_form: ListenerForm | None = None, binding_form: BindingForm | None = None
) -> HttpResponse:
    current, plain = listener_get("https"), listener_get("http")
    public = urlsplit(public_url())
    outside = public.port or 443 if public.scheme == "https" else 443
    rebind = rebind_open(node_name())
    actor = actor_of(request)
    bound = Binding.objects.filter(selectors.visible(actor, "certificate__"))
    bindable = Certificate.objects.filter(selectors.visible(actor, right=Right.BIND))
    choices = selectors.certificates_all().filter(selectors.visible(actor, right=Right.BIND))
    initial = {"server_name": request.GET.get("server_name", "")}
    context = {
        "listener": current,
        "place": addresses_shown(current.addresses, current.port),
        "plain_place": addresses_shown(plain.addresses, plain.port),
        "locks": _locks(),
        "nodes": _other_nodes(),
        "container": container_here(),
        "published": addresses_are_published(),
        "publishing_line": publishing_line(current.port, outside=outside, name="https"),
        "outside": outside,
        "listener_form": listener_form or ListenerForm(listener=current),
        "binding_form": binding_form or BindingForm(initial=initial, certificates=choices),
        "bindings": list(bound.select_related("certificate__current").order_by("server_name")),
        "bindable": set(bindable.filter(bindings__isnull=False).order_by().values_list("pk", flat=True)),
        "has_default": Binding.objects.filter(server_name="").exists(),
        "hsts": state_get().hsts,
        "last": Rebind.objects.filter(node=node_name(), finished_at__isnull=False).first(),
        "rebind": None,
        "offer": public_url_offer(request),
        "public_url": public_url(),
        "tls_in_front": front_is_on(),
    }
    if rebind is not None:
        context |= {"url": rebind_url(request, rebind), "warning": _warning(request), **_rebind(rebind)}
    return render(request, "configuration/bindings.html", context)


def _other_nodes() -> list[dict[str, str]]:
    """Nodes that serve beside this one. A load balancer may lead the next request to any of them."""
    others = Listener.objects.filter(node__in=nodes_serving(), protocol="https").exclude(node=node_name())
    return [
        {"node": other.node, "place": addresses_shown(other.addresses, other.port)} for other in others.order_by("node")
    ]


def _rebind(rebind: Rebind) -> dict[str, object]:
    left = (rebind.deadline - clock.real()).total_seconds() if rebind.deadline else 0.0
    return {
        "rebind": rebind,
        "awaiting": rebind.state == states.AWAITING,
        "rebind_place": addresses_shown(rebind.addresses, rebind.port),
        "old_place": addresses_shown(rebind.old_addresses, rebind.old_port),
        "seconds_left": max(0, round(left)),
    }


def _locks() -> list[str]:
    names = {
        "BINDERY_HTTPS_ADDRESS": settings.HTTPS_ADDRESS_LOCKED,
        "BINDERY_HTTPS_PORT": settings.HTTPS_PORT_LOCKED,
    }
    return [name for name, locked in names.items() if locked]


def _came_through(request: HttpRequest, rebind: Rebind) -> bool:
    """By the listening socket that the server names, never by the Host header, which anybody may write."""
    address, port = str(request.META.get("SERVER_NAME", "")), str(request.META.get("SERVER_PORT", ""))
    through = any(address_covers(one, address) for one in rebind.addresses)
    return request.is_secure() and through and port == str(rebind.port)


def _warning(request: HttpRequest) -> str:
    host = host_normalize(request.get_host())
    return browser_warning(version_answering(host), host)
