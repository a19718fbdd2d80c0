"""Adding what people have: given, shown as recognised, saved. Key pairs, and requests for CAs outside."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import content_disposition_header
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs import selectors
from certs.domain.csr import csr_read
from certs.domain.errors import BinderyError
from certs.domain.roles import Right
from certs.forms.adding import CsrForm, GiveForm, ItemForm, KeyCsrForm, KeyPairForm, RenewalRequestForm
from certs.models import Certificate
from certs.services.downloads import file_base
from certs.services.intake import (
    Outcome,
    Preview,
    Verdict,
    intake_claim,
    intake_forget,
    intake_keep,
    intake_open,
    intake_read,
    intake_save,
)
from certs.services.signing_requests import (
    answer_find,
    keypair_create,
    request_create,
    request_for_key,
    request_renew,
    request_withdraw,
)
from certs.views.access import actor_of, right_required

_add = right_required(Right.CERTIFICATE_ADD)
_change = right_required(Right.CERTIFICATE_CHANGE, of=selectors.certificates_visible_to)


@_add
@sensitive_post_parameters("text", "password", "key_password")
@require_http_methods(["GET", "HEAD", "POST"])
def add(request: HttpRequest) -> HttpResponse:
    """Files or text; what is in them is shown on the next page."""
    actor = actor_of(request)
    form = GiveForm(request.POST, request.FILES) if request.method == "POST" else GiveForm()
    if form.is_valid():
        given = form.cleaned_data
        kept = form.attempt(
            lambda: intake_keep(intake_read(given["given"], given["passwords"], actor=actor), actor=actor)
        )
        if kept is not None:
            return redirect("certificate-add-preview", pk=kept.pk)
    return render(request, "certificates/add.html", {"form": form})


@_add
@require_http_methods(["GET", "HEAD", "POST"])
def preview(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What was recognised, and what to save of it."""
    actor = actor_of(request)
    try:
        shown = intake_open(pk, actor=actor)
    except BinderyError as error:
        messages.warning(request, str(error))
        return redirect("certificate-add")
    if request.method == "POST" and "cancel" in request.POST:
        intake_forget(pk, actor=actor)
        messages.info(request, "Nothing was saved.")
        return redirect("certificates")
    forms = [
        ItemForm(request.POST if request.method == "POST" else None, proposal=proposal) for proposal in shown.proposals
    ]
    valid = [form.is_valid() for form in forms]
    if request.method == "POST" and all(valid):
        return _saved(request, pk, shown, forms)
    return _preview_page(request, pk, shown, forms)


def _saved(request: HttpRequest, pk: UUID, shown: Preview, forms: list[ItemForm]) -> HttpResponse:
    actor = actor_of(request)
    chosen = [form.choice for form in forms if form.cleaned_data["save"] and form.can_be_saved]
    if not chosen:
        messages.error(request, "Nothing was chosen, so nothing was saved.")
        return _preview_page(request, pk, shown, forms)
    try:
        claimed = intake_claim(pk, actor=actor)
    except BinderyError as error:
        messages.warning(request, str(error))
        return redirect("certificates")
    outcomes = intake_save(claimed, chosen, actor=actor)
    for outcome in outcomes:
        if outcome.certificate is not None:
            messages.success(request, _words(outcome))
    if any(outcome.error for outcome in outcomes):
        return _again(request, claimed, outcomes)
    taken = {outcome.certificate.pk for outcome in outcomes if outcome.certificate}
    return redirect("certificate", pk=taken.pop()) if len(taken) == 1 else redirect("certificates")


def _again(request: HttpRequest, claimed: Preview, outcomes: list[Outcome]) -> HttpResponse:
    """Kept once more, with what was refused marked."""
    actor = actor_of(request)
    kept = intake_keep(claimed, actor=actor)
    shown = intake_open(kept.pk, actor=actor)
    forms = [ItemForm(request.POST, proposal=proposal) for proposal in shown.proposals]
    for outcome in outcomes:
        if outcome.error is not None:
            forms[outcome.proposal.number].refuse(outcome.error)
    return _preview_page(request, kept.pk, shown, forms)


def _words(outcome: Outcome) -> str:
    name = outcome.certificate.name if outcome.certificate else ""
    said = {
        Verdict.SAME: f"{name} was here already.",
        Verdict.KEY: f"{name} has its key now.",
        Verdict.VERSION: f"{name} has a new version, which is in use from now on.",
        Verdict.ANSWER: f"{name} has its certificate: it fits the key.",
    }
    return said.get(outcome.verdict, f"{name} was checked and taken.")


def _preview_page(request: HttpRequest, pk: UUID, shown: Preview, forms: list[ItemForm]) -> HttpResponse:
    context = {
        "pk": pk,
        "preview": shown,
        "forms": forms,
        "can_save": any(form.can_be_saved for form in forms),
    }
    return render(request, "certificates/add_preview.html", context)


