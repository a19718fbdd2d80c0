"""Check first: fragments with what a look before an order finds for a form as it is filled in. Nothing is stored."""

import json
from collections.abc import Sequence

from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from certs.domain.preflight import Finding, Level, findings_elsewhere, worst_level
from certs.domain.roles import Right
from certs.forms.certificates import RequestForm
from certs.forms.lets_encrypt import LetsEncryptForm
from certs.services.elsewhere import MOST_NAMES
from certs.services.issuing import CaChoice, preflight_ahead
from certs.services.listeners import listener_get
from certs.views.access import actor_of, administrator_required, right_required

# How a level is shown: the kind of its state, the heading when it is the worst, and the words beside each finding.
_SHOWN = {
    Level.OK: ("ok", "Nothing stands against it", "in order"),
    Level.UNKNOWN: ("unknown", "Not everything could be checked from here", "could not check"),
    Level.WARNING: ("warning", "Look at this first", "look at this"),
    Level.ERROR: ("danger", "The CA would probably refuse", "would fail"),
}


@administrator_required
@never_cache
@require_POST
def lets_encrypt_check(request: HttpRequest) -> HttpResponse:
    form = LetsEncryptForm(request.POST, request.FILES, listener=listener_get("https"))
    trouble = _trouble(form, ("dns_names", "directory", "directory_url", "ca_bundle", "ca_bundle_file"))
    if trouble:
        return _fragment(request, trouble=trouble)
    given = form.cleaned_data
    choice = CaChoice(
        directory_url=form.url,
        email=(given.get("email") or "").lower(),
        ca_bundle=given["ca_bundle"],
        allow_private=given["allow_private_ca"],
    )
    return _fragment(request, preflight_ahead(choice, given["dns_names"], method=form.method, method_kind=form.kind))


@right_required(Right.CERTIFICATE_ADD)
@never_cache
@require_POST
def request_check(request: HttpRequest) -> HttpResponse:
    form = RequestForm(request.POST, actor=actor_of(request))
    if trouble := _trouble(form, ("names", "account")):
        return _fragment(request, trouble=trouble)
    return _fragment(
        request,
        preflight_ahead(form.chosen_account, form.cleaned_data["names"], method=form.method, method_kind=form.kind),
    )


def _trouble(form: Form, names: Sequence[str]) -> str:
    """The first error of the fields that matter here; others may still be empty."""
    form.is_valid()
    return next((str(form.errors[name][0]) for name in names if name in form.errors), "")


def _fragment(request: HttpRequest, findings: Sequence[Finding] = (), *, trouble: str = "") -> HttpResponse:
    kind, heading, _ = _SHOWN[worst_level(findings)]
    elsewhere = findings_elsewhere(findings)[:MOST_NAMES]
    rows = [(*_SHOWN[one.level][::2], one) for one in findings]
    context = {
        "trouble": trouble,
        "kind": kind,
        "heading": heading,
        "telling": [row for row in rows if row[2].level != Level.OK],
        "in_order": [row for row in rows if row[2].level == Level.OK],
        "names_elsewhere": json.dumps({"name": elsewhere}) if elsewhere else "",
    }
    return render(request, "includes/findings.html", context)
