"""Configuration ➜ Let's Encrypt: the summary, the form behind Configure, and what follows Register."""

from dataclasses import replace
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs import selectors
from certs.acme.directories import KNOWN, directory_label
from certs.domain import states
from certs.domain.budget import Budget
from certs.domain.names import is_address
from certs.forms.lets_encrypt import OTHER, LetsEncryptForm, StopForm
from certs.models import AcmeAccount, Binding, Certificate, Order
from certs.services import addresses
from certs.services.container import addresses_are_published, container_here
from certs.services.elsewhere import Where, names_look
from certs.services.front_check import browser_warning_at
from certs.services.health import certificate_installed
from certs.services.issue_options import issue_options_of
from certs.services.issuing import budgets_ahead
from certs.services.ledger import budgets_shown
from certs.services.lets_encrypt import (
    lets_encrypt_register,
    lets_encrypt_renew,
    lets_encrypt_settle,
    lets_encrypt_stop,
)
from certs.services.listeners import listener_get, local_addresses
from certs.services.port80 import port_80_mend_here
from certs.services.portal_state import state_get
from certs.services.reachability import CHALLENGE_PATH
from certs.services.rehearsals import rehearsal_directory
from certs.views.access import actor_of, administrator_required, may_use_last, portal_required
from certs.views.activity import job_context
from certs.views.configuration.arriving import arrival_of, public_url_offer, rebind_awaiting, rebind_notice
from portal import clock

REAL = next(known for known in KNOWN.values() if not known.is_test)


@portal_required
@never_cache
@require_safe
def lets_encrypt(request: HttpRequest) -> HttpResponse:
    state = state_get()
    certificate = state.portal_certificate
    if certificate is None:
        bound = Binding.objects.filter(server_name="").select_related("certificate").first()
        return render(request, "configuration/lets_encrypt_start.html", {"bound": bound, "name": _own_name(request)})
    orders = selectors.orders_visible_to(actor_of(request)).filter(certificate=certificate)
    order = orders.exclude(rehearsal=True, finished_at__isnull=False).first()
    context = {
        "certificate": certificate,
        "version": certificate.current,
        "ca": directory_label(certificate.account.directory_url) if certificate.account else "",
        "replaces": state.portal_replaces,
        "bound": Binding.objects.filter(certificate=certificate).exists(),
        "installed": certificate_installed(certificate),
        "stop_form": StopForm(own=_own_certificates(request, certificate)),
        "real_ca": REAL.label,
        "can_rehearse": certificate.account is not None and bool(rehearsal_directory(certificate.account)),
        "budgets": _budgets(certificate),
        "offer": public_url_offer(request),
        **rebind_notice(request, addresses.host_of(certificate.names)),
        **_job(request, order),
        **_address(request, certificate),
    }
    return render(request, "configuration/lets_encrypt.html", context)


@administrator_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def configure(request: HttpRequest) -> HttpResponse:
    """The form; with POST the button Register. Nothing is stored before names, CA, terms and address are in order."""
    if request.method != "POST":
        return _form_page(request, LetsEncryptForm(initial=_initial(request), listener=listener_get("https")))
    form = LetsEncryptForm(request.POST, request.FILES, listener=listener_get("https"))
    if not form.is_valid() or not form.agree_volume() or not form.read_ca():
        return _form_page(request, form)
    if "anyway" not in request.POST and form.asks_port_80:
        given = form.cleaned_data
        looks = names_look(given["dns_names"], allow_private=given["allow_private_ca"])
        if unreached := [one for one in looks if not one.ok]:
            return _form_page(request, form, unreached)
    order = form.attempt(
        lambda: lets_encrypt_register(replace(form.wish(), use_last=may_use_last(request)), actor=actor_of(request))
    )
    return _form_page(request, form) if order is None else redirect("lets-encrypt")


@administrator_required
@require_POST
def terms(request: HttpRequest) -> HttpResponse:
    """A fragment: the terms of the CA that is chosen in the form just now, read from its directory. Stores nothing."""
    form = LetsEncryptForm(request.POST, listener=listener_get("https"))
    form.is_valid()  # fields that have nothing to do with the CA may still be empty
    trouble = next(
        (form.errors[name][0] for name in ("directory", "directory_url", "ca_bundle") if name in form.errors), ""
    )
    if not trouble:
        form.errors.clear()
        form.read_ca(ask_terms=False)
        trouble = next((str(messages_of[0]) for messages_of in form.errors.values()), "")
    given = form.cleaned_data
    ahead = budgets_ahead(form.url, given.get("email") or "", given.get("dns_names") or []) if form.url else []
    context = {**_terms_context(form), "trouble": trouble, "fragment": True, "budgets": ahead}
    return render(request, "configuration/_terms.html", context)


