"""Idempotency-Key on every POST: a lost answer can be asked for again without doing anything twice.

A file (an export) may hold a private key, so it is not kept: the same request makes it anew. Such a POST changes
nothing, and each is an audit event.
"""

import hashlib
import json
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from django.http import HttpResponseBase
from django.utils.crypto import salted_hmac
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from certs.api.problems import refuse
from certs.services.idempotency import (
    Answer,
    KeyReused,
    idempotency_keep,
    idempotency_release,
    idempotency_take,
)

if TYPE_CHECKING:
    from certs.api.base import Endpoint

HEADER = "Idempotency-Key"
LONGEST = 255
_KEPT_HEADERS = ("Location", "ETag", "Retry-After")
Handler = Callable[..., HttpResponseBase]


def idempotent(handler: Handler) -> Handler:
    """Around what a POST does. Without the header nothing is kept."""

    @wraps(handler)
    def once(endpoint: "Endpoint", request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        key = request.headers.get(HEADER)
        if key is None:
            return handler(endpoint, request, *args, **kwargs)
        if not 0 < len(key) <= LONGEST or not key.isprintable():
            raise refuse(400, "idempotency-key", f"{HEADER} must have 1 to {LONGEST} printable characters.")
        caller = endpoint.caller
        try:
            known = idempotency_take(caller, key, _digest(request))
        except KeyReused as error:
            raise refuse(422, error.code, error.message, advice=error.advice) from error
        if known is not None and not known.body:
            return handler(endpoint, request, *args, **kwargs)
        if known is not None:
            replay = Response(json.loads(known.body), status=known.status)
            for name, value in known.headers.items():
                replay.headers[name] = value
            replay.headers["Idempotent-Replayed"] = "true"
            return replay
        try:
            response = handler(endpoint, request, *args, **kwargs)
        except BaseException:
            idempotency_release(caller, key)
            raise
        headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        idempotency_keep(caller, key, Answer(response.status_code, _kept(response), headers))
        return response

    return once


def _kept(response: HttpResponseBase) -> str:
    """What a repeated request is told; "" for a file. A handler whose answer has a secret in it sets `kept` to the same
    without it."""
    if not isinstance(response, Response):
        return ""
    return json.dumps(getattr(response, "kept", response.data), cls=JSONEncoder)


def _digest(request: Request) -> str:
    """An HMAC: what was sent may hold a password, which a plain hash would let others guess."""
    parts = [request.method or "", request.get_full_path()]
    if request.content_type.startswith("multipart/"):  # each try has another boundary
        given = request._request
        parts += [f"{name}={value}" for name in sorted(given.POST) for value in given.POST.getlist(name)]
        for name in sorted(given.FILES):
            for file in given.FILES.getlist(name):
                parts.append(f"{name}={hashlib.sha256(file.read()).hexdigest()}")
                file.seek(0)
    else:
        parts.append(json.dumps(request.data, sort_keys=True))
    return salted_hmac("bindery.idempotency", "\0".join(parts), algorithm="sha256").hexdigest()
