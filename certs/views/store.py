"""What the store keeps of certificates: their properties, their versions side by side, and those that were deleted."""

from datetime import timedelta
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs import selectors
from certs.domain.roles import Right
from certs.forms.store import EditForm
from certs.models import Certificate, CertificateVersion
from certs.services.access import may
from certs.services.certificate_changes import certificate_update
from certs.services.deletion import KEPT, certificate_restore
from certs.services.version_history import version_compare
from certs.views.access import actor_of, right_required
from certs.views.paging import Pages
from portal import clock

PAGE = 50


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.certificates_visible_to)
@require_http_methods(["GET", "POST"])
def edit(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = get_object_or_404(selectors.certificates_visible_to(actor_of(request)), pk=pk)
    form = EditForm(request.POST if request.method == "POST" else None, row)
    if form.is_valid():
        name = row.name
        changed = form.attempt(lambda: certificate_update(row, actor=actor_of(request), **form.wanted))
        if changed is not None:
            messages.success(request, f"{row.name} was changed." if changed else "Nothing was changed.")
            return redirect("certificate", pk=pk)
        row.name = name
    return render(request, "certificates/edit.html", {"form": form, "certificate": row})


@right_required(Right.READ, of=selectors.certificates_visible_to)
@require_safe
def compare(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Two versions, by `before` and `after` in the address; the current one and the one before it without them."""
    row = get_object_or_404(selectors.certificates_visible_to(actor_of(request)), pk=pk)
    versions = list(row.versions.all()[:100])
    after = _version(versions, request.GET.get("after")) or row.current
    others = [version for version in versions if after is None or version.pk != after.pk]
    before = _version(versions, request.GET.get("before")) or next(iter(others), None)
    context = {"certificate": row, "versions": versions, "before": before, "after": after}
    if before is not None and after is not None:
        context["comparison"] = version_compare(before, after)
    return render(request, "certificates/compare.html", context)


@right_required(Right.READ)
@require_safe
def deleted(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    page = Pages(selectors.certificates_deleted_visible_to(actor), PAGE).get_page(request.GET.get("page"))
    rows = [(row, _days_left(row), may(actor, Right.CERTIFICATE_CHANGE, row)) for row in page]
    return render(request, "certificates/deleted.html", {"page": page, "rows": rows, "kept": KEPT.days})


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.certificates_deleted_visible_to)
@require_POST
def restore(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = get_object_or_404(selectors.certificates_deleted_visible_to(actor_of(request)), pk=pk)
    certificate_restore(row, actor=actor_of(request))
    messages.success(request, f"{row.name} is back, as it was.")
    return redirect("certificate", pk=pk)


def _version(versions: list[CertificateVersion], key: str | None) -> CertificateVersion | None:
    return next((version for version in versions if str(version.pk) == key), None)


def _days_left(row: Certificate) -> int:
    """Whole days in which it can be restored; what still needs it keeps it longer."""
    assert row.deleted_at is not None  # noqa: S101 - the selector's condition
    return max(0, (row.deleted_at + KEPT - clock.now()) // timedelta(days=1))
