"""The certificates: list, one of them, and what can be done with it."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs import selectors
from certs.domain.ari import Suggestion
from certs.domain.names import is_address
from certs.domain.pem import certificates_read
from certs.domain.roles import Right
from certs.domain.wishes import Wish
from certs.forms.base import ConfirmForm
from certs.forms.certificates import RequestForm, SelfSignedForm
from certs.forms.issue_options import IssueOptionsForm
from certs.forms.store import FilterForm
from certs.models import AcmeDirectory, Authority, Certificate, CertificateVersion, Order
from certs.services import addresses, health
from certs.services.access import rights_of
from certs.services.authorities import authority_of
from certs.services.bindings import binding_set
from certs.services.certificate_changes import certificate_options_change
from certs.services.certificate_properties import certificate_tags
from certs.services.deletion import KEPT, certificate_delete, certificate_uses
from certs.services.filters import Filters
from certs.services.issue_options import issue_options_of
from certs.services.issuing import certificate_order, certificate_renew
from certs.services.ledger import budgets_shown
from certs.services.own_certificate import offer_settle
from certs.services.portal_state import state_get
from certs.services.rehearsals import rehearsal_ask, rehearsal_directory
from certs.services.reissue import is_signed_here
from certs.services.search import certificates_search
from certs.services.search_index import substring_index
from certs.services.self_issued import certificate_self_issue
from certs.services.version_history import version_use
from certs.views.access import actor_of, may_use_last, right_required


@right_required(Right.READ)
@require_safe
def certificates(request: HttpRequest) -> HttpResponse:
    form = FilterForm(request.GET)
    context: dict[str, Any] = {"form": form, "substring_index": substring_index()}
    if form.found is not None:
        page = form.attempt(lambda: certificates_search(actor_of(request), form.found or Filters()))
        if page is not None:
            context |= {
                "page": page,
                "rows": [(row, selectors.certificate_shown(row)) for row in page.rows],
                "sort": form.found.sort,
                "is_filtered": not form.found.is_empty,
            }
    return render(request, "certificates/list.html", context)


@right_required(Right.READ)
@require_safe
def certificate(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = _visible(request, pk)
    context = {
        "certificate": row,
        "rights": rights_of(actor_of(request), row),
        "shown": selectors.certificate_shown(row),
        "installed": health.certificate_installed(row),
        "bindings": list(row.bindings.all()),
        "versions": row.versions.defer("leaf_pem", "chain_pem").select_related("key")[:20],
        "orders": row.orders.all()[:10],
        "is_offered": state_get().import_offer_id == row.pk,
        "open_order": row.orders.filter(finished_at=None).first(),
        "bindable": [name for name in (row.current.names if row.current else []) if not is_address(name)],
        "tags": certificate_tags(row),
        "key_is_missing": selectors.key_is_missing(row, row.current.key if row.current else row.key),
        "uses": certificate_uses(row),
        "confirm": ConfirmForm(expected=row.name),
        "suggestion": Suggestion.from_json(row.ari),
        "budgets": budgets_shown(row.account, row.names, certificate=row) if row.account else [],
        "options": issue_options_of(row),
        "signed_here": is_signed_here(row),
        "has_ca": row.source == Certificate.Source.ACME or row.authority_id or _is_ours(row.current),
        "answers_for": Authority.objects.filter(responder=row).select_related("certificate").defer("crl_der").first(),
        "can_rehearse": row.account is not None and bool(rehearsal_directory(row.account)),
    }
    return render(request, "certificates/certificate.html", context)


def _is_ours(version: CertificateVersion | None) -> bool:
    """Whether one of our CAs signed it, wherever that was."""
    return version is not None and authority_of(certificates_read(version.leaf_pem.encode())[0]) is not None


@right_required(Right.READ)
@require_safe
def served(request: HttpRequest, pk: UUID) -> HttpResponse:
    """A fragment: what handshakes with our own listener show just now."""
    row = _visible(request, pk)
    return render(request, "certificates/_served.html", {"served": health.certificate_served(row)})


@right_required(Right.CERTIFICATE_ADD)
@require_http_methods(["GET", "POST"])
def self_signed(request: HttpRequest) -> HttpResponse:
    form = SelfSignedForm(request.POST if request.method == "POST" else None, initial=_own_names(request))
    if form.is_valid():
        given = form.cleaned_data
        made = form.attempt(
            lambda: certificate_self_issue(
                Wish(
                    profile=given["profile"],
                    hosts=tuple(given["names"]),
                    days=given["days"],
                    key_type=given["key_type"],
                ),
                auto_renew=given["auto_renew"],
                actor=actor_of(request),
            )
        )
        if made is not None:
            messages.success(request, f"{made.name} was made. It is served once you bind it.")
            return redirect("certificate", pk=made.pk)
    return render(request, "certificates/self_signed.html", {"form": form})


@right_required(Right.CERTIFICATE_ADD)
@require_http_methods(["GET", "POST"])
def request_new(request: HttpRequest) -> HttpResponse:
    """A certificate from a CA for any names; the portal's own is asked for under Configuration."""
    form = RequestForm(request.POST if request.method == "POST" else None, actor=actor_of(request))
    if form.is_valid() and form.agree_volume():
        names = form.cleaned_data["names"]
        line = form.attempt(
            lambda: certificate_order(
                names,
                form.chosen_account,
                actor=actor_of(request),
                wanted=vars(form.issue_options),
                use_last=may_use_last(request),
            )
        )
        if line is not None and line.order is not None:
            return redirect("job", pk=line.order)
        if line is not None:
            messages.info(request, line.text)
            return redirect("certificate", pk=line.certificate)
    context = {"form": form, "profiles": _profiles(form), "has_accounts": bool(form.accounts)}
    return render(request, "certificates/request.html", context)


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.certificates_visible_to)
@require_http_methods(["GET", "POST"])
def options(request: HttpRequest, pk: UUID) -> HttpResponse:
    """How it is asked for from the next order on; what is in use stays."""
    row = _visible(request, pk)
    initial = IssueOptionsForm.issue_initial(issue_options_of(row))
    form = IssueOptionsForm(
        request.POST if request.method == "POST" else None, initial=initial, actor=actor_of(request)
    )
    if form.is_valid():
        changed = form.attempt(lambda: certificate_options_change(row, form.issue_options, actor=actor_of(request)))
        if changed is not None:
            messages.success(request, "Kept; the next order is made so." if changed else "Nothing was changed.")
            return redirect("certificate", pk=pk)
    context = {"form": form, "certificate": row, "profiles": _profiles(form, row)}
    return render(request, "certificates/options.html", context)


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.certificates_visible_to)
@require_POST
def rehearse(request: HttpRequest, pk: UUID) -> HttpResponse:
    return redirect("job", pk=rehearsal_ask(_visible(request, pk), actor=actor_of(request)).pk)


