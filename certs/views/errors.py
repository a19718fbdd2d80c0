"""Where a failure becomes a page: one table of statuses, and an id that the person can quote and the log knows."""

import logging
import secrets
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.http import url_has_allowed_host_and_scheme

from certs.domain.errors import (
    AcmeFailure,
    BinderyError,
    ConflictError,
    InputError,
    NotAllowed,
    SchemaError,
    ServingError,
    Unavailable,
)

R = TypeVar("R", bound=HttpResponseBase)
log = logging.getLogger("bindery.web")

# The first class that fits decides; anything else is a fault of ours.
STATUS: tuple[tuple[type[BinderyError], int], ...] = (
    (InputError, 400),
    (NotAllowed, 403),
    (ConflictError, 409),
    (AcmeFailure, 502),
    (SchemaError, 503),
    (ServingError, 503),
    (Unavailable, 503),
)


def status_of(error: BinderyError) -> int:
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


class ErrorPages:
    """Turns what a service refused into a page with cause, evidence and next step.

    A fragment that asks to go elsewhere (to log in again, mostly) makes the whole page go: htmx would put the other
    page's content into the fragment's place.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code == 302 and request.headers.get("HX-Request") and request.method == "GET":
            return HttpResponse(status=204, headers={"HX-Refresh": "true"})
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, BinderyError):
            return None
        status, quote = status_of(error), new_quote()
        log.log(
            logging.ERROR if status >= 500 else logging.INFO,
            "%s",
            error,
            extra={"error_id": quote, "code": error.code, "path": request.path, "status": status},
        )
        context = {"error": error, "quote": quote, "evidence": getattr(error, "problem", {}), "back": _back(request)}
        return render(request, "errors/refused.html", context, status=status)


def _back(request: HttpRequest) -> str:
    """The page of ours that the person came from; "" where it cannot be told."""
    came_from = request.headers.get("Referer", "")
    return came_from if url_has_allowed_host_and_scheme(came_from, {request.get_host()}) else ""


def as_expected(response: R) -> R:
    """Keeps Django from logging an answer such as 503 as a failure: it says what is so, and is asked every minute."""
    response._has_been_logged = True  # type: ignore[attr-defined]  # what Django's own log_response looks for
    return response


def new_quote() -> str:
    """An id to quote, short enough to be read over the phone."""
    return secrets.token_hex(4)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _page(request, 400, "errors/400.html", exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _page(request, 403, "errors/403.html", exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "errors/404.html", status=404)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    quote = new_quote()
    log.info("form refused: %s", reason, extra={"error_id": quote, "path": request.path})
    origin = urlsplit(request.headers.get("Origin", "")[:300])
    elsewhere = origin.netloc if origin.scheme and origin.netloc != request.get_host() else ""
    return render(request, "errors/csrf.html", {"quote": quote, "elsewhere": elsewhere}, status=403)


def server_error(request: HttpRequest) -> HttpResponse:
    """Rendered without the request: its session or the database may be what failed."""
    quote = new_quote()
    log.error("internal error", exc_info=True, extra={"error_id": quote, "path": request.path})
    return HttpResponse(render_to_string("errors/500.html", {"quote": quote}), status=500)


def _page(request: HttpRequest, status: int, template: str, exception: Exception) -> HttpResponse:
    quote = new_quote()
    log.info("%s", exception, extra={"error_id": quote, "path": request.path, "status": status})
    return render(request, template, {"quote": quote}, status=status)
