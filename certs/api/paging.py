"""Keyset pages: the next one begins after the last row seen, whatever was added or taken away meanwhile."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs.api.problems import refuse

SIZE, MOST = 50, 500
M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Page(Generic[M]):
    rows: Sequence[M]
    cursor: str  # of the next page; "" where there is none


@dataclass(frozen=True)
class Order:
    """Columns that together are unique, all in one direction, and how their text in a cursor is read."""

    columns: tuple[str, ...]
    readers: tuple[Callable[[str], Any], ...]
    descending: bool = False


BY_UUID = Order(("pk",), (UUID,))
BY_NUMBER = Order(("pk",), (int,))
NEWEST_NUMBER = Order(("pk",), (int,), descending=True)
NEWEST = Order(("created_at", "pk"), (datetime.fromisoformat, UUID), descending=True)


def size_of(request: Request) -> int:
    """Raises Refusal for what is no number from 1 to MOST."""
    text = request.query_params.get("size", "")
    if not text:
        return SIZE
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= MOST):
        raise refuse(400, "size", f"“size” must be a number from 1 to {MOST}.")
    return int(text)


def page_of(rows: QuerySet[M], request: Request, order: Order) -> Page[M]:
    limit, cursor = size_of(request), request.query_params.get("cursor", "")
    sign = "-" if order.descending else ""
    ordered = rows.order_by(*(sign + column for column in order.columns))
    if cursor:
        ordered = ordered.filter(_after(order, _cursor_read(cursor, order)))
    found = list(ordered[: limit + 1])
    more = len(found) > limit
    return Page(found[:limit], _cursor_write(found[limit - 1], order) if more else "")


@cache
def page_kind(kind: type[serializers.Serializer[Any]]) -> type[serializers.Serializer[Any]]:
    """What a list of `kind` answers, which is called …Document; the list is a …Page."""
    fields = {
        "items": kind(many=True),
        "next": serializers.CharField(allow_null=True, help_text="The address of the next page."),
    }
    return type(f"{kind.__name__.removesuffix('Document')}Page", (serializers.Serializer,), fields)


def page_answer(request: Request, items: Sequence[Any], cursor: str) -> Response:
    """`next` is the address of the next page, and in a Link header too (RFC 8288)."""
    address = None
    if cursor:
        query = request.query_params.copy()
        query["cursor"] = cursor
        address = f"{request.path}?{query.urlencode()}"
    response = Response({"items": items, "next": address})
    if address:
        response.headers["Link"] = f'<{address}>; rel="next"'
    return response


def _after(order: Order, values: Sequence[Any]) -> Q:
    """(a, b) > (x, y), written out for both databases."""
    sign, condition, equal = "lt" if order.descending else "gt", Q(), Q()
    for column, value in zip(order.columns, values, strict=True):
        condition |= equal & Q(**{f"{column}__{sign}": value})
        equal &= Q(**{column: value})
    return condition


def _cursor_write(row: Model, order: Order) -> str:
    values = [getattr(row, column) for column in order.columns]
    texts = [value.isoformat() if isinstance(value, datetime) else str(value) for value in values]
    return urlsafe_b64encode(json.dumps(texts).encode()).rstrip(b"=").decode()


def _cursor_read(cursor: str, order: Order) -> list[Any]:
    try:
        texts = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(texts, list) or not all(isinstance(text, str) and len(text) < 300 for text in texts):
            raise ValueError("no list of texts")
        values = [reader(text) for reader, text in zip(order.readers, texts, strict=True)]
        if any(isinstance(value, datetime) and value.tzinfo is None for value in values):
            raise ValueError("a time without a zone")
        if any(isinstance(value, int) and not 0 <= value < 2**63 for value in values):
            raise ValueError("no number of a row")
        return values
    except (ValueError, TypeError, RecursionError) as error:
        raise refuse(400, "cursor", "“cursor” is none of ours.", advice="Take it from `next`, as it is.") from error
