"""Configuration ➜ Renewal: both numbers, the schedule's runs, and what was decided about each certificate."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from certs import selectors
from certs.domain.roles import Right
from certs.forms.renewal import OverrideForm, RenewalForm
from certs.models import Certificate
from certs.services.access import PORTAL, rights_of
from certs.services.portal_state import state_get
from certs.services.queue import worker_alive
from certs.services.renewal_settings import check_now, renewal_change, renewal_override, schedule_state
from certs.views.access import actor_of, administrator_required, portal_required, right_required
from certs.views.paging import Pages

PAGE = 50


@portal_required
@require_http_methods(["GET", "HEAD", "POST"])
def renewal(request: HttpRequest) -> HttpResponse:
    return _change(request) if request.method == "POST" else _page(request, RenewalForm(initial=_initial()))


@administrator_required
def _change(request: HttpRequest) -> HttpResponse:
    form = RenewalForm(request.POST, initial=_initial())
    if form.is_valid():
        given = form.cleaned_data
        form.attempt(lambda: renewal_change(**given, actor=actor_of(request)))
        if not form.errors:
            messages.success(
                request,
                f"Certificates are renewed within {given['renew_before_days']} days of their expiry "
                f"and checked every {given['check_hours']} hours.",
            )
            return redirect("renewal")
    return _page(request, form)


@right_required(Right.CERTIFICATE_CHANGE, of=PORTAL)
@require_POST
def check(request: HttpRequest) -> HttpResponse:
    queued = check_now(actor=actor_of(request))
    if not worker_alive():
        messages.warning(request, "The check is queued, but no worker is running; it begins when one is back.")
    elif queued:
        messages.success(request, "The check is queued; its decisions appear here within seconds.")
    else:
        messages.info(request, "A check was queued already.")
    return redirect("renewal")


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.certificates_visible_to)
@require_http_methods(["GET", "HEAD", "POST"])
def override(request: HttpRequest, pk: UUID) -> HttpResponse:
    certificate = get_object_or_404(selectors.certificates_visible_to(actor_of(request)), pk=pk)
    own = {"renew_before_days": certificate.renew_before_days, "check_hours": certificate.check_hours}
    form = OverrideForm(request.POST if request.method == "POST" else None, initial=own)
    if form.is_valid():
        form.attempt(lambda: renewal_override(certificate, **form.cleaned_data, actor=actor_of(request)))
        if not form.errors:
            messages.success(request, f"The renewal of {certificate.name} was changed.")
            return redirect("renewal")
    context = {"form": form, "certificate": certificate, "state": state_get()}
    return render(request, "configuration/renewal_override.html", context)


def _initial() -> dict[str, int]:
    state = state_get()
    return {"renew_before_days": state.renew_before_days, "check_hours": state.check_hours}


def _page(request: HttpRequest, form: RenewalForm) -> HttpResponse:
    found = selectors.certificates_list(actor_of(request)).filter(source="acme")
    page = Pages(found, PAGE).get_page(request.GET.get("page"))
    schedule = schedule_state()
    actor = actor_of(request)
    ours = Certificate.objects.filter(selectors.visible(actor, right=Right.CERTIFICATE_CHANGE))
    context = {
        "form": form,
        "page": page,
        "rights": rights_of(actor, PORTAL),
        "changeable": set(ours.filter(pk__in=[row.pk for row in page]).values_list("pk", flat=True)),
        "schedule": schedule,
        "decided": [f"{count} × {code.replace('-', ' ')}" for code, count in sorted(schedule.summary.items())],
        "state": state_get(),
    }
    return render(request, "configuration/renewal.html", context)
