"""Configuration ➜ Public keys: what /.well-known/jwks.json tells, and how long a replaced key stays in it."""

import json

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from certs import selectors
from certs.forms.jwks import OverlapForm
from certs.models import Certificate, PortalState
from certs.selectors import Shown
from certs.services.addresses import public_url
from certs.services.jwks import jwks_document, jwks_overlap_set
from certs.services.portal_state import state_get
from certs.views.access import actor_of, administrator_required, portal_required

_SHOWN = 200


@portal_required
@require_http_methods(["GET", "HEAD", "POST"])
def jwks(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        return _change(request)
    return _page(request, OverlapForm(initial={"days": state_get().jwks_overlap_days}))


@administrator_required
def _change(request: HttpRequest) -> HttpResponse:
    form = OverlapForm(request.POST)
    if form.is_valid():
        days = form.cleaned_data["days"]
        form.attempt(lambda: jwks_overlap_set(days, actor=actor_of(request)))
        if not form.errors:
            messages.success(request, f"A replaced key stays for {days} {'day' if days == 1 else 'days'}.")
            return redirect("public-keys")
    return _page(request, form)


def jwks_shown(_state: PortalState) -> Shown:
    count = Certificate.objects.filter(exposed=True, deleted_at=None).count()
    return Shown("ok", f"{count} exposed") if count else Shown("unknown", "nothing is exposed")


def _page(request: HttpRequest, form: OverlapForm) -> HttpResponse:
    exposed = Certificate.objects.filter(exposed=True).order_by().values("pk")
    context = {
        "form": form,
        "state": state_get(),
        "url": f"{public_url()}/.well-known/jwks.json",
        "keys": json.loads(jwks_document())["keys"],
        "rows": selectors.certificates_visible_to(actor_of(request)).filter(pk__in=exposed).order_by("name")[:_SHOWN],
    }
    return render(request, "configuration/jwks.html", context)
