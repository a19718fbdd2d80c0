"""GET of a list, the same way for every resource: what may be asked, which rows that means, and pages of them."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs.api.fields import Query, query_read
from certs.api.paging import NEWEST, Order, page_answer, page_kind, page_of
from certs.api.schema import operation

M = TypeVar("M", bound=Model)
Handler = Callable[..., Response]
Given = Mapping[str, Any]  # the query, as it was read


def listing(
    name: str,
    summary: str,
    kind: type[serializers.Serializer[Any]],
    told: Callable[[M], dict[str, Any]],
    *,
    tag: str = "certificates",
    query: type[Query] = Query,
    order: Order = NEWEST,
    description: str = "",
) -> Callable[[Callable[..., QuerySet[M]]], Handler]:
    """On a `get` that says which rows are meant: it is given the query as it was read, and what the path holds.

        @listing("token_list", "List tokens", TokenDocument, token_document, tag="tokens")
        def get(self, given: Given) -> QuerySet[ApiToken]:
            return selectors.tokens_visible_to(self.actor)

    `told` makes of a row what `kind` describes. `order` is that of the pages, the newest first where none is named.
    """

    def around(rows: Callable[..., QuerySet[M]]) -> Handler:
        @operation(name, summary, query=query, answers={200: page_kind(kind)}, tag=tag, description=description)
        @wraps(rows)
        def get(endpoint: Any, request: Request, **path: Any) -> Response:
            page = page_of(rows(endpoint, query_read(request, query), **path), request, order)
            return page_answer(request, [told(row) for row in page.rows], page.cursor)

        return get

    return around
