"""All addresses of the portal. Of allauth's only those that are wanted: no sign-up, no mail."""

from typing import Any

from allauth.account import views as account
from django.contrib import admin
from django.urls import URLResolver, include, path
from django.urls.resolvers import RoutePattern
from django.utils.datastructures import MultiValueDict
from django.views.generic import TemplateView

from certs.views import client_certificates
from portal import accounts


class WhenAsked(URLResolver):
    """Its addresses are imported by the first request for one of them, not by every start; they have no names."""

    reverse_dict: Any = MultiValueDict()
    namespace_dict: Any = {}
    app_dict: Any = {}

    def _populate(self) -> None:
        """What would read them all, for the sake of their names."""


urlpatterns = [
    # The admin's own log-in page would pass by the throttle.
    path("admin/login/", accounts.admin_login),
    path("admin/", admin.site.urls),
    path("accounts/login/", account.login, name="account_login"),
    path("accounts/certificate/", client_certificates.log_in, name="certificate-log-in"),
    path("accounts/logout/", account.logout, name="account_logout"),
    path("accounts/inactive/", account.account_inactive, name="account_inactive"),
    path("accounts/password/change/", account.password_change, name="account_change_password"),
    path("accounts/password/set/", account.password_set, name="account_set_password"),
    path(
        "accounts/password/reset/",
        TemplateView.as_view(template_name="account/password_reset.html"),
        name="account_reset_password",
    ),
    WhenAsked(RoutePattern("api/"), "certs.api.urls"),
    path("", include("certs.views.urls")),
]

handler400 = "certs.views.errors.bad_request"
handler403 = "certs.views.errors.forbidden"
handler404 = "certs.views.errors.not_found"
handler500 = "certs.views.errors.server_error"
