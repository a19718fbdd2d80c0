"""How people log in: by e-mail address and password, never by signing up."""

from typing import ClassVar

from allauth.account.adapter import DefaultAccountAdapter
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse


class ClosedAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Accounts are made by the one-time link and by administrators, never by signing up."""

    error_messages: ClassVar[dict[str, str]] = {
        **DefaultAccountAdapter.error_messages,
        "too_many_login_attempts": "Too many failed attempts, so even the right password is refused for five minutes. "
        "Wait, then try again. Was it forgotten? manage.py changepassword on the portal's machine sets a new one.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False


def admin_login(request: HttpRequest) -> HttpResponse:
    """The portal's log-in page for the anonymous; who is logged in and was sent here is no administrator."""
    if request.user.is_authenticated:
        raise PermissionDenied("This account may not use the administration.")
    return redirect_to_login(request.GET.get("next", reverse("admin:index")))
