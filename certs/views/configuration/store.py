"""Configuration ➜ Store: what may be done with what is added."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from certs.domain.roles import Right
from certs.forms.adding import StoreForm
from certs.models import PortalState
from certs.selectors import Shown
from certs.services.missing_issuers import fetch_issuers_change
from certs.services.portal_state import state_get
from certs.views.access import actor_of, right_required


@right_required(Right.SETTING)
@require_http_methods(["GET", "HEAD", "POST"])
def store(request: HttpRequest) -> HttpResponse:
    initial = {"fetch_issuers": state_get().fetch_issuers}
    form = StoreForm(request.POST if request.method == "POST" else None, initial=initial)
    if form.is_valid():
        on = form.cleaned_data["fetch_issuers"]
        if form.attempt(lambda: fetch_issuers_change(on=on, actor=actor_of(request))) is not None:
            messages.success(request, f"Missing issuers are {'fetched' if on else 'named only'}.")
            return redirect("store")
    return render(request, "configuration/store.html", {"form": form})


def store_shown(state: PortalState) -> Shown:
    return Shown("ok", "missing issuers are fetched") if state.fetch_issuers else Shown("unknown", "nothing is fetched")
