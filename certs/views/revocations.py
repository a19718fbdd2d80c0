"""Revoke a version of a certificate: a page of its own, with the reason and the name typed."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from certs import selectors
from certs.domain.errors import AcmeFailure, ConflictError, InputError
from certs.domain.roles import Right
from certs.forms.revocations import RevokeForm
from certs.models import Authority, CertificateVersion
from certs.services.keys import key_is_here
from certs.services.register import Falls, authority_falls, issued_of
from certs.services.revocations import same_key_names, version_release, version_revoke
from certs.views.access import actor_of, right_required


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.certificates_visible_to)
@require_http_methods(["GET", "HEAD", "POST"])
def revoke(request: HttpRequest, pk: UUID, version: UUID) -> HttpResponse:
    row = get_object_or_404(selectors.certificates_visible_to(actor_of(request)), pk=pk)
    chosen = get_object_or_404(row.versions.select_related("key", "certificate"), pk=version)
    data = request.POST if request.method == "POST" else None
    issued = issued_of(chosen)
    form = RevokeForm(data, expected=row.name, key_here=key_is_here(chosen.key), own=issued is not None)
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
        "authority": issued.authority if issued else None,
        "falls": _falls(chosen),
        "answers_for": Authority.objects.filter(responder=row).select_related("certificate").defer("crl_der").first(),
    }
    return render(request, "certificates/revoke.html", context)


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.certificates_visible_to)
@require_POST
def release(request: HttpRequest, pk: UUID, version: UUID) -> HttpResponse:
    """Take back a hold of one of our own CAs."""
    row = get_object_or_404(selectors.certificates_visible_to(actor_of(request)), pk=pk)
    chosen = get_object_or_404(row.versions.select_related("key", "certificate"), pk=version)
    try:
        version_release(chosen, actor=actor_of(request))
    except (InputError, ConflictError) as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{row.name} ({chosen}) is no longer on hold.")
    return redirect("certificate", pk=pk)


def _falls(version: CertificateVersion) -> Falls | None:
    """What goes with it where it is the certificate of a CA of our own."""
    own = Authority.objects.filter(certificate=version.certificate_id).first()
    return authority_falls(own) if own else None
