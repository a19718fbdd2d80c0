"""Who may see and who may change: everybody who logged in sees, administrators change."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from certs.models import User

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def administrator_required(view: View[P]) -> View[P]:
    """Log-in page for the anonymous, 403 for everybody else who is no administrator."""

    @login_required
    @wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if not actor_of(request).is_superuser:
            raise PermissionDenied("This is for administrators.")
        return view(request, *args, **kwargs)

    return guarded


def actor_of(request: HttpRequest) -> User:
    """The person of a view that asked for a log-in."""
    if not isinstance(request.user, User):
        raise PermissionDenied("Nobody is logged in.")
    return request.user


def may_use_last(request: HttpRequest) -> bool:
    """Whether the person has confirmed that the last which a rate limit of the CA leaves may be spent."""
    return "use_last" in request.POST
