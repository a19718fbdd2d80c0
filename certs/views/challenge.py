"""The answer to a CA's http-01 challenge (RFC 8555 §8.3), and to our own probe of the same path."""

import logging
import re

from django.db import Error as DatabaseProblem
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed

from certs.services.challenges import challenge_answer
from certs.services.reachability import probe_answer

log = logging.getLogger("bindery.challenge")
_TOKEN = re.compile(r"[A-Za-z0-9_.-]{1,512}")


def acme_challenge(request: HttpRequest, token: str) -> HttpResponse:
    """Any Host, no log-in, plain text; every request is logged, found or not."""
    response = _answer(request, token)
    log.info(
        "challenge request",
        extra={
            "source": request.META.get("REMOTE_ADDR", ""),
            "host": request.META.get("HTTP_HOST", "")[:255],
            "path": request.path_info[:512],
            "status": response.status_code,
        },
    )
    return response


def _answer(request: HttpRequest, token: str) -> HttpResponse:
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    if not _TOKEN.fullmatch(token):
        return _text("No such challenge.\n", 404)
    try:
        answer = probe_answer(token) or challenge_answer(token)
    except DatabaseProblem:
        log.exception("the database cannot be used")
        return _text("The portal cannot answer now.\n", 503)
    return _text(answer, 200) if answer else _text("No such challenge.\n", 404)


def _text(body: str, status: int) -> HttpResponse:
    return HttpResponse(body, content_type="text/plain", status=status, headers={"Cache-Control": "no-store"})
