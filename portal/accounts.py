"""How people log in: by e-mail address and password, never by signing up."""

from allauth.account.adapter import DefaultAccountAdapter
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse


class ClosedAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Accounts are made by the one-time link and by administrators, never by signing up."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False


def admin_login(request: HttpRequest) -> HttpResponse:
    """The portal's log-in page for the anonymous; who is logged in and was sent here is no administrator."""
    if request.user.is_authenticated:
        raise PermissionDenied("This account may not use the administration.")
    return redirect_to_login(request.GET.get("next", reverse("admin:index")))
