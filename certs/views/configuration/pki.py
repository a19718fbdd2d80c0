"""Configuration ➜ PKI addresses: where our own CAs publish, confirmed before the first of them signs."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from certs.domain.roles import Right
from certs.forms.pki import PkiAddressForm
from certs.models import Authority
from certs.selectors import Shown
from certs.services.pki import (
    certificates_living,
    pki_base_url,
    pki_base_url_check,
    pki_base_url_confirm,
    pki_base_url_guess,
    pki_base_url_parse,
    pki_base_url_warning,
)
from certs.views.access import actor_of, portal_required, right_required


@portal_required
@require_http_methods(["GET", "HEAD", "POST"])
def pki_address(request: HttpRequest) -> HttpResponse:
    return _confirm(request) if request.method == "POST" else _page(request, _form())


@right_required(Right.SETTING)
def _confirm(request: HttpRequest) -> HttpResponse:
    """“Check” asks the address and stores nothing; “Confirm” asks it as well, and says what came of it."""
    form = _form(request)
    if form.is_valid():
        typed = form.cleaned_data["url"]
        if "check" in request.POST:
            form.attempt(lambda: pki_base_url_parse(typed))
            return _page(request, form, typed="" if form.errors else pki_base_url_parse(typed))
        known = form.cleaned_data.get("although_living", False)
        stored = form.attempt(lambda: pki_base_url_confirm(typed, although_living=known, actor=actor_of(request)))
        if stored is not None:
            messages.success(request, f"From now on {stored} stands in what your CAs sign.")
            return redirect("pki-address")
    return _page(request, form)


def _form(request: HttpRequest | None = None) -> PkiAddressForm:
    url = pki_base_url()
    living = bool(url) and certificates_living().count > 0
    return PkiAddressForm(request.POST if request else None, url=url or pki_base_url_guess(), living=living)


def _page(request: HttpRequest, form: PkiAddressForm, *, typed: str = "") -> HttpResponse:
    url = pki_base_url()
    asked = typed or ("" if form.errors else url)
    context = {
        "form": form,
        "url": url,
        "locked": bool(settings.PKI_BASE_URL),
        "living": certificates_living(),
        "asked": asked,
        "seen": pki_base_url_check(asked) if asked else None,
        "warning": pki_base_url_warning(asked or pki_base_url_guess()),
        "authorities": Authority.objects.exists(),
    }
    return render(request, "configuration/pki.html", context)


def pki_shown() -> Shown:
    """Of the list of pages: without asking the address."""
    url = pki_base_url()
    if url:
        return Shown("ok", url)
    return Shown("unknown", "to be confirmed before the first CA")
