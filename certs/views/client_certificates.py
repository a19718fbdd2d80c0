"""Client certificates at the door: who was shown one that was revoked goes no further, and a log-in by one."""

import time
from collections.abc import Callable

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, logout
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from certs.domain.errors import NotAllowed
from certs.models import User
from certs.services.client_auth import (
    Presented,
    client_log_in,
    client_refuse_revoked,
    client_still_logs_in,
)
from certs.services.events import audit_record
from certs.views.setup import BACKEND

SESSION = "client_certificate"  # fingerprint of the one that began the session
KEEP_SECONDS = 5.0
_MOST = 1000


def presented_of(request: HttpRequest) -> Presented | None:
    """What this connection has shown; it comes from the listener itself, no header can say it."""
    der = getattr(request.META.get("gunicorn.socket"), "client_certificate", None)
    return Presented.of(der) if der else None


class ClientCertificates:
    """Stands behind the session and the log-in. A revoked certificate is told so and gets nothing; a session that was
    begun with a certificate lives only on connections that show it, as long as it would still log in.

    What is known of a certificate is kept for some seconds per process, so that a busy client costs no queries.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self._good: dict[str, float] = {}

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        presented = presented_of(request)
        if presented is not None and not self._known_good(presented):
            try:
                client_refuse_revoked(presented)
            except NotAllowed as error:
                return render(request, "errors/refused.html", {"error": error}, status=403)
            self._keep(presented)
        # Without a cookie nothing is asked, and what is public says nothing of cookies to caches.
        began = request.session.get(SESSION) if settings.SESSION_COOKIE_NAME in request.COOKIES else None
        if began and not (isinstance(request.user, User) and client_still_logs_in(presented, began, request.user)):
            logout(request)
            messages.warning(request, "You were logged out: this connection does not show your client certificate.")
        return self.get_response(request)

    def _known_good(self, presented: Presented) -> bool:
        return time.monotonic() - self._good.get(presented.fingerprint, float("-inf")) < KEEP_SECONDS

    def _keep(self, presented: Presented) -> None:
        if len(self._good) >= _MOST:
            self._good.clear()
        self._good[presented.fingerprint] = time.monotonic()


@never_cache
@require_POST
def log_in(request: HttpRequest) -> HttpResponse:
    """Log in as the person whom the connection's certificate names."""
    presented = presented_of(request)
    if presented is None:
        raise NotAllowed(
            "This connection shows no client certificate.",
            advice="Open the portal by HTTPS, choose your certificate when the browser asks, and try again.",
            code="no-client-certificate",
        )
    person = client_log_in(presented)
    login(request, person, backend=BACKEND)
    request.session[SESSION] = presented.fingerprint
    audit_record(person, "session.certificate", presented.fingerprint)
    target = request.POST.get("next", "")
    ours = target.startswith("/") and url_has_allowed_host_and_scheme(target, allowed_hosts=None)
    return redirect(target if ours else reverse("home"))
