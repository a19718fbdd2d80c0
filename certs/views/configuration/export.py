"""Configuration ➜ Export: certificates and keys as files on every node, for whom the permission allows it."""

from datetime import timedelta

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from certs import selectors
from certs.forms.export import ExportForm
from certs.models import NodeExport, PortalState
from certs.selectors import Shown
from certs.services.access import may_export, require_export
from certs.services.export import export_awaited, export_change, export_troubles, export_warnings
from certs.services.portal_state import state_get
from certs.views.access import actor_of, portal_required
from portal import clock

_LISTED = 200
_LATE = timedelta(minutes=2)  # a node looks every few seconds


@portal_required
@require_http_methods(["GET", "HEAD", "POST"])
def export(request: HttpRequest) -> HttpResponse:
    return _change(request) if request.method == "POST" else _page(request, ExportForm(state=state_get()))


def _change(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    require_export(actor)
    form = ExportForm(request.POST, state=state_get())
    if form.is_valid():
        form.attempt(lambda: export_change(**form.cleaned_data, actor=actor))
        if not form.errors:
            on = form.cleaned_data["on"]
            messages.success(
                request,
                f"The files are written to {settings.EXPORT_DIR} within seconds."
                if on
                else "The export is off. The files stay where they are.",
            )
            return redirect("export")
    return _page(request, form)


def export_shown(state: PortalState) -> Shown:
    if not state.export:
        return Shown("unknown", "off")
    if export_awaited():
        return Shown("unknown", "on, not written yet")
    if export_troubles():
        return Shown("danger", "on, but not everything could be written")
    return Shown("warning", "on, but out of reach") if export_warnings(state) else Shown("ok", "on")


def _page(request: HttpRequest, form: ExportForm) -> HttpResponse:
    state = state_get()
    exported = selectors.certificates_visible_to(actor_of(request)).exclude(export_name="").order_by("export_name")
    since = export_awaited()
    context = {
        "form": form,
        "since": since,
        "is_late": since is not None and clock.now() - since > _LATE,
        "state": state,
        "may": may_export(actor_of(request)),
        "place": settings.EXPORT_DIR,
        "shown": export_shown(state),
        "warnings": export_warnings(state),
        "nodes": NodeExport.objects.order_by("node"),
        "certificates": exported[:_LISTED],
    }
    return render(request, "configuration/export.html", context)
