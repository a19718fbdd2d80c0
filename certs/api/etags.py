"""Conditions of a request (RFC 9110 §13): strong tags of the content, so that nobody overwrites what they never saw."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.db.models import Model, QuerySet
from django.utils.http import parse_etags
from rest_framework.request import Request
from rest_framework.response import Response

from certs.api.problems import refuse

M = TypeVar("M", bound=Model)


def etag_of(document: Any) -> str:
    """Of what a reader sees; the same content has the same tag on every node."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=str)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def document_answer(request: Request, document: Any) -> Response:
    """With its tag; 304 where the reader has it already."""
    etag = etag_of(document)
    if request.method in {"GET", "HEAD"} and is_unchanged(request, etag):
        return Response(status=304, headers={"ETag": etag})
    return Response(document, headers={"ETag": etag})


def document_made(document: Any, path: str) -> Response:
    """201 with its tag, and where it is from now on."""
    return Response(document, status=201, headers={"ETag": etag_of(document), "Location": path})


def is_unchanged(request: Request, etag: str) -> bool:
    """If-None-Match of a reader: weak comparison, `*` is any."""
    given = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in given or etag in {each.removeprefix("W/") for each in given}


@contextmanager
def unchanged(request: Request, rows: QuerySet[M], told: Callable[[M], Any]) -> Iterator[M]:
    """The one row of `rows`, in a transaction: as the writer has read it (If-Match), and locked, so that of two writers
    who have read the same one is told that it has changed. Raises DoesNotExist, Refusal."""
    with transaction.atomic():
        row = row_locked(rows)
        if row is None:
            raise ObjectDoesNotExist
        match_require(request, etag_of(told(row)))
        yield row


def row_locked(rows: QuerySet[M]) -> M | None:
    """Inside a transaction: nobody else changes it until that ends."""
    own = rows.model._base_manager.select_for_update().filter(pk__in=rows.order_by().values("pk"))
    list(own.values_list("pk"))
    return rows.first()  # read after the lock: what another has changed meanwhile is seen


def match_require(request: Request, etag: str) -> None:
    """If-Match of a writer: strong comparison; "" is the tag of what is not there. Raises Refusal: 412 where it has
    another tag by now, 428 where the portal wants one (BINDERY_API_IF_MATCH) and none was sent."""
    header = request.headers.get("If-Match")
    if header is None:
        if settings.API_IF_MATCH and etag:
            raise refuse(
                428, "if-match", "This portal wants If-Match on every change.", advice="Send the ETag you read."
            )
        return
    if not etag or not {"*", etag} & set(parse_etags(header)):
        raise refuse(412, "changed", "It has changed since you read it.", advice="Read it again, then decide.")
