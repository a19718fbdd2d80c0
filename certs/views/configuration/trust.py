"""Configuration ➜ Trust: which CAs the portal trusts for its own calls, and client certificates on its listener."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from certs.domain.client_auth import Mode
from certs.forms.trust import ClientAuthForm, TrustForm
from certs.models import PortalState
from certs.selectors import OFFERED, Shown
from certs.services.client_auth import (
    Presented,
    client_auth_change,
    client_auth_confirm,
    client_auth_mode,
)
from certs.services.front import front_is_on
from certs.services.portal_state import state_get
from certs.services.trusted import trusted_candidates, trusted_list, trusted_set
from certs.views.access import actor_of, administrator_required, portal_required
from certs.views.client_certificates import presented_of
from certs.views.configuration.arriving import is_direct
from portal import clock


@portal_required
@require_http_methods(["GET", "HEAD", "POST"])
def trust(request: HttpRequest) -> HttpResponse:
    return _add(request) if request.method == "POST" else _page(request)


@administrator_required
def _add(request: HttpRequest) -> HttpResponse:
    candidates = {str(each.pk): each for each in trusted_candidates()[:OFFERED]}
    form = TrustForm(request.POST, certificates=candidates.values())
    if form.is_valid():
        chosen = candidates.get(form.cleaned_data.pop("certificate"))
        if chosen is None:
            form.add_error("certificate", "Choose a CA certificate.")
        elif not any(form.cleaned_data.values()):
            form.add_error(None, "Say what it is trusted for.")
        else:
            form.attempt(lambda: trusted_set(chosen, **form.cleaned_data, actor=actor_of(request)))
            if not form.errors:
                messages.success(request, f"{chosen.name} is trusted. Every process follows within seconds.")
                return redirect("trust")
    return _page(request, form)


@administrator_required
@require_POST
def change(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The ticks of one CA; without any it is taken off the list."""
    row = get_object_or_404(trusted_list(), certificate=pk)
    ticked = {name: name in request.POST for name in ("outbound", "clients", "log_in")}
    trusted_set(row.certificate, **ticked, actor=actor_of(request))
    kept = "is trusted for what is ticked" if any(ticked.values()) else "is no longer trusted"
    messages.success(request, f"{row.certificate.name} {kept}.")
    return redirect("trust")


@administrator_required
@require_POST
def clients(request: HttpRequest) -> HttpResponse:
    form = ClientAuthForm(request.POST)
    if form.is_valid():
        mode = Mode(form.cleaned_data["mode"])
        changed = form.attempt(
            lambda: client_auth_change(
                mode, secure=is_direct(request), presented=presented_of(request), actor=actor_of(request)
            )
        )
        if changed is not None:
            messages.success(request, f"Client certificates: {mode.label.lower()}." if changed else "It is so already.")
            return redirect("trust")
    return _page(request, clients_form=form)


@administrator_required
@require_POST
def confirm(request: HttpRequest) -> HttpResponse:
    client_auth_confirm(secure=is_direct(request), presented=presented_of(request), actor=actor_of(request))
    messages.success(request, "Kept.")
    return redirect("trust")


def trust_shown(state: PortalState) -> Shown:
    mode = client_auth_mode(state)
    if state.client_auth_confirm_by and state.client_auth_confirm_by > clock.now():
        return Shown("warning", f"client certificates {mode.label.lower()}, on trial")
    count = trusted_list().count()
    words = f"{count} {'CA' if count == 1 else 'CAs'} besides the system's" if count else "the system's CAs"
    return Shown("unknown" if mode is Mode.OFF else "ok", f"{words}, client certificates {mode.label.lower()}")


def _page(
    request: HttpRequest, form: TrustForm | None = None, clients_form: ClientAuthForm | None = None
) -> HttpResponse:
    state, presented = state_get(), presented_of(request)
    mode, until = client_auth_mode(state), state.client_auth_confirm_by
    context = {
        "trusted": trusted_list(),
        "form": form or TrustForm(certificates=trusted_candidates()[:OFFERED]),
        "clients_form": clients_form or ClientAuthForm(initial={"mode": mode.value}),
        "mode": mode,
        "modes": list(Mode),
        "trial_left": max(0, round((until - clock.now()).total_seconds())) if until else 0,
        "may_confirm": is_direct(request) and (presented is not None or mode is not Mode.REQUIRED),
        "presented": _shown(presented),
        "front": front_is_on(),
    }
    return render(request, "configuration/trust.html", context)


def _shown(presented: Presented | None) -> dict[str, str] | None:
    if presented is None:
        return None
    return {
        "subject": presented.certificate.subject.rfc4514_string(),
        "emails": ", ".join(presented.emails),
        "fingerprint": presented.fingerprint,
    }
