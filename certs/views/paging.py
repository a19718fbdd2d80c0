"""Numbered pages of what may be long. What may be a million and is searched has cursors: `services/search.py`."""

from functools import cached_property
from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet

from certs.services.search import COUNT_LIMIT


class Pages(Paginator):  # type: ignore[type-arg]  # the stubs' class takes no arguments at run time
    """Counts no further than the search does, and ends there: a count of all reads all."""

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        return self.object_list.order_by()[:COUNT_LIMIT].count()

    @property
    def in_all(self) -> str:
        return f"{self.count:,} or more" if self.count == COUNT_LIMIT else f"{self.count:,}"
