"""Which right each page asks for. What one may not see is not there (404); what one may see but not do is refused with
the role that it needs (403)."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from certs.domain.roles import Place, Right
from certs.models import User
from certs.services.access import PORTAL, require

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def right_required(
    right: Right, of: Callable[[User], QuerySet[Any]] | Place | None = None
) -> Callable[[View[P]], View[P]]:
    """Log-in page for the anonymous, 403 for whoever has no such right.

    `of` says on what: the selector of what the person sees, of which the view's `pk` names one; a place; or nothing,
    where the right is held on anything at all, or as a whole for what concerns the whole portal.
    """

    def mark(view: View[P]) -> View[P]:
        @login_required
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            actor = actor_of(request)
            target = get_object_or_404(of(actor), pk=kwargs["pk"]) if callable(of) else of
            require(actor, right, target)
            return view(request, *args, **kwargs)

        guarded.right, guarded.of = right, of  # type: ignore[attr-defined]  # read by the test of all pages
        return guarded

    return mark


administrator_required = right_required(Right.SETTING)
# The portal's own pages: whoever sees what is the default organization's.
portal_required = right_required(Right.READ, of=PORTAL)


def actor_of(request: HttpRequest) -> User:
    """The person of a view that asked for a log-in."""
    if not isinstance(request.user, User):
        raise PermissionDenied("Nobody is logged in.")
    return request.user


def may_use_last(request: HttpRequest) -> bool:
    """Whether the person has confirmed that the last which a rate limit of the CA leaves may be spent."""
    return "use_last" in request.POST
