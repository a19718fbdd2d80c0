"""HTTP or HTTPS: the redirect of Force SSL and the HSTS header, as `services/https.py` decides."""

import logging
import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render

from certs.api.problems import Problem, is_for_program, problem_answer
from certs.services.addresses import host_normalize
from certs.services.https import HttpsPolicy, force_ssl_just_now, policy_read
from portal import loops
from portal.forwarded import handed_on_silently, silence_note
from portal.plainhttp import is_plain_http_path

log = logging.getLogger("bindery.web")
HTTPS_ONLY = Problem(
    403,
    "https-required",
    "This portal answers programs by HTTPS only. What was sent came in clear.",
    "Use https://, and give the program another token.",
)
HEADER = "Strict-Transport-Security"


class SchemePolicy:
    """Stands behind `PlainHttpPaths`; the paths of that table are left alone here too, whatever the order.

    The policy is read from the database at most once a second per process; but no page is given over plain HTTP
    before looking whether it is now to be redirected, so that who has just switched Force SSL on can try it at once.
    Only who is known to have come by plain HTTP is sent away: a listed proxy that does not say how is no reason to.
    """

    KEEP_SECONDS = 1.0

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self._policy = HttpsPolicy()
        self._read_at = float("-inf")

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if is_plain_http_path(request.path_info):
            return self.get_response(request)
        policy, cookies = self._current(self.KEEP_SECONDS), request.COOKIES
        if not request.is_secure():
            if not policy.redirect_to and force_ssl_just_now():
                policy = self._current(0)
            if policy.redirect_to and handed_on_silently(request):
                silence_note()
            elif policy.redirect_to and not (_circles(request) and request.path_info.startswith(settings.STATIC_URL)):
                return _redirect(request, policy.redirect_to) if not is_for_program(request) else _over_https(request)
        response = self.get_response(request)
        if request.is_secure() and loops.COOKIE in cookies:
            response.delete_cookie(loops.COOKIE)  # it arrived
        if policy.hsts_header and request.is_secure() and _host(request) == policy.hsts_host:
            response.headers[HEADER] = policy.hsts_header
        return response

    def _current(self, keep: float) -> HttpsPolicy:
        if time.monotonic() - self._read_at >= keep:
            self._policy, self._read_at = policy_read(), time.monotonic()
        return self._policy


def _circles(request: HttpRequest) -> bool:
    return loops.count(request.COOKIES) >= loops.MOST


def _redirect(request: HttpRequest, origin: str) -> HttpResponse:
    """307 and not to be stored: a permanent one would stay in browsers after Force SSL is switched off.

    A browser that was sent there again and again is told why it comes back, instead, on a page that has its looks.
    """
    if _circles(request):
        log.warning(
            "A browser comes back as plain HTTP however often it is sent to HTTPS: what ends TLS in front of the "
            "portal does not say so, or is not listed. See `manage.py tls_in_front`.",
            extra={"source": request.META.get("REMOTE_ADDR")},
        )
        # Without the path, which may be a link that works once.
        return render(request, "errors/loop.html", {"target": origin}, status=400)
    target = origin + request.get_full_path()
    answer = HttpResponse(status=307, headers={"Location": target, "Cache-Control": "no-store"})
    answer.set_cookie(
        loops.COOKIE, str(loops.count(request.COOKIES) + 1), max_age=loops.SECONDS, httponly=True, samesite="Lax"
    )
    return answer


def _over_https(request: HttpRequest) -> HttpResponse:
    """A program has no eyes for a redirect, and would send its token in clear each time; it is told at once."""
    if "Authorization" in request.headers:
        log.warning(
            "A program sent its token over plain HTTP, where others may read it. Have it ask by https, and give it "
            "another token.",
            extra={"source": request.META.get("REMOTE_ADDR")},
        )
    return problem_answer(HTTPS_ONLY, request=request)


def _host(request: HttpRequest) -> str:
    return host_normalize(request.META.get("HTTP_HOST", ""))