@_add
@require_safe
def upload(request: HttpRequest) -> HttpResponse:
    """Where uploads were made before; kept for bookmarks and documents."""
    return redirect("certificate-add", permanent=True)


@_add
@require_http_methods(["GET", "HEAD", "POST"])
def key_pair(request: HttpRequest) -> HttpResponse:
    form = KeyPairForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        key_type = form.cleaned_data["key_type"]
        made = form.attempt(
            lambda: keypair_create(key_type=key_type, properties=form.properties, actor=actor_of(request))
        )
        if made is not None:
            messages.success(request, f"{made.name} was made. Its private key is stored encrypted.")
            return redirect("certificate", pk=made.pk)
    return render(request, "certificates/key_pair.html", {"form": form})


@_add
@require_http_methods(["GET", "HEAD", "POST"])
def csr_new(request: HttpRequest) -> HttpResponse:
    form = CsrForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        made = form.attempt(
            lambda: request_create(
                hosts=form.host_list,
                subject=form.subject,
                key_type=form.cleaned_data["key_type"],
                properties=form.properties if form.properties.name else None,
                actor=actor_of(request),
            )
        )
        if made is not None:
            messages.success(request, "The key was made, and the request for the CA.")
            return redirect("certificate-csr", pk=made.pk)
    return render(request, "certificates/csr_new.html", {"form": form})


@_change
@sensitive_post_parameters("text", "password", "key_password")
@require_http_methods(["GET", "HEAD", "POST"])
def csr(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The request that waits for its answer: to be copied, loaded, answered. Where there is none, to make one."""
    row, actor = _visible(request, pk), actor_of(request)
    form = GiveForm(request.POST, request.FILES) if request.method == "POST" else GiveForm()
    if row.request_pem and form.is_valid():
        given = form.cleaned_data
        found = form.attempt(lambda: answer_find(row, given["given"], given["passwords"], actor=actor))
        if found is not None:
            kept = intake_keep(Preview((found,)), actor=actor)
            return redirect("certificate-add-preview", pk=kept.pk)
    return _csr_page(request, row, form=form)


def _csr_page(request: HttpRequest, row: Certificate, **forms: Any) -> HttpResponse:
    context = {
        "certificate": row,
        "asked": csr_read(row.request_pem.encode()) if row.request_pem else None,
        "form": GiveForm(),
        "renewal": RenewalRequestForm(),
        "for_key": KeyCsrForm(),
        **forms,
    }
    return render(request, "certificates/csr.html", context)


@_change
@require_safe
def csr_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = _visible(request, pk)
    if not row.request_pem:
        return redirect("certificate-csr", pk=pk)
    shown = content_disposition_header(as_attachment=True, filename=f"{file_base(row)}.csr") or "attachment"
    headers = {"Content-Disposition": shown}
    return HttpResponse(row.request_pem, content_type="application/pkcs10", headers=headers)


@_change
@require_POST
def csr_renew(request: HttpRequest, pk: UUID) -> HttpResponse:
    """A request for the next version of an uploaded certificate, or for a key pair."""
    row = _visible(request, pk)
    if row.current is None and row.key is not None:
        return _csr_for_key(request, row)
    form = RenewalRequestForm(request.POST)
    key_type = form.cleaned_data["key_type"] if form.is_valid() else ""
    try:
        request_renew(row, key_type=key_type, actor=actor_of(request))
        messages.success(request, "The request was made. What is in use stays until its answer comes.")
    except BinderyError as error:
        messages.error(request, str(error))
    return redirect("certificate-csr", pk=pk)


def _csr_for_key(request: HttpRequest, row: Certificate) -> HttpResponse:
    form = KeyCsrForm(request.POST)
    if form.is_valid():
        made = form.attempt(
            lambda: request_for_key(row, hosts=form.host_list, subject=form.subject, actor=actor_of(request))
        )
        if made is not None:
            messages.success(request, "The request was made for the key that is here.")
            return redirect("certificate-csr", pk=row.pk)
    return _csr_page(request, row, for_key=form)


@_change
@require_POST
def csr_withdraw(request: HttpRequest, pk: UUID) -> HttpResponse:
    try:
        request_withdraw(_visible(request, pk), actor=actor_of(request))
        messages.success(request, "The request was withdrawn. What is in use stays.")
    except BinderyError as error:
        messages.error(request, str(error))
    return redirect("certificate", pk=pk)


def _visible(request: HttpRequest, pk: UUID) -> Certificate:
    return get_object_or_404(
        selectors.certificates_visible_to(actor_of(request)).select_related("current", "key"), pk=pk
    )
