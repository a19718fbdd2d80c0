"""Which certificates a list, or work on many, is about: the filters of the pages under the same names."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from certs import selectors
from certs.api.documents import rows_ready
from certs.api.fields import Query, Strict, words
from certs.models import Certificate
from certs.services.access import Actor


class Filters(Strict):
    q = serializers.CharField(required=False, max_length=255, help_text="Part of a name.")
    tag = serializers.CharField(required=False, max_length=100)


class CertificateQuery(Filters, Query):
    pass


class Selection(Strict):
    """Either ids or a filter; `all` is said by that word."""

    ids = words(required=False, max_length=10_000)
    filter = Filters(required=False)
    all = serializers.BooleanField(required=False)


def certificates_found(actor: Actor, query: dict[str, Any]) -> tuple[Sequence[Certificate], str]:
    rows = rows_ready(selectors.certificates_visible_to(actor))
    return list(rows[:50]), ""
