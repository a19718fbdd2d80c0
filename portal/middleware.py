"""What every request passes before a page is chosen: always-plain paths, the host, and the cookies of the scheme."""

import logging
import time
from collections.abc import Callable
from http.cookies import Morsel

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotFound
from django.middleware.csrf import CsrfViewMiddleware
from django.shortcuts import render
from django.urls import Resolver404, resolve

from certs.api.problems import Problem, is_for_program, problem_answer
from certs.domain.errors import NameRefused
from certs.services import addresses, links
from portal import plainhttp

UNKNOWN_HOST = Problem(
    400,
    "unknown-host",
    "The portal does not answer under this name.",
    "Ask it by a name of its own, or add this one: `manage.py allow_host`, or BINDERY_ALLOWED_HOSTS.",
)
GetResponse = Callable[[HttpRequest], HttpResponseBase]
log = logging.getLogger("bindery.web")


class PlainHttpPaths:
    """Answers the paths of `portal/plainhttp.py` before anything else may redirect, refuse or ask to log in."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not plainhttp.is_plain_http_path(request.path_info):
            return self.get_response(request)
        try:
            view, args, kwargs = resolve(request.path_info)
        except Resolver404:
            return HttpResponseNotFound("Not found.\n", content_type="text/plain")
        response: HttpResponse = view(request, *args, **kwargs)
        return response


class AcceptedHosts:
    """Shows pages only under the portal's own names; any other host gets a page that names the fix.

    The set is kept for two seconds per process, so that names take effect without a restart. Static files hold nothing
    of anyone and pass, so that the page has its looks. While no administrator exists every host passes: nothing
    but the set-up page is to be had then, and that needs the token.
    """

    KEEP_SECONDS = 2.0

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._hosts: frozenset[str] = frozenset()
        self._read_at = float("-inf")

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(settings.STATIC_URL):
            return self.get_response(request)
        header = request.META.get("HTTP_HOST", "") or request.META.get("SERVER_NAME", "")
        host = addresses.host_normalize(header)
        # A host that is not in the set is looked for once more: perhaps it has just been added.
        if self._accepts(host, self.KEEP_SECONDS) or self._accepts(host, 0):
            return self.get_response(request)
        if host and links.setup_is_open():
            return self.get_response(request)
        return self._refuse(request, host)

    def _accepts(self, host: str, keep: float) -> bool:
        if time.monotonic() - self._read_at > keep:
            # ALLOWED_HOSTS is "*" for Django's own check; the test runner adds its name there.
            named = frozenset(settings.ALLOWED_HOSTS) - {"*"}
            self._hosts, self._read_at = addresses.accepted_hosts() | named, time.monotonic()
        return addresses.host_is_accepted(host, self._hosts)

    @staticmethod
    def _refuse(request: HttpRequest, host: str) -> HttpResponse:
        log.warning("request refused: unknown host", extra={"host": host, "source": request.META.get("REMOTE_ADDR")})
        if is_for_program(request):
            return problem_answer(UNKNOWN_HOST, request=request)
        try:
            shown = addresses.host_parse(host)
        except NameRefused:
            shown = ""
        return render(request, "errors/host.html", {"host": shown}, status=400)


class OwnOrigins(CsrfViewMiddleware):
    """Django's check of forms, which takes the portal's own addresses for what they are behind a front as well.

    Where TLS ends in front and the portal does not know it (the set-up, say), a browser's Origin is https while the
    request is plain. https at the very host and port that the request names, and the public URL, are nobody else's.
    """

    def _origin_verified(self, request: HttpRequest) -> bool:
        if super()._origin_verified(request):  # type: ignore[misc]  # not in the stubs; tests pin it
            return True
        origin = request.META["HTTP_ORIGIN"]
        return origin in (f"https://{request.get_host()}", addresses.public_url())


class PersonalPages:
    """What a page shows belongs to who has logged in: no cache keeps it, nor the browser after the log-out."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response


class SecureCookies:
    """Keeps the cookies of HTTPS and of plain HTTP apart, and marks those of HTTPS Secure.

    Browsers know no ports in cookies and do not let http:// overwrite a Secure cookie of the same name (RFC 6265bis
    §5.7), so that a log-in on https://host:8443 would make one on http://host:8000 impossible. Over HTTPS every
    cookie is therefore called `__Host-…`, which a browser takes only from HTTPS; inside the portal it has its plain
    name.
    """

    PREFIX = "__Host-"

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        prefix = self.PREFIX if request.is_secure() else ""
        request.COOKIES = {
            name.removeprefix(prefix): value
            for name, value in request.COOKIES.items()
            if name.startswith(self.PREFIX) == bool(prefix)
        }
        response = self.get_response(request)
        if prefix:
            self._secure(response)
        return response

    def _secure(self, response: HttpResponseBase) -> None:
        for name in list(response.cookies):
            morsel: Morsel[str] = response.cookies.pop(name)
            attributes = {key: value for key, value in morsel.items() if value != "" and key not in ("domain", "path")}
            response.cookies[self.PREFIX + name] = morsel.value
            response.cookies[self.PREFIX + name].update({**attributes, "path": "/", "secure": True})