@portal_required
@never_cache
@require_safe
def watch(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Asked every second while an order is open. The page is loaded anew when it has ended, or when the listener
    began to answer at the address wished for and the page (`trial` is its query) does not show that yet."""
    order = selectors.orders_visible_to(actor_of(request)).filter(pk=pk).first()
    if order is None:
        raise Http404
    if order.finished_at is not None:
        lets_encrypt_settle()
    anew = order.finished_at is not None or (rebind_awaiting() is not None and "trial" not in request.GET)
    return HttpResponse(status=200, headers={"HX-Refresh": "true"}) if anew else HttpResponse(status=204)


@administrator_required
@require_POST
def renew(request: HttpRequest) -> HttpResponse:
    lets_encrypt_renew(actor=actor_of(request), use_last=may_use_last(request))
    return redirect("lets-encrypt")


@administrator_required
@require_POST
def stop(request: HttpRequest) -> HttpResponse:
    own = _own_certificates(request, state_get().portal_certificate)
    form = StopForm(request.POST, own=own)
    if not form.is_valid():
        messages.error(request, "Nothing was changed: choose what answers from now on.")
        return redirect("lets-encrypt")
    chosen = form.cleaned_data["instead"]
    instead = None
    if chosen not in (StopForm.KEEP, StopForm.PLACEHOLDER):
        instead = selectors.certificates_visible_to(actor_of(request)).get(pk=chosen)
    lets_encrypt_stop(instead=instead, keep=chosen == StopForm.KEEP, actor=actor_of(request))
    messages.success(request, "Stopped: the certificate is not renewed any more.")
    return redirect("lets-encrypt")


def _budgets(certificate: Certificate) -> list[Budget]:
    if certificate.account is None:
        return []
    return budgets_shown(certificate.account, certificate.names, certificate=certificate)


def _job(request: HttpRequest, order: Order | None) -> dict[str, object]:
    if order is None:
        return {}
    failed = order.state == states.FAILED
    return {**job_context(request, order), "open": order.finished_at is None, "failed": failed}


def _address(request: HttpRequest, certificate: Certificate) -> dict[str, object]:
    host = addresses.host_of(certificate.names)
    url = addresses.https_url(host)
    return {
        "https_url": url,
        "host": host,
        "arrived": arrival_of(request).origin == url,
        "warning": browser_warning_at(host, certificate.current),
    }


def _form_page(request: HttpRequest, form: LetsEncryptForm, unreached: list[Where] | None = None) -> HttpResponse:
    names: list[str] = []
    if form.is_bound:
        form.keep_file()
        names = form.cleaned_data.get("dns_names") or []
    name = names[0] if names else _own_name(request)
    context: dict[str, Any] = {
        "form": form,
        "other": OTHER,
        "name": name,
        "challenge_path": CHALLENGE_PATH,
        "unreached": unreached or [],
        "locked": addresses_are_published() or not listener_get("https").managed,
        **_terms_context(form),
        **_recipe(),
    }
    return render(request, "configuration/lets_encrypt_form.html", context)


def _terms_context(form: LetsEncryptForm) -> dict[str, object]:
    terms_url = form.info.terms_url if form.info else ""
    return {
        "ca": form.ca_label if form.url else "",
        "terms_url": terms_url,
        # A directory could name any kind of address: only those of the web become a link.
        "terms_is_link": terms_url.startswith(("https://", "http://")),
        "info": form.info,
    }


def _recipe() -> dict[str, object]:
    """What brings port 80 here, our own port, and an address under which other machines reach it."""
    plain, kind = listener_get("http"), container_here()
    own = next((one for one in local_addresses() if not one.startswith("127.") and one != "::1"), "127.0.0.1")
    return {
        "mend": port_80_mend_here(),
        "http_port": plain.port,
        "container": kind,
        "own_address": own,
        "upstream": f"[{own}]" if ":" in own else own,
    }


def _initial(request: HttpRequest) -> dict[str, object]:
    """What is configured, also where it failed; `?ca=real` asks for the same names from the real CA."""
    initial: dict[str, object] = {
        "directory": REAL.key,
        "dns_names": _own_name(request, example=False),
        "email": actor_of(request).email,
        "form_id": token_hex(16),
    }
    certificate = state_get().portal_certificate
    if certificate is not None:
        initial |= {"dns_names": ", ".join(certificate.names)} | _account(certificate.account)
        initial |= LetsEncryptForm.issue_initial(issue_options_of(certificate))
        initial |= _wished(Order.objects.filter(certificate=certificate).first())
    if request.GET.get("ca") == "real":
        initial |= {"directory": REAL.key, "directory_url": "", "ca_bundle": ""}
    return initial


def _account(account: AcmeAccount | None) -> dict[str, object]:
    if account is None:
        return {}
    known = next((key for key, one in KNOWN.items() if one.url == account.directory_url), OTHER)
    return {
        "directory": known,
        "directory_url": account.directory_url if known == OTHER else "",
        "ca_bundle": account.ca_bundle,
        "allow_private_ca": account.allow_private,
        "email": account.email,
    }


def _wished(order: Order | None) -> dict[str, object]:
    """Address and port of an order that did not come so far."""
    if order is None or order.state not in (states.FAILED, states.CANCELLED):
        return {}
    wished: dict[str, object] = {"ip_address": order.bind_address, "port": order.bind_port}
    return {name: value for name, value in wished.items() if value}


def _own_name(request: HttpRequest, *, example: bool = True) -> str:
    """The portal's name as far as it is known: of the public URL, else of this request; else an example or nothing."""
    hosts = (urlsplit(addresses.public_url()).hostname or "", addresses.host_normalize(request.get_host()))
    found = next((host for host in hosts if "." in host and not is_address(host)), "")
    return found or ("portal.example.com" if example else "")


def _own_certificates(request: HttpRequest, managed: Certificate | None) -> list[tuple[str, str]]:
    """Uploaded and self-signed ones that could answer now, the first of them by name."""
    found = (
        selectors.certificates_visible_to(actor_of(request))
        .exclude(source=Certificate.Source.ACME)
        .exclude(pk__in=selectors.responders())
        .filter(current__not_after__gt=clock.now(), current__key__isnull=False)
        .defer("current__leaf_pem", "current__chain_pem", "account__ca_bundle")
        .order_by("name", "id")[: selectors.OFFERED]
    )
    return [(str(one.pk), f"{one.name} ({one.get_source_display()})") for one in found if one != managed]
