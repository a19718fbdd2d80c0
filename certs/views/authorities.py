"""Our own CAs: made, imported, renewed, retired; certificates issued from them; the profiles."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs import selectors
from certs.domain.constraints import constraints_of
from certs.domain.lint import LintRefused
from certs.domain.profiles import BUILT_IN
from certs.domain.roles import Right
from certs.domain.subjects import subject_text
from certs.forms.authorities import (
    AuthorityForm,
    ImportForm,
    IssueForm,
    ProfileForm,
    RenewForm,
    RetireForm,
    SignsForm,
    UnlockForm,
)
from certs.models import Authority, IssuanceProfile
from certs.services.access import may
from certs.services.authorities import (
    authority_change,
    authority_create,
    authority_import,
    authority_renew,
    authority_retire,
)
from certs.services.authority_keys import authority_above, authority_certificate
from certs.services.issued import authority_issue, authority_preview
from certs.services.pki import pki_base_url
from certs.services.profiles import profile_change, profile_create, profile_delete, profiles_all
from certs.services.reissue import certificate_reissue
from certs.services.search import Total
from certs.views.access import actor_of, right_required
from portal import clock

authority_required = right_required(Right.AUTHORITY, of=selectors.authorities_visible_to)


@right_required(Right.READ)
@require_safe
def authorities(request: HttpRequest) -> HttpResponse:
    moment = clock.now()
    rows = selectors.authorities_visible_to(actor_of(request)).select_related("certificate__authority__certificate")
    living = selectors.issued_living(moment)
    shown = [(row, Total.of(living.filter(authority=row))) for row in sorted(rows.defer("crl_der"), key=str)]
    context = {"authorities": shown, "base_url": pki_base_url(), "moment": moment}
    return render(request, "authorities/list.html", context)


@right_required(Right.READ)
@require_safe
def authority(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = _visible(request, pk)
    certificate = authority_certificate(row)
    constraints = constraints_of(certificate)
    profiles = profiles_all()
    context = {
        "authority": row,
        "certificate": row.certificate,
        "version": row.certificate.current,
        "above": [one.subject.rfc4514_string() for one in authority_above(row)],
        "constraints": constraints,
        "living": Total.of(selectors.issued_living(clock.now()).filter(authority=row)),
        "revoked": Total.of(row.issued.filter(not_after__gt=clock.now(), revoked_at__isnull=False)),
        "below": selectors.authorities_visible_to(actor_of(request)).filter(certificate__authority=row),
        "profiles": [profiles[name].label for name in row.profiles if name in profiles],
        "signs": SignsForm(initial={"profiles": row.profiles, "include_aia": row.include_aia}),
        "may_manage": may(actor_of(request), Right.AUTHORITY, row),
        "moment": clock.now(),
    }
    return render(request, "authorities/authority.html", context)


@right_required(Right.AUTHORITY)
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def authority_new(request: HttpRequest) -> HttpResponse:
    given = request.POST if request.method == "POST" else None
    form = AuthorityForm(given, authorities=_signing(request), initial={"parent": request.GET.get("parent", "")})
    if form.is_valid():
        made = form.attempt(
            lambda: authority_create(
                form.wish,
                parent=form.parent_row,
                passphrase=form.cleaned_data["passphrase"],
                parent_passphrase=form.cleaned_data["parent_passphrase"],
                crl_days=form.cleaned_data["crl_days"],
                actor=actor_of(request),
            )
        )
        if made is not None:
            messages.success(request, f"{made} was made, and its revocation list is signed.")
            return redirect("authority", pk=made.pk)
    return render(request, "authorities/new.html", {"form": form, "base_url": pki_base_url()})


@right_required(Right.AUTHORITY)
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def authority_take(request: HttpRequest) -> HttpResponse:
    form = ImportForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        given = form.cleaned_data
        made = form.attempt(
            lambda: authority_import(
                chain=given["chain"].encode(),
                key=given["key_text"].encode(),
                password=given["password"].encode() or None,
                passphrase=given["passphrase"],
                crl_days=given["crl_days"],
                actor=actor_of(request),
            )
        )
        if made is not None:
            messages.success(request, f"{made} was imported, and signs here from now on.")
            return redirect("authority", pk=made.pk)
    return render(request, "authorities/import.html", {"form": form, "base_url": pki_base_url()})


@right_required(Right.CERTIFICATE_ADD)
@sensitive_post_parameters("passphrase")
@require_http_methods(["GET", "POST"])
def issue(request: HttpRequest) -> HttpResponse:
    """Create a certificate from a CA: looked at first, where asked, and then signed."""
    rows = _signing(request)
    initial = {"authority": request.GET.get("authority", ""), "profile": request.GET.get("profile", "server")}
    posted = request.method == "POST"
    form = IssueForm(
        request.POST if posted else None, request.FILES if posted else None, authorities=rows, initial=initial
    )
    context = {"form": form, "authorities": rows, "profiles": profiles_all()}
    if form.is_valid():
        if "look" in request.POST:
            context |= _looked(form)
        else:
            made = form.attempt(
                lambda: authority_issue(
                    form.authority_row,
                    form.wish,
                    csr=form.csr,
                    passphrase=form.cleaned_data["passphrase"],
                    properties=form.properties,
                    auto_renew=form.cleaned_data["auto_renew"],
                    actor=actor_of(request),
                )
            )
            if made is not None:
                messages.success(request, f"{made.name} was signed by {form.authority_row}.")
                return redirect("certificate", pk=made.pk)
    return render(request, "authorities/issue.html", context)


@authority_required
@sensitive_post_parameters("passphrase")
@require_http_methods(["GET", "POST"])
def renew(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = _visible(request, pk)
    form = RenewForm(request.POST if request.method == "POST" else None)
    parent = row.certificate.authority
    if form.is_valid():
        given = form.cleaned_data
        made = form.attempt(
            lambda: authority_renew(
                row,
                days=given["days"] or 0,
                passphrase=given["passphrase"],
                parent_passphrase=given["passphrase"],
                actor=actor_of(request),
            )
        )
        if made is not None:
            messages.success(
                request, f"{row} is good until {made.not_after:%Y-%m-%d}. What it issued follows by turns."
            )
            return redirect("authority", pk=pk)
    signer = parent or row
    context = {"form": form, "authority": row, "signer": signer, "is_root": parent is None}
    return render(request, "authorities/renew.html", context)


@authority_required
@require_http_methods(["GET", "POST"])
def retire(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = _visible(request, pk)
    others = [one for one in _signing(request) if one.pk != row.pk]
    form = RetireForm(request.POST if request.method == "POST" else None, authorities=others)
    if form.is_valid():
        successor = form.authorities.get(form.cleaned_data["successor"])
        if form.attempt(lambda: authority_retire(row, successor=successor, actor=actor_of(request))):
            messages.success(request, f"{row} signs no certificates any more.")
            return redirect("authority", pk=pk)
    return render(request, "authorities/retire.html", {"form": form, "authority": row})


@authority_required
@require_POST
def signs(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = _visible(request, pk)
    form = SignsForm(request.POST)
    if form.is_valid():
        authority_change(row, actor=actor_of(request), **form.cleaned_data)
        messages.success(request, "Saved: it holds for what is signed from now on.")
    return redirect("authority", pk=pk)


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.certificates_visible_to)
@sensitive_post_parameters("passphrase")
@require_http_methods(["GET", "POST"])
def reissue(request: HttpRequest, pk: UUID) -> HttpResponse:
    """A new version now, of what our own CA signed or what signs itself."""
    row = get_object_or_404(selectors.certificates_visible_to(actor_of(request)), pk=pk)
    form = UnlockForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        passphrase = form.cleaned_data["passphrase"]
        version = form.attempt(lambda: certificate_reissue(row, passphrase=passphrase, actor=actor_of(request)))
        if version is not None:
            messages.success(request, f"{row.name} was renewed; it is good until {version.not_after:%Y-%m-%d}.")
            return redirect("certificate", pk=pk)
    return render(request, "authorities/reissue.html", {"form": form, "certificate": row})


@right_required(Right.READ)
@require_safe
def profiles(request: HttpRequest) -> HttpResponse:
    own = {row.name: row for row in IssuanceProfile.objects.all()}
    shown = [(profile, own.get(profile.name)) for profile in profiles_all().values()]
    return render(request, "authorities/profiles.html", {"profiles": shown})


@right_required(Right.AUTHORITY)
@require_http_methods(["GET", "POST"])
def profile_new(request: HttpRequest) -> HttpResponse:
    like = BUILT_IN.get(request.GET.get("like", "server"), BUILT_IN["server"])
    initial = {**ProfileForm.initial_of(like), "label": ""}
    form = ProfileForm(request.POST if request.method == "POST" else None, initial=initial)
    if form.is_valid():
        label = form.cleaned_data["label"]
        if form.attempt(lambda: profile_create(label, form.rules, actor=actor_of(request))):
            messages.success(request, f"The profile “{label}” was made.")
            return redirect("profiles")
    return render(request, "authorities/profile.html", {"form": form, "profile": None})


@right_required(Right.AUTHORITY)
@require_http_methods(["GET", "POST"])
def profile(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = get_object_or_404(IssuanceProfile, pk=pk)
    initial = ProfileForm.initial_of(profiles_all()[row.name])
    form = ProfileForm(request.POST if request.method == "POST" else None, initial=initial)
    if form.is_valid():
        label = form.cleaned_data["label"]
        if form.attempt(lambda: profile_change(row, label=label, rules=form.rules, actor=actor_of(request))):
            messages.success(request, "Saved: it holds for what is signed from now on.")
            return redirect("profiles")
    return render(request, "authorities/profile.html", {"form": form, "profile": row})


@right_required(Right.AUTHORITY)
@require_POST
def profile_remove(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = get_object_or_404(IssuanceProfile, pk=pk)
    profile_delete(row, actor=actor_of(request))
    messages.success(request, f"The profile “{row.label}” is gone.")
    return redirect("profiles")


def _looked(form: IssueForm) -> dict[str, object]:
    """What would be signed, and what the lint says; the refusal stands in the form as well."""

    def look() -> dict[str, object]:
        try:
            plan, findings = authority_preview(form.authority_row, form.wish, csr=form.csr)
        except LintRefused as refused:
            form.refuse(refused)
            return {"findings": refused.findings}
        return {"plan": plan, "findings": findings, "subject": subject_text(plan.subject)}

    return form.attempt(look) or {}


def _visible(request: HttpRequest, pk: UUID) -> Authority:
    rows = selectors.authorities_visible_to(actor_of(request)).defer("crl_der")
    return get_object_or_404(rows.select_related("certificate__authority", "responder__current", "successor"), pk=pk)


def _signing(request: HttpRequest) -> list[Authority]:
    rows = selectors.authorities_visible_to(actor_of(request)).filter(retired_at=None, certificate__deleted_at=None)
    return sorted(rows.defer("crl_der"), key=str)  # SQLite would read all certificates by name
