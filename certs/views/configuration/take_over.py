"""Configuration ➜ Take over: which of two portals goes on, where this one was copied or restored."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from certs.services.identity import identity_held, identity_hold, identity_is_trial, identity_take_over
from certs.views.access import actor_of, administrator_required

THIS, TRIAL = "this", "trial"


@administrator_required
@require_http_methods(["GET", "HEAD", "POST"])
def take_over(request: HttpRequest) -> HttpResponse:
    held = identity_held()
    if request.method != "POST" or request.POST.get("which") not in {THIS, TRIAL}:
        said = "Choose one of the two." if request.method == "POST" else ""
        context = {"held": held, "trial": identity_is_trial(), "error": said}
        return render(request, "configuration/take_over.html", context, status=400 if said else 200)
    if not held:
        messages.info(request, "Nothing was held: this is the portal already.")
    elif request.POST["which"] == THIS:
        identity_take_over(actor=actor_of(request))
        messages.success(request, "This is the portal from now on: orders and renewals go on.")
    else:
        identity_hold(actor=actor_of(request))
        messages.success(request, "It stays held: it serves, and orders nothing.")
    return redirect("home")
