"""What leaves: a certificate or its key as a file, ready configuration for servers, and trust stores."""

from collections.abc import Callable
from itertools import groupby
from uuid import UUID

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs import selectors
from certs.domain.formats.base import Need, format_find, formats
from certs.domain.roles import Right
from certs.domain.snippets import AcmeFacts, Facts, snippets_for
from certs.forms.downloads import DownloadForm, TrustStoreForm
from certs.models import Certificate, CertificateVersion, User
from certs.services.certificate_changes import certificate_update
from certs.services.downloads import Download, download_make, downloads_offered, file_base, trust_store_make
from certs.views.access import actor_of, right_required

PAGE = 100
JKS = "truststore-jks"
_VERSIONS = 20


@right_required(Right.READ, of=selectors.certificates_visible_to)
@sensitive_post_parameters("password", "key_password", "suggested")
@require_http_methods(["GET", "HEAD", "POST"])
def export(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Every format with its options; a POST is answered with the file, which no cache keeps."""
    row = _visible(request, pk)
    version = _version(row, request.GET.get("version", ""))
    actor = actor_of(request)
    sent = None
    if request.method == "POST":
        sent = DownloadForm(format_find(request.POST.get("format", "")), request.POST)
        made = _made(
            sent,
            lambda form: download_make(
                version or row, form.wanted.id, form.values, actor=actor, file_name=request.GET.get("as", "")
            ),
        )
        if made is not None:
            return _file(made)
    offers = downloads_offered(version or row, actor=actor)
    chosen = sent.wanted.id if sent else request.GET.get("format", "")
    rows = [
        (offer, sent if sent and sent.wanted.id == offer.format.id else DownloadForm(offer.format)) for offer in offers
    ]
    context = {
        "certificate": row,
        "version": version or row.current,
        "versions": row.versions.defer("leaf_pem", "chain_pem")[:_VERSIONS],
        "groups": [(group.value, list(found)) for group, found in groupby(rows, lambda each: each[0].format.group)],
        "chosen": chosen,
    }
    return render(request, "certificates/export.html", context)


@right_required(Right.READ, of=selectors.certificates_visible_to)
@require_safe
def snippets(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Ready configuration for servers that are to use it."""
    row = _visible(request, pk)
    context = {"certificate": row, "snippets": snippets_for(_facts(row)) if row.current else []}
    return render(request, "certificates/snippets.html", context)


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.certificates_visible_to)
@require_POST
def expose(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Its public key is in the JWK Set from now on, or no longer."""
    row = _visible(request, pk)
    certificate_update(row, actor=actor_of(request), exposed=request.POST.get("exposed") == "yes")
    return redirect(reverse("certificate", args=[pk]) + "#export")


@right_required(Right.READ)
@sensitive_post_parameters("password", "suggested")
@require_http_methods(["GET", "HEAD", "POST"])
def trust_store(request: HttpRequest) -> HttpResponse:
    """A trust store of the CA certificates that the person chooses. “other” (a format) and “to” (a page of the list)
    are what the person goes to; what was ticked so far comes along."""
    actor, given = actor_of(request), request.POST
    found = _authorities(actor)
    form = TrustStoreForm(format_find(given.get("other") or given.get("format") or request.GET.get("format") or JKS))
    if request.method == "POST" and not {"other", "to"} & given.keys():
        form = TrustStoreForm(form.wanted, given)
        chosen = list(found.filter(pk__in=_ids(given.getlist("ca"))))
        made = _made(form, lambda form: trust_store_make(chosen, form.wanted.id, form.values, actor=actor))
        if made is not None:
            return _file(made)
    page = Paginator(found, PAGE).get_page(given.get("to") or given.get("page"))
    ticked, shown = _ids(given.getlist("ca")), {row.pk for row in page}
    context = {
        "page": page,
        "ticked": ticked,
        "ticked_elsewhere": [pk for pk in ticked if pk not in shown],
        "form": form,
        "kinds": [each for each in formats().values() if Need.TRUSTED in each.needs],
    }
    return render(request, "certificates/trust_store.html", context)


def _made(form: DownloadForm, make: Callable[[DownloadForm], Download]) -> Download | None:
    return form.attempt(lambda: make(form)) if form.is_valid() else None


def _file(made: Download) -> HttpResponse:
    headers = {
        "Content-Disposition": content_disposition_header(as_attachment=True, filename=made.name) or "attachment",
        "Cache-Control": "no-store",
    }
    return HttpResponse(made.data, content_type=made.media_type, headers=headers)


def _visible(request: HttpRequest, pk: UUID) -> Certificate:
    rows = selectors.certificates_visible_to(actor_of(request)).select_related("current__key", "key", "account")
    return get_object_or_404(rows, pk=pk)


def _version(row: Certificate, wanted: str) -> CertificateVersion | None:
    """One that is kept besides; None for the current one."""
    found = _ids([wanted])
    if not found or found[0] == row.current_id:
        return None
    return get_object_or_404(row.versions.select_related("key", "certificate"), pk=found[0])


def _ids(words: list[str]) -> list[UUID]:
    found = []
    for word in words:
        try:
            found.append(UUID(word))
        except ValueError:
            continue
    return found


def _authorities(actor: User) -> QuerySet[Certificate]:
    kept = CertificateVersion.objects.filter(is_ca=True).values("certificate")
    return selectors.certificates_visible_to(actor).filter(pk__in=kept, current__is_ca=True).order_by("name", "id")


def _facts(row: Certificate) -> Facts:
    account = row.account
    acme = AcmeFacts(account.directory_url, account.email, account.eab_kid, account.ca_bundle) if account else None
    version = row.current
    if version is None:
        return Facts(file_base(row), (), "", acme)
    return Facts(file_base(row), tuple(version.names), version.key_type, acme, version.is_ca)
