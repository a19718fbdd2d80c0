"""Revoke the current version of a certificate: a page of its own, with the reason and the name typed."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from certs import selectors
from certs.domain.errors import AcmeFailure
from certs.domain.roles import Right
from certs.forms.revocations import RevokeForm
from certs.services.keys import key_is_here
from certs.services.revocations import same_key_names, version_revoke
from certs.views.access import actor_of, right_required


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.certificates_visible_to)
@require_http_methods(["GET", "HEAD", "POST"])
def revoke(request: HttpRequest, pk: UUID, version: UUID) -> HttpResponse:
    row = get_object_or_404(selectors.certificates_visible_to(actor_of(request)), pk=pk)
    chosen = get_object_or_404(row.versions.select_related("key", "certificate"), pk=version)
    data = request.POST if request.method == "POST" else None
    form = RevokeForm(data, expected=row.name, key_here=key_is_here(chosen.key))
    if form.is_valid():
        try:
            form.attempt(lambda: version_revoke(chosen, **form.given, actor=actor_of(request)))
        except AcmeFailure as error:
            form.refuse(error)
        if not form.errors:
            messages.success(request, f"{row.name} ({chosen}) is revoked.")
            return redirect("certificate", pk=pk)
    context = {
        "certificate": row,
        "version": chosen,
        "form": form,
        "is_current": row.current_id == chosen.pk,
        "shared": same_key_names(chosen),
    }
    return render(request, "certificates/revoke.html", context)
