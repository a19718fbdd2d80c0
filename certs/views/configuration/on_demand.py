"""Configuration ➜ On demand: the first visit of an allowed name starts its issuance."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from certs import selectors
from certs.forms.on_demand import OnDemandForm
from certs.models import Certificate, PortalState
from certs.selectors import Shown
from certs.services.on_demand import on_demand_change, on_demand_problem
from certs.services.portal_state import state_get
from certs.views.access import actor_of, administrator_required, portal_required

_LATEST = 50


@portal_required
@require_http_methods(["GET", "HEAD", "POST"])
def on_demand(request: HttpRequest) -> HttpResponse:
    return _change(request) if request.method == "POST" else _page(request, OnDemandForm(state=state_get()))


@administrator_required
def _change(request: HttpRequest) -> HttpResponse:
    form = OnDemandForm(request.POST, state=state_get())
    if form.is_valid():
        form.attempt(lambda: on_demand_change(**form.cleaned_data, actor=actor_of(request)))
        if not form.errors:
            on = form.cleaned_data["on"]
            messages.success(request, f"Ordering at the first visit is {'on' if on else 'off'}.")
            return redirect("on-demand")
    return _page(request, form)


def on_demand_shown(state: PortalState) -> Shown:
    if not state.on_demand:
        return Shown("unknown", "off")
    problem = on_demand_problem(state)
    return Shown("warning", problem) if problem else Shown("ok", f"on for {_count(len(state.on_demand_hosts))}")


def _count(names: int) -> str:
    return "1 name" if names == 1 else f"{names} names"


def _page(request: HttpRequest, form: OnDemandForm) -> HttpResponse:
    state = state_get()
    on_demand = Certificate.objects.filter(on_demand=True).order_by().values("pk")
    made = selectors.certificates_list(actor_of(request)).filter(pk__in=on_demand)
    context = {
        "form": form,
        "state": state,
        "shown": on_demand_shown(state),
        "latest": made.order_by("-created_at")[:_LATEST],
        "count": made.count(),
    }
    return render(request, "configuration/on_demand.html", context)
