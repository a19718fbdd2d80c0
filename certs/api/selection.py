"""Which certificates a list, or work on many, is about: the filters of the pages, under the same names."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from rest_framework import serializers

from certs import selectors
from certs.api.documents import by_id, rows_ready
from certs.api.fields import Flag, Query, Strict, words
from certs.api.problems import refuse
from certs.models import Certificate
from certs.services.access import Actor
from certs.services.bulk import MOST
from certs.services.filters import KINDS, SORTS, STATES, filters_read
from certs.services.search import certificates_keys, certificates_search


class Filter(Strict):
    q = serializers.CharField(required=False, max_length=255, help_text="A part of its name or of its domains.")
    domain = serializers.CharField(required=False, max_length=255, help_text="This domain and everything below it.")
    name = serializers.CharField(required=False, max_length=255, help_text="Exactly this domain or address.")
    tag = serializers.ListField(
        child=serializers.CharField(max_length=100), required=False, max_length=50, help_text="All of these."
    )
    issuer = serializers.CharField(required=False, max_length=255, help_text="The name of who signed it.")
    state = serializers.ChoiceField(required=False, choices=list(STATES))
    kind = serializers.ChoiceField(required=False, choices=list(KINDS))
    key_type = serializers.CharField(required=False, max_length=20, help_text="Such as ec-p256 or rsa-2048.")
    fingerprint = serializers.CharField(required=False, max_length=100, help_text="SHA-256 of any of its versions.")
    organization = serializers.UUIDField(required=False)
    department = serializers.UUIDField(required=False)
    authority = serializers.UUIDField(required=False, help_text="Which of our own signs it.")
    expires_before = serializers.CharField(required=False, max_length=40, help_text="A date, or a time with its zone.")
    expires_after = serializers.CharField(required=False, max_length=40)

    def get_fields(self) -> dict[str, Any]:
        # A name that a field of the library has of its own.
        sources = serializers.ChoiceField(required=False, choices=Certificate.Source.choices)
        return {**super().get_fields(), "source": sources}


class CertificateQuery(Filter, Query):
    sort = serializers.ChoiceField(required=False, choices=SORTS, help_text="By expiry where nothing is said.")


class Selection(Strict):
    """Exactly one of: ids, a filter, all."""

    ids = words(required=False, allow_empty=False, max_length=MOST)
    filter = Filter(required=False)
    all = Flag(required=False)


def certificates_found(actor: Actor, query: Mapping[str, Any]) -> tuple[list[Certificate], str]:
    """A page, ready to be told, and the cursor of the next one. Raises InputError."""
    found = certificates_search(actor, filters_read(query))
    keys = [row.pk for row in found.rows]
    rows = {row.pk: row for row in rows_ready(Certificate.objects.filter(pk__in=keys))}
    return [rows[key] for key in keys if key in rows], found.next


def certificates_selected(actor: Actor, selection: Mapping[str, Any]) -> list[UUID]:
    """Raises Refusal where it is not said which, or one of them is not there."""
    ids, wanted, everything = (selection.get(name) for name in ("ids", "filter", "all"))
    if sum(map(bool, (ids, wanted, everything))) != 1:
        raise refuse(400, "selection", "Say which: one of `ids`, `filter` and `all`.")
    return _by_ids(actor, ids) if ids else certificates_keys(actor, filters_read(wanted or {}), MOST + 1)


def _by_ids(actor: Actor, ids: Sequence[str]) -> list[UUID]:
    found: dict[UUID, None] = {}
    rows = selectors.certificates_visible_to(actor)
    for number, text in enumerate(ids):
        key = rows.filter(by_id(text)).values_list("pk", flat=True).first()
        if key is None:
            raise refuse(
                400,
                "not-found",
                f"There is no certificate “{text[:60]}”, or it is not yours to see.",
                pointer=f"/ids/{number}",
            )
        found[key] = None
    return list(found)
