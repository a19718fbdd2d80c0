"""Configuration ➜ PKI addresses: where our own CAs publish, confirmed before the first of them signs."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from certs.domain.roles import Right
from certs.forms.pki import PkiAddressForm
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
from certs.services.pki_addresses import addresses_earlier, addresses_noted
from certs.services.pki_watch import pki_look
from certs.views.access import actor_of, portal_required, right_required


@portal_required
@require_http_methods(["GET", "HEAD", "POST"])
def pki_address(request: HttpRequest) -> HttpResponse:
    return _confirm(request) if request.method == "POST" else _page(request, _form())


@right_required(Right.SETTING)
@require_POST
def pki_check(request: HttpRequest) -> HttpResponse:
    pki_look()
    return redirect("pki-address")


@right_required(Right.SETTING)
def _confirm(request: HttpRequest) -> HttpResponse:
    """“Check” asks the typed address and stores nothing; “Confirm” asks it as well, and says what came of it."""
    form = _form(request)
    if form.is_valid():
        typed = form.cleaned_data["url"]
        if "check" in request.POST:
            form.attempt(lambda: pki_base_url_parse(typed))
            return _page(request, form, typed="" if form.errors else pki_base_url_parse(typed))
        known = form.cleaned_data.get("although_living", False)
        stored = form.attempt(lambda: pki_base_url_confirm(typed, although_living=known, actor=actor_of(request)))
        if stored is not None:
            pki_look()
            messages.success(request, f"From now on {stored} stands in what your CAs sign.")
            return redirect("pki-address")
    return _page(request, form)


def _form(request: HttpRequest | None = None) -> PkiAddressForm:
    url = pki_base_url()
    living = bool(url) and certificates_living().count > 0
    return PkiAddressForm(request.POST if request else None, url=url or pki_base_url_guess(), living=living)


def _page(request: HttpRequest, form: PkiAddressForm, *, typed: str = "") -> HttpResponse:
    url = pki_base_url()
    context = {
        "form": form,
        "url": url,
        "locked": bool(settings.PKI_BASE_URL),
        "living": certificates_living(),
        "address": addresses_noted(url)[-1] if url else None,
        "earlier": addresses_earlier(url) if url else [],
        "typed": typed,
        "seen": pki_base_url_check(typed) if typed else None,
        "warning": pki_base_url_warning(typed or url or pki_base_url_guess()),
    }
    return render(request, "configuration/pki.html", context)


def pki_shown() -> Shown:
    """Of the list of pages: what the last look at it told."""
    url = pki_base_url()
    if not url:
        return Shown("unknown", "to be confirmed before the first CA")
    address = addresses_noted(url)[-1]
    if not address.ok:
        return Shown("danger", f"{url} does not lead here") if address.ok is False else Shown("unknown", url)
    lost = [each.address.url for each in addresses_earlier(url) if each.address.ok is False]
    return Shown("warning", f"{lost[0]} does not lead here any more") if lost else Shown("ok", url)
