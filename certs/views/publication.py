"""What an authority of our own publishes: its list, its responder, what stops when; signed anew by a person."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from certs import selectors
from certs.domain.roles import Right
from certs.forms.pki import LifeForm, PublishForm, SerialForm
from certs.models import Authority
from certs.services.crls import authority_publish, crl_days_change
from certs.services.publication import publication_shown
from certs.services.register import authority_falls
from certs.services.revocations import serial_release, serial_revoke
from certs.views.access import actor_of, right_required

_seen = selectors.authorities_visible_to


@right_required(Right.READ, of=_seen)
@require_safe
def publication(request: HttpRequest, pk: UUID) -> HttpResponse:
    return _page(request, _authority(request, pk))


@sensitive_post_parameters("passphrase")
@right_required(Right.AUTHORITY, of=_seen)
@require_POST
def publish(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = _authority(request, pk)
    form = PublishForm(request.POST, offline=row.offline)
    if form.is_valid():
        passphrase = form.cleaned_data.get("passphrase", "")
        form.attempt(lambda: authority_publish(row, passphrase, actor=actor_of(request)))
        if not form.errors:
            messages.success(request, f"{row} has signed a new revocation list and its OCSP responder.")
            return redirect("authority-publication", pk=pk)
    return _page(request, row, publish=form)


@right_required(Right.AUTHORITY, of=_seen)
@require_POST
def life(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = _authority(request, pk)
    form = LifeForm(request.POST, days=row.crl_days, offline=row.offline)
    if form.is_valid():
        days = form.cleaned_data["days"]
        form.attempt(lambda: crl_days_change(row, days, actor=actor_of(request)))
        if not form.errors:
            messages.success(request, f"The next revocation list of {row} lives {days} days.")
            return redirect("authority-publication", pk=pk)
    return _page(request, row, life=form)


@right_required(Right.AUTHORITY, of=_seen)
@require_POST
def revoke_serial(request: HttpRequest, pk: UUID) -> HttpResponse:
    """By serial number, or with `release` take a hold back."""
    row = _authority(request, pk)
    form = SerialForm(request.POST)
    if form.is_valid():
        given, actor = form.cleaned_data, actor_of(request)
        if "release" in request.POST:
            done = form.attempt(lambda: serial_release(row, given["serial"], actor=actor))
            words = "is released"
        else:
            done = form.attempt(lambda: serial_revoke(row, given["serial"], given["reason"], actor=actor))
            words = "is revoked"
        if done is not None:
            messages.success(request, f"{done.subject or 'The certificate'} (serial number {done.serial}) {words}.")
            return redirect("authority-publication", pk=pk)
    return _page(request, row, serial=form)


def _authority(request: HttpRequest, pk: UUID) -> Authority:
    return get_object_or_404(_seen(actor_of(request)), pk=pk)


def _page(
    request: HttpRequest,
    row: Authority,
    *,
    publish: PublishForm | None = None,
    life: LifeForm | None = None,
    serial: SerialForm | None = None,
) -> HttpResponse:
    context = {
        "authority": row,
        "publication": publication_shown(row),
        "falls": authority_falls(row),
        "publish_form": publish or PublishForm(offline=row.offline),
        "life_form": life or LifeForm(days=row.crl_days, offline=row.offline),
        "serial_form": serial or SerialForm(),
    }
    return render(request, "authorities/publication.html", context)
