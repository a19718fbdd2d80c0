"""A certificate to another organization, by who may change it here and add it there."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from certs import selectors
from certs.domain.roles import Place, Right
from certs.forms.people import MoveForm
from certs.models import Certificate
from certs.services.access import access_of
from certs.services.organizations import certificate_move
from certs.views.access import actor_of, right_required


@right_required(Right.CERTIFICATE_CHANGE, of=selectors.certificates_visible_to)
@require_http_methods(["GET", "HEAD", "POST"])
def move(request: HttpRequest, pk: UUID) -> HttpResponse:
    actor = actor_of(request)
    row: Certificate = get_object_or_404(selectors.certificates_visible_to(actor), pk=pk)
    access = access_of(actor)
    organizations = [
        each
        for each in selectors.organizations_visible_to(actor)
        if each.pk != row.organization_id and access.may(Right.CERTIFICATE_ADD, Place(each.pk))
    ]
    accounts = selectors.accounts_usable(actor).filter(organization__in=organizations).select_related("organization")
    form = MoveForm(
        request.POST if request.method == "POST" else None,
        organizations=organizations,
        accounts=list(accounts) if row.account is not None else [],
    )
    if form.is_valid():
        form.attempt(lambda: certificate_move(row, form.chosen, account=form.chosen_account, actor=actor))
        if not form.errors:
            messages.success(request, f"{row.name} belongs to {form.chosen} now.")
            return redirect("certificate", pk=pk)
    context = {"certificate": row, "form": form, "organizations": organizations}
    return render(request, "certificates/move.html", context)
