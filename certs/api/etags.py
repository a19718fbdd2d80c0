"""Conditions of a request (RFC 9110 §13): strong tags of the content, so that nobody overwrites what they never saw."""

import hashlib
import json
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.http import parse_etags

from certs.api.problems import refuse


def etag_of(document: Any) -> str:
    """Of what a reader sees; the same content has the same tag on every node."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=str)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def is_unchanged(request: HttpRequest, etag: str) -> bool:
    """If-None-Match of a reader: weak comparison, `*` is any."""
    given = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in given or etag in {each.removeprefix("W/") for each in given}


def match_require(request: HttpRequest, etag: str) -> None:
    """If-Match of a writer: strong comparison. Raises Refusal: 412 where it has another tag by now, 428 where the
    portal wants one (BINDERY_API_IF_MATCH) and none was sent."""
    header = request.headers.get("If-Match")
    if header is None:
        if settings.API_IF_MATCH:
            raise refuse(
                428, "if-match", "This portal wants If-Match on every change.", advice="Send the ETag you read."
            )
        return
    given = parse_etags(header)
    if "*" not in given and etag not in given:
        raise refuse(412, "changed", "It has changed since you read it.", advice="Read it again, then decide.")


def is_conditional(request: HttpRequest) -> bool:
    return "If-Match" in request.headers or bool(settings.API_IF_MATCH)
