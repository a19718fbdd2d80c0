"""What clients ask about our own CAs: issuer, revocation list, OCSP. On plain HTTP, under any Host, for anybody.

`portal/plainhttp.py` keeps log-in, redirects and host check away. Nothing is written, and at most half of the threads
of a process are at this work: who asks too much is told to come later, and the pages stay there for people.
"""

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from hashlib import sha256
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseProblem
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils.http import http_date, parse_http_date_safe

from certs.domain.ocsp import (
    INTERNAL_ERROR,
    REQUEST_BYTES,
    TRY_LATER,
    OcspRefused,
    ocsp_path_read,
    ocsp_refusal,
)
from certs.services.ocsp import OcspAnswer, ocsp_answer
from certs.services.publication import authority_der, crl_published
from certs.views.errors import as_expected
from portal import clock

log = logging.getLogger("bindery.pki")
CERTIFICATE, LIST, RESPONSE = "application/pkix-cert", "application/pkix-crl", "application/ocsp-response"
_FRESH = 300  # seconds that a list may be kept on the way: the next one may tell more
_ISSUER_FRESH = 24 * 3600
_ROOM = threading.BoundedSemaphore(max(1, settings.WEB_THREADS // 2))
View = Callable[..., HttpResponse]


def _bounded(busy: Callable[[], HttpResponse]) -> Callable[[View], View]:
    """`busy` is what is said while there is no room, and where the database cannot be used."""

    def mark(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: object, **kwargs: object) -> HttpResponse:
            if not _ROOM.acquire(blocking=False):
                return busy()
            try:
                return view(request, *args, **kwargs)
            except DatabaseProblem:
                log.exception("the database cannot be used")
                return busy()
            finally:
                _ROOM.release()

        return guarded

    return mark


def _text_busy() -> HttpResponse:
    later = {"Retry-After": "10", "Cache-Control": "no-store"}
    return as_expected(
        HttpResponse("The portal cannot answer now.\n", content_type="text/plain", status=503, headers=later)
    )


def _ocsp_busy() -> HttpResponse:
    return _refused(TRY_LATER)


@_bounded(_text_busy)
def issuer(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The certificate of an authority, for those who complete a chain (RFC 5280 §4.2.2.1)."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    found = authority_der(pk)
    if found is None:
        return _none()
    return _given(request, found.der, CERTIFICATE, since=found.since, seconds=_ISSUER_FRESH)


@_bounded(_text_busy)
def crl(request: HttpRequest, pk: UUID) -> HttpResponse:
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    found = crl_published(pk)
    if found is None:
        return _none()
    left = int((found.next_update - clock.now()).total_seconds())
    return _given(request, found.der, LIST, since=found.this_update, seconds=max(0, min(_FRESH, left)))


@_bounded(_ocsp_busy)
def ocsp(request: HttpRequest, pk: UUID, asked: str = "") -> HttpResponse:
    """GET with the request in the path, or POST (RFC 6960 appendix A, RFC 5019 §5). Errors are OCSP answers, too."""
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    try:
        der = _posted(request) if request.method == "POST" else ocsp_path_read(asked)
        found = ocsp_answer(pk, der)
    except OcspRefused as error:
        return _refused(error.status)
    except DatabaseProblem:
        raise
    except Exception:  # the key ring is away, say: the client is told in its own language
        log.exception("an OCSP request could not be answered")
        return _refused(INTERNAL_ERROR)
    if found is None:
        return _none()
    if request.method == "POST" or not found.cacheable:
        return _plain(found.der)
    return _given(request, found.der, RESPONSE, since=found.produced_at, seconds=_left(found), more=", must-revalidate")


def _posted(request: HttpRequest) -> bytes:
    """The size is known before anything is read. Raises OcspRefused."""
    try:
        size = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        size = 0
    if not 0 < size <= REQUEST_BYTES:
        raise OcspRefused(f"A request has 1 to {REQUEST_BYTES} bytes.")
    try:
        return request.read(size)
    except OSError as error:  # it went away
        raise OcspRefused("The request did not come to its end.") from error


def _left(found: OcspAnswer) -> int:
    return max(0, int((found.next_update - clock.now()).total_seconds()))


def _refused(status: int) -> HttpResponse:
    return _plain(ocsp_refusal(status))


def _plain(der: bytes) -> HttpResponse:
    return HttpResponse(der, content_type=RESPONSE, headers={"Cache-Control": "no-store"})


def _none() -> HttpResponse:
    return HttpResponse("Not found.\n", content_type="text/plain", status=404, headers={"Cache-Control": "no-store"})


def _given(
    request: HttpRequest, der: bytes, kind: str, *, since: datetime, seconds: int, more: str = ""
) -> HttpResponse:
    etag = f'"{sha256(der).hexdigest()}"'
    headers = {
        "ETag": etag,
        "Last-Modified": http_date(since.timestamp()),
        "Expires": http_date((clock.real()).timestamp() + seconds),
        "Cache-Control": f"max-age={seconds}, public, no-transform{more}",
    }
    if _is_known(request, etag, since):
        return HttpResponse(status=304, headers=headers)
    if request.method == "HEAD":
        return HttpResponse(content_type=kind, headers={**headers, "Content-Length": str(len(der))})
    return HttpResponse(der, content_type=kind, headers=headers)


def _is_known(request: HttpRequest, etag: str, since: datetime) -> bool:
    """RFC 9110 §13.2.2: If-None-Match goes before If-Modified-Since."""
    wanted = request.META.get("HTTP_IF_NONE_MATCH")
    if wanted is not None:
        return wanted.strip() == "*" or etag in (word.strip().removeprefix("W/") for word in wanted.split(","))
    known = parse_http_date_safe(request.META.get("HTTP_IF_MODIFIED_SINCE", ""))
    return known is not None and int(since.timestamp()) <= known
