"""Configuration ➜ HTTPS: Force SSL with its trial, and the ramp of HSTS."""

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from certs.domain import hsts as rules
from certs.forms.https import HostTypedForm
from certs.models import PortalState
from certs.services import https as service
from certs.services.addresses import plain_url, public_url
from certs.services.arrivals import public_url_arrival
from certs.services.front import front_silent
from certs.services.listeners import listener_get
from certs.services.portal_state import state_get
from certs.views.access import actor_of, administrator_required, portal_required
from certs.views.configuration.arriving import arrival_of, public_url_offer
from portal import clock


@portal_required
@require_safe
def https(request: HttpRequest) -> HttpResponse:
    return _page(request)


@administrator_required
@require_POST
def force(request: HttpRequest) -> HttpResponse:
    if request.POST.get("wish") == "off":
        service.force_ssl_disable(actor=actor_of(request))
        messages.success(request, "Force SSL is off: plain HTTP is answered again.")
        return redirect("https")
    service.force_ssl_enable(arrival_of(request), actor=actor_of(request))
    return redirect("https")


@administrator_required
@require_POST
def force_confirm(request: HttpRequest) -> HttpResponse:
    service.force_ssl_confirm(arrival_of(request), actor=actor_of(request))
    messages.success(request, f"Force SSL is on: plain HTTP leads to {public_url()}.")
    return redirect("https")


@administrator_required
@require_POST
def hsts(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    if request.POST.get("wish") == "off":
        service.hsts_disable(actor=actor)
        messages.success(request, "HSTS is off: browsers that come back are told to forget it.")
        return redirect("https")
    return _typed(
        request, lambda typed: service.hsts_enable(arrival_of(request), typed_host=typed, actor=actor), "HSTS is on."
    )


@administrator_required
@require_POST
def hsts_faster(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    return _typed(
        request,
        lambda typed: service.hsts_hasten(arrival_of(request), typed_host=typed, actor=actor),
        "HSTS went one step further.",
    )


def _typed(request: HttpRequest, action: Callable[[str], None], done: str) -> HttpResponse:
    form = HostTypedForm(request.POST)
    if form.is_valid():
        form.attempt(lambda: action(form.cleaned_data["typed_host"]))
        if not form.errors:
            messages.success(request, done)
            return redirect("https")
    return _page(request, form)


def _page(request: HttpRequest, form: HostTypedForm | None = None) -> HttpResponse:
    state, arrival, standing = state_get(), arrival_of(request), service.hsts_standing()
    header = service.policy_read().hsts_header
    context = {
        "state": state,
        "public_url": public_url(),
        "arrived": public_url_arrival(arrival),
        "here": arrival.origin,
        "offer": public_url_offer(request),
        "forced": service.force_ssl_is_on(state),
        "trial_left": _trial_left(state),
        "plain_url": _plain_url(),
        "plain_port": listener_get("http").port,
        "standing": standing,
        "steps": _steps(state),
        "next_step_at": _next_step_at(state),
        "header": header,
        "silent": front_silent(state),
        "clearing": not state.hsts and header != "",
        "form": (form or HostTypedForm()).for_host(standing.host),
    }
    return render(request, "configuration/https.html", context)


def _plain_url() -> str:
    """This very page over plain HTTP: while Force SSL is on it has to lead back here."""
    return plain_url() + reverse("https")


def _trial_left(state: PortalState) -> int:
    until = state.force_ssl_confirm_by
    return max(0, round((until - clock.now()).total_seconds())) if until else 0


def _steps(state: PortalState) -> list[tuple[str, str]]:
    """Label and state (done, now, waiting, barred) of each step of the ramp."""
    reached = min(state.hsts_step, state.hsts_limit)
    found = []
    for number, step in enumerate(rules.STEPS):
        if number > state.hsts_limit:
            kind = "barred"
        elif number < reached:
            kind = "done"
        else:
            kind = "now" if number == reached else "waiting"
        found.append((step.label, kind))
    return found


def _next_step_at(state: PortalState) -> object:
    """When the next step is earned if all stays healthy; None at the last one or after an unhealthy check."""
    if not state.hsts or state.hsts_step >= state.hsts_limit or state.hsts_step_since is None:
        return None
    return max(state.hsts_step_since + rules.HEALTHY_FOR, clock.now())
