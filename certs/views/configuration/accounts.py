"""Configuration ➜ CA accounts: each account at a CA, and what can be done about it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs import selectors
from certs.acme.directories import directory_label, is_test_directory
from certs.domain.ari import url_read
from certs.domain.budget import limit_written
from certs.domain.errors import AcmeFailure, BinderyError
from certs.domain.roles import Place, Right
from certs.forms.accounts import AccountForm, ContactsForm, EabForm, LimitsForm, StagingForm, TermsForm
from certs.forms.base import ConfirmForm, PortalForm
from certs.forms.people import WhereForm
from certs.models import AcmeAccount, AcmeDirectory, Organization, User
from certs.models.organization import DEFAULT_ORGANIZATION
from certs.selectors import Shown
from certs.services.access import access_of, rights_of
from certs.services.account_changes import (
    account_contacts,
    account_deactivate,
    account_register_now,
    account_rollover,
    account_staging,
    account_terms_accept,
    account_terms_new,
    account_trouble,
)
from certs.services.accounts import account_eab_store, account_get_or_create
from certs.services.ledger import limits_of, limits_own, limits_set
from certs.services.rehearsals import rehearsal_directory
from certs.views.access import actor_of, right_required


@right_required(Right.READ)
@require_safe
def accounts(request: HttpRequest) -> HttpResponse:
    rows = selectors.accounts_visible_to(actor_of(request))
    shown = [(row, directory_label(row.directory_url), account_shown(row)) for row in rows]
    return render(request, "configuration/accounts.html", {"rows": shown})


@right_required(Right.READ)
@require_safe
def account(request: HttpRequest, pk: UUID) -> HttpResponse:
    return _page(request, _row(request, pk))


@right_required(Right.ACCOUNT)
@require_http_methods(["GET", "HEAD", "POST"])
def account_new(request: HttpRequest) -> HttpResponse:
    data = request.POST if request.method == "POST" else None
    form, where = AccountForm(data), WhereForm(data, organizations=organizations_to_set_up(request))
    valid = form.is_valid() and where.is_valid() and form.read_ca()
    made = form.attempt(lambda: _make(request, form, where)) if valid else None
    if made is not None:
        _tell(request, made, lambda: account_register_now(made, actor=actor_of(request)), "is registered at its CA.")
        return redirect("ca-account", pk=made.pk)
    terms = form.info.terms_url if form.info else ""
    context = {"form": form, "where": where, "terms": terms, "terms_link": url_read(terms)}
    return render(request, "configuration/accounts_new.html", context)


def organizations_to_set_up(request: HttpRequest) -> list[Organization]:
    """Those for which the person may set up accounts and challenge methods, the default one first."""
    access = access_of(actor_of(request))
    found = selectors.organizations_visible_to(actor_of(request))
    rows = [row for row in found if access.may(Right.ACCOUNT, Place(row.pk))]
    return sorted(rows, key=lambda row: row.pk != DEFAULT_ORGANIZATION)


def _make(request: HttpRequest, form: AccountForm, where: WhereForm) -> AcmeAccount:
    given = form.cleaned_data
    return account_get_or_create(
        directory_url=form.url,
        email=given["email"].lower(),
        ca_bundle=given["ca_bundle"],
        allow_private=given["allow_private_ca"],
        terms_url=form.info.terms_url if form.info else "",
        eab=form.eab(),
        organization=where.chosen,
        actor=actor_of(request),
    )


@right_required(Right.ACCOUNT, of=selectors.accounts_visible_to)
@require_POST
def register(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = _row(request, pk)
    _tell(request, row, lambda: account_register_now(row, actor=actor_of(request)), "is registered at its CA.")
    return redirect("ca-account", pk=pk)


@right_required(Right.ACCOUNT, of=selectors.accounts_visible_to)
@require_POST
def rollover(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = _row(request, pk)
    try:
        done = account_rollover(row, actor=actor_of(request))
    except BinderyError as error:
        messages.error(request, str(error))
    else:
        if done:
            messages.success(request, "The account has a new key.")
        else:
            messages.info(request, "The new key is made. It takes over as soon as the orders under way have ended.")
    return redirect("ca-account", pk=pk)


@right_required(Right.ACCOUNT, of=selectors.accounts_visible_to)
@require_POST
def contacts(request: HttpRequest, pk: UUID) -> HttpResponse:
    row, form = _row(request, pk), ContactsForm(request.POST)
    return _change(
        request,
        row,
        form,
        lambda: account_contacts(row, form.cleaned_data["email"].lower(), actor=actor_of(request)),
        "The e-mail address was changed.",
    )


@right_required(Right.ACCOUNT, of=selectors.accounts_visible_to)
@require_POST
def terms(request: HttpRequest, pk: UUID) -> HttpResponse:
    row, form = _row(request, pk), TermsForm(request.POST)
    if form.is_valid() and form.cleaned_data["terms"] != account_terms_new(row):
        form.add_error(None, "The terms have changed since this page was shown. Read them again.")
    return _change(
        request,
        row,
        form,
        lambda: account_terms_accept(row, form.cleaned_data["terms"], actor=actor_of(request)),
        "The terms are accepted.",
    )


@right_required(Right.ACCOUNT, of=selectors.accounts_visible_to)
@require_POST
def eab(request: HttpRequest, pk: UUID) -> HttpResponse:
    row, form = _row(request, pk), EabForm(request.POST)

    def store() -> None:
        if (given := form.eab()) is not None:
            account_eab_store(row, given, actor=actor_of(request))

    return _change(request, row, form, store, "It is kept until the account is registered.")


@right_required(Right.ACCOUNT, of=selectors.accounts_visible_to)
@require_POST
def staging(request: HttpRequest, pk: UUID) -> HttpResponse:
    row, form = _row(request, pk), StagingForm(request.POST)
    return _change(
        request,
        row,
        form,
        lambda: account_staging(row, form.cleaned_data["staging"], actor=actor_of(request)),
        "The staging directory was changed.",
    )


@right_required(Right.ACCOUNT, of=selectors.accounts_visible_to)
@require_POST
def limits(request: HttpRequest, pk: UUID) -> HttpResponse:
    row, form = _row(request, pk), LimitsForm(request.POST)
    return _change(
        request,
        row,
        form,
        lambda: limits_set(row.directory_url, form.cleaned_data["limits"], actor=actor_of(request)),
        "The limits were changed.",
    )


@right_required(Right.ACCOUNT, of=selectors.accounts_visible_to)
@require_POST
def deactivate(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = _row(request, pk)
    form = ConfirmForm(request.POST, expected=directory_label(row.directory_url))
    return _change(
        request, row, form, lambda: account_deactivate(row, actor=actor_of(request)), "The account was given up."
    )


def accounts_shown(actor: User) -> Shown:
    """For the card on Configuration."""
    rows = list(selectors.accounts_visible_to(actor).filter(deactivated_at=None))
    if not rows:
        return Shown("unknown", "none yet")
    troubled = sum(1 for row in rows if account_trouble(row))
    if troubled:
        return Shown("warning", f"{troubled} of {len(rows)} with something to look at")
    labels = sorted({directory_label(row.directory_url) for row in rows})
    return Shown("ok", ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if labels[3:] else ""))


def account_shown(row: AcmeAccount) -> Shown:
    if row.deactivated_at is not None:
        return Shown("unknown", "given up")
    if trouble := account_trouble(row):
        return Shown("warning", trouble)
    return Shown("ok", "registered") if row.account_url else Shown("unknown", "registered with its first order")


def _row(request: HttpRequest, pk: UUID) -> AcmeAccount:
    return get_object_or_404(selectors.accounts_visible_to(actor_of(request)), pk=pk)


def _tell(request: HttpRequest, row: AcmeAccount, act: Callable[[], object], done: str) -> None:
    try:
        act()
    except BinderyError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{row} {done}")


def _change(
    request: HttpRequest, row: AcmeAccount, form: PortalForm, act: Callable[[], object], done: str
) -> HttpResponse:
    if row.deactivated_at is not None:
        messages.error(request, "This account was deactivated.")
        return redirect("ca-account", pk=row.pk)
    if form.is_valid():
        try:
            form.attempt(act)
        except AcmeFailure as error:
            form.refuse(error)
        if not form.errors:
            messages.success(request, done)
            return redirect("ca-account", pk=row.pk)
    row.refresh_from_db()
    return _page(request, row, form)


def _page(request: HttpRequest, row: AcmeAccount, form: PortalForm | None = None) -> HttpResponse:
    label = directory_label(row.directory_url)
    directory = AcmeDirectory.objects.filter(directory_url=row.directory_url).first()
    forms: dict[str, Any] = {
        "contacts_form": ContactsForm(initial={"email": row.email}),
        "eab_form": EabForm(),
        "staging_form": StagingForm(initial={"staging": directory.rehearsal_url if directory else ""}),
        "limits_form": LimitsForm(initial={"limits": "\n".join(map(limit_written, limits_own(row.directory_url)))}),
        "confirm": ConfirmForm(expected=label),
    }
    names = {
        ContactsForm: "contacts_form",
        EabForm: "eab_form",
        StagingForm: "staging_form",
        LimitsForm: "limits_form",
        ConfirmForm: "confirm",
    }
    if form is not None:
        forms[names.get(type(form), "terms_form")] = form
    terms_new = account_terms_new(row) if row.terms_agreed_at else ""
    context = {
        "account": row,
        "rights": rights_of(actor_of(request), row),
        "label": label,
        "is_test": is_test_directory(row.directory_url),
        "shown": account_shown(row),
        "certificates": row.certificates.filter(deleted_at=None).order_by("name")[:50],
        "directory": directory,
        "limits": [limit.text for limit in limits_of(row.directory_url)],
        "staging_now": rehearsal_directory(row),
        "terms_new": terms_new,
        "terms_link": url_read(terms_new),
        "accepted_link": url_read(row.terms_url),
        **forms,
    }
    return render(request, "configuration/account.html", context)
