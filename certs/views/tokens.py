"""API tokens: one's own, and for an administrator everybody's. The secret of a new one is shown in this answer only."""

from functools import partial
from http import HTTPStatus
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from certs import selectors
from certs.domain.roles import Right
from certs.forms.people import TokenForm
from certs.models import ApiToken
from certs.selectors import Shown
from certs.services.access import may_hold_export
from certs.services.tokens import token_create, token_revoke, token_state
from certs.views.access import actor_of, right_required

_SHOWN = {
    "active": Shown("ok", "works"),
    "expired": Shown("unknown", "expired"),
    "revoked": Shown("unknown", "revoked"),
    "locked": Shown("warning", "its owner is locked out"),
}
_LISTED = 200


@right_required(Right.READ)
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    offered = partial(
        TokenForm, organizations=list(selectors.organizations_visible_to(actor)), may_export=may_hold_export(actor)
    )
    form = offered(request.POST if request.method == "POST" else None)
    made, secret = None, ""
    if form.is_valid():
        given = form.cleaned_data
        pair = form.attempt(
            lambda: token_create(
                given["name"],
                given["role"],
                organization=form.organization,
                department=form.department,
                tags=given["tags"],
                days=given["days"],
                can_export=given.get("can_export", False),
                actor=actor,
            )
        )
        if pair is not None:
            made, secret = pair
            form = offered()
    rows = selectors.tokens_visible_to(actor).order_by("revoked_at", "-created_at")[:_LISTED]
    context = {
        "form": form,
        "made": made,
        "secret": secret,
        "rows": [(row, _SHOWN[token_state(row)]) for row in rows],
    }
    return render(request, "account/tokens.html", context, status=HTTPStatus.CREATED if made else HTTPStatus.OK)


@right_required(Right.READ)
@require_POST
def revoke(request: HttpRequest, pk: UUID) -> HttpResponse:
    token: ApiToken = get_object_or_404(selectors.tokens_visible_to(actor_of(request)), pk=pk)
    token_revoke(token, actor=actor_of(request))
    messages.success(request, f"{token.name} is revoked: it opens nothing any more.")
    return redirect("tokens")