@right_required(Right.BIND, of=selectors.certificates_visible_to)
@require_POST
def bind(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Let it answer by default (`server_name` empty) or for one of its names."""
    row = _visible(request, pk)
    binding = binding_set(request.POST.get("server_name", ""), row, actor=actor_of(request))
    _settle_offer(row)
    messages.success(
        request, f"{row.name} is bound: {binding.server_name or 'default'}. Every process follows within seconds."
    )
    return redirect("certificate", pk=pk)


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.certificates_visible_to)
@require_POST
def renew(request: HttpRequest, pk: UUID) -> HttpResponse:
    return redirect("job", pk=_renewed(request, pk).pk)


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.certificates_visible_to)
@require_POST
def leave(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The certificate found in the data directory is kept, but not bound; it is not offered again."""
    row = _visible(request, pk)
    _settle_offer(row)
    messages.success(request, f"{row.name} is kept; what is bound stays bound.")
    return redirect("certificate", pk=pk)


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.certificates_visible_to)
@require_POST
def use_version(request: HttpRequest, pk: UUID, version: UUID) -> HttpResponse:
    """Go back (or forward) to a version that was kept."""
    row = _visible(request, pk)
    version_use(row, get_object_or_404(row.versions, pk=version), actor=actor_of(request))
    messages.success(request, f"{row.name} uses this version now. Every process follows within seconds.")
    return redirect("certificate", pk=pk)


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.certificates_visible_to)
@require_POST
def delete(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = _visible(request, pk)
    form = ConfirmForm(request.POST, expected=row.name)
    if not form.is_valid():
        messages.error(request, f"Nothing was deleted: type {row.name} to confirm.")
        return redirect("certificate", pk=pk)
    certificate_delete(row, actor=actor_of(request))
    messages.success(request, f"{row.name} was deleted. It can be restored for {KEPT.days} days.")
    return redirect("certificates")


def _renewed(request: HttpRequest, pk: UUID) -> Order:
    return certificate_renew(_visible(request, pk), actor=actor_of(request), use_last=may_use_last(request))


def _visible(request: HttpRequest, pk: UUID) -> Certificate:
    return get_object_or_404(selectors.certificates_visible_to(actor_of(request)).prefetch_related("bindings"), pk=pk)


def _settle_offer(row: Certificate) -> None:
    if state_get().import_offer_id == row.pk:
        offer_settle()


def _own_names(request: HttpRequest) -> dict[str, str]:
    """The host of this request first: it is the name that this person's browser will look for."""
    here = addresses.host_normalize(request.get_host())
    return {"names": ", ".join(dict.fromkeys([here, addresses.https_host()]))}


def _profiles(form: IssueOptionsForm, row: Certificate | None = None) -> dict[str, str]:
    """What the directories said when they were last asked; only to help with the typing."""
    urls = {account.directory_url for account in ([row.account] if row and row.account else form.accounts.values())}
    found: dict[str, str] = {}
    for directory in AcmeDirectory.objects.filter(directory_url__in=urls):
        found |= directory.profiles
    return found
