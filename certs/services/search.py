"""Searching the store: one function for the page, the API and the command line, quick at a million certificates.

Each filter is a condition in two forms: what it lets through as a list of ids, and the same as a question about one
certificate. The one that lets the fewest through drives the query, as long as these are few enough to be sorted; the
others are asked about each of them. Where all let many through, the index of the sort order is walked instead and every
condition is asked on the way. Pages are cut by key, never by number (measured in `bench/search.py`).
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import (
    BooleanField,
    DateTimeField,
    Exists,
    F,
    Func,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextField,
    UUIDField,
    Value,
)
from django.db.models.expressions import RawSQL

from certs.domain.errors import InputError
from certs.domain.names import name_reversed
from certs.models import Certificate, CertificateName, CertificateTag, CertificateVersion
from certs.selectors import SOON, Viewer, certificates_visible_to
from certs.services.filters import Filters, name_stored
from portal import clock

COUNT_LIMIT = 10_000  # what is counted exactly, and what is sorted rather than walked
TRIGRAM_INDEX = "certs_name_trigram"  # made by migration 0006

# The column, and whether it may be empty: such rows have no end, so they come after all others.
_SORTS: dict[str, tuple[str, bool]] = {
    "name": ("name", False),
    "expiry": ("expires_at", True),
    "created": ("created_at", False),
    "issuer": ("issuer_name", False),
}


@dataclass(frozen=True)
class Total:
    """`is_exact` is off beyond what is counted: there are at least `number`."""

    number: int
    is_exact: bool

    def __str__(self) -> str:
        if self.is_exact:
            return f"{self.number:,}"
        return f"more than {COUNT_LIMIT:,}" if self.number >= COUNT_LIMIT else f"at least {self.number:,}"


@dataclass
class Found:
    """A page of certificates with current version, account and tags, without PEM; cursors are "" at either end."""

    rows: list[Certificate]
    next: str
    previous: str
    _search: "_Search" = field(repr=False)

    @cached_property
    def total(self) -> Total:
        """Of all pages; asked for only when it is looked at."""
        return self._search.total()


def certificates_search(actor: Viewer, filters: Filters) -> Found:
    """The page that the cursor names, the first without one. Raises InputError for a cursor that is none of ours."""
    search = _Search(actor, filters)
    cursor = _Cursor.read(filters.cursor, filters.sort)
    keys = search.keys(cursor, filters.size + 1)
    is_more, keys = len(keys) > filters.size, keys[: filters.size]
    backward = cursor is not None and cursor.backward
    if backward:
        keys.reverse()
    after, before = (cursor is not None, is_more) if backward else (is_more, cursor is not None)
    return Found(
        rows=_load(key for key, _ in keys),
        next=_Cursor.write(filters.sort, keys[-1], backward=False) if after and keys else "",
        previous=_Cursor.write(filters.sort, keys[0], backward=True) if before and keys else "",
        _search=search,
    )


@cache
def substring_index() -> bool:
    """Whether parts of names are found by an index; without it all names are read."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT 1 FROM sqlite_master WHERE name = %s", [TRIGRAM_INDEX])
        else:
            cursor.execute("SELECT 1 FROM pg_indexes WHERE indexname = %s", [TRIGRAM_INDEX])
        return cursor.fetchone() is not None


@dataclass(frozen=True)
class _Condition:
    """`ids` are those of certificates, some perhaps twice; `holds` asks the same of one certificate."""

    ids: QuerySet[Any, Any]
    holds: Q | Exists

    @cached_property
    def count(self) -> int:
        """Up to one more than COUNT_LIMIT."""
        return self.ids.order_by()[: COUNT_LIMIT + 1].count()


class _Search:
    def __init__(self, actor: Viewer, filters: Filters) -> None:
        self._sort = filters.sort.removeprefix("-")
        self._descending = filters.sort.startswith("-")
        self._column, self._nullable = _SORTS[self._sort]
        now = clock.now()
        self._conditions = [_of_rows(certificates_visible_to(actor)), *_conditions(filters, now)]
        span = _span(filters, now)
        self._range = Q()
        if span and self._sort == "expiry":
            self._range = span  # a range of the very index that is walked
        elif span:
            self._conditions.append(_of_rows(Certificate.objects.filter(span)))

    @cached_property
    def _driver(self) -> _Condition | None:
        """The condition that lets the fewest through, None where all let too many through."""
        fewest = min(self._conditions, key=lambda each: each.count)
        return fewest if fewest.count <= COUNT_LIMIT else None

    @cached_property
    def _filtered(self) -> QuerySet[Certificate]:
        found = Certificate.objects.filter(self._range)
        if self._driver is not None:
            found = found.filter(_is_among(self._driver.ids))
        return found.filter(*(each.holds for each in self._conditions if each is not self._driver))

    def keys(self, cursor: "_Cursor | None", limit: int) -> list[tuple[UUID, Any]]:
        """Ids with the value that they are sorted by, in the direction of the cursor."""
        backward = cursor is not None and cursor.backward
        descending = self._descending != backward
        parts = [Q()]
        if self._nullable:
            parts = [Q(**{f"{self._column}__isnull": False}), Q(**{f"{self._column}__isnull": True})]
            if descending:
                parts.reverse()
        found: list[tuple[UUID, Any]] = []
        for number, part in enumerate(parts):
            rows, beyond = self._filtered.filter(part), Q()
            sorts_by_id = self._nullable and number == (0 if descending else 1)
            if cursor is not None:
                is_of_part = not self._nullable or (cursor.value is None) == sorts_by_id
                if not is_of_part and number == 0:
                    continue  # the cursor stands behind this part
                if is_of_part:
                    beyond = _beyond(None if sorts_by_id else self._column, cursor, descending=descending)
            rows = rows.filter(beyond) if beyond else rows
            columns = ["pk"] if sorts_by_id else [self._column, "pk"]
            rows = rows.order_by(*(self._order(column, descending=descending) for column in columns))
            found += rows.values_list("pk", self._column)[: limit - len(found)]
            if len(found) >= limit:
                break
        return found

    def total(self) -> Total:
        if self._driver is not None or self._range:
            number = self._filtered.order_by()[: COUNT_LIMIT + 1].count()
            return Total(min(number, COUNT_LIMIT), number <= COUNT_LIMIT)
        if len(self._conditions) == 1:
            return Total(COUNT_LIMIT, is_exact=False)
        # All let many through: of the first of one, those that meet the others too.
        first, *others = sorted(self._conditions, key=lambda each: each.count)
        some = Certificate.objects.filter(_is_among(first.ids.order_by()[: COUNT_LIMIT + 1]))
        return Total(some.filter(*(each.holds for each in others)).count(), is_exact=False)

    def _order(self, column: str, *, descending: bool) -> Any:
        # A plus keeps SQLite from walking the index of the sort order where the few that fit are known.
        bare = self._driver is not None and connection.vendor == "sqlite"
        name: Any = Func(F(column), template="+%(expressions)s") if bare else F(column)
        return name.desc() if descending else name.asc()


@dataclass(frozen=True)
class _Cursor:
    """The row before the page (behind it, where the page is left backwards): what it is sorted by, and its id."""

    value: Any
    key: UUID
    backward: bool

    @staticmethod
    def write(sort: str, row: tuple[UUID, Any], *, backward: bool) -> str:
        key, value = row
        shown = value.isoformat() if isinstance(value, datetime) else value
        return urlsafe_b64encode(json.dumps([sort, shown, key.hex, backward]).encode()).decode().rstrip("=")

    @classmethod
    def read(cls, text: str, sort: str) -> "_Cursor | None":
        if not text:
            return None
        try:
            was, value, key, backward = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            column, nullable = _SORTS[sort.removeprefix("-")]
            if was != sort or not isinstance(backward, bool):
                raise ValueError("of another order")
            if column.endswith("_at") and not (nullable and value is None):
                value = datetime.fromisoformat(value)
            elif value is not None and (not isinstance(value, str) or "\0" in value):
                raise ValueError("no text")
            elif value is None and not nullable:
                raise ValueError("no value")
            return cls(value, UUID(key), backward)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                "This cursor does not belong to this list.", advice="Begin at the first page.", code="cursor"
            ) from error


def _beyond(column: str | None, cursor: _Cursor, *, descending: bool) -> Any:
    """Rows that come after the cursor's: a comparison of pairs, which both databases find in the index."""
    if column is None:
        return Q(pk__lt=cursor.key) if descending else Q(pk__gt=cursor.key)
    kind = DateTimeField() if isinstance(cursor.value, datetime) else TextField()
    here = _pair(F(column), F("pk"))
    there = _pair(Value(cursor.value, output_field=kind), Value(cursor.key, output_field=UUIDField()))
    sign = "<" if descending else ">"
    return Func(here, there, template="%(expressions)s", arg_joiner=f" {sign} ", output_field=BooleanField())


def _pair(*parts: Any) -> Func:
    return Func(*parts, template="(%(expressions)s)", arg_joiner=", ", output_field=TextField())


def _is_among(ids: QuerySet[Any, Any]) -> Any:
    """Planned by the ids, whatever the database guesses of their number."""
    if connection.vendor != "postgresql":
        return Q(pk__in=ids)
    several = Subquery(ids, template="ARRAY(%(subquery)s)", output_field=TextField())
    return Func(F("pk"), several, template="%(expressions)s)", arg_joiner=" = ANY(", output_field=BooleanField())


def _conditions(filters: Filters, now: datetime) -> list[_Condition]:
    found = [_of_names(_with_text(part)) for part in [filters.text] if part]
    if filters.domain:
        found.append(_of_names(_Names(_below(filters.domain))))
    if filters.name:
        found.append(_of_names(_Names(Q(kind=CertificateName.Kind.SAN, name=filters.name))))
    found += [_of_related(CertificateTag.objects.filter(tag=tag)) for tag in filters.tags]
    if filters.fingerprint:
        found.append(_of_related(CertificateVersion.objects.filter(fingerprint_sha256=filters.fingerprint)))
    exactly = {
        "issuer_name": filters.issuer,
        "source": filters.source,
        "organization": filters.organization,
        "department": filters.department,
        "authority": filters.authority,
    }
    columns = [Q(**{column: value}) for column, value in exactly.items() if value]
    if filters.key_type:
        columns.append(Q(current__key_type=filters.key_type) | Q(current=None, key_type=filters.key_type))
    columns += [each for each in (_of_state(filters.state), _of_kind(filters.kind)) if each]
    return found + [_of_rows(Certificate.objects.filter(each)) for each in columns]


def _of_state(state: str) -> Q:
    """What is not a matter of dates."""
    revoked = CertificateVersion.objects.filter(revoked_at__isnull=False)
    return {
        "valid": Q(current__revoked_at=None, current__isnull=False),
        "revoked": Q(current__in=revoked),
        "failing": Q(failures__gt=0),
        "pending": Q(current=None, key=None),
        "waiting": Q(current=None) & ~Q(request_pem=""),
        "test": Q(current__is_test=True),
    }.get(state, Q())


def _of_kind(kind: str) -> Q:
    return {
        "ca": Q(current__is_ca=True),
        "client": Q(current__is_client=True),
        "trusted": Q(current__isnull=False, current__key=None),
        "key-pair": Q(current=None, key__isnull=False, request_pem=""),
        "exposed": Q(exposed=True),
    }.get(kind, Q())


def _span(filters: Filters, now: datetime) -> Q:
    """Between which moments it expires."""
    latest = [moment for moment in (filters.expires_before,) if moment]
    earliest = [moment for moment in (filters.expires_after,) if moment]
    if filters.state in {"valid", "soon"}:
        earliest.append(now)
    if filters.state == "soon":
        latest.append(now + SOON)
    if filters.state == "expired":
        latest.append(now)
    span = Q()
    if earliest:
        span &= Q(expires_at__gt=max(earliest))
    if latest:
        span &= Q(expires_at__lte=min(latest))
    return span


@dataclass(frozen=True)
class _Names:
    """Rows of names: `found` says how they are looked up, `holds` the same of one of them, without an index."""

    holds: Q
    found: Q | None = None


def _with_text(text: str) -> _Names:
    words = dict.fromkeys([text.lower(), name_stored(text)])
    holds, found = Q(), Q()
    for word in filter(None, words):
        holds |= Q(name__contains=word)
        found |= Q(name__contains=word) & _trigrams(word)
    return _Names(holds, found)


def _trigrams(word: str) -> Q:
    """Those that SQLite's index finds; PostgreSQL takes its own by itself."""
    if connection.vendor != "sqlite" or len(word) < 3 or not substring_index():
        return Q()
    parts = dict.fromkeys(word[start : start + 3] for start in range(len(word) - 2))
    query = " ".join('"' + part.replace('"', '""') + '"' for part in parts)
    statement = f"SELECT rowid FROM {TRIGRAM_INDEX} WHERE {TRIGRAM_INDEX} MATCH %s"  # noqa: S608 (a name of ours)
    rows = RawSQL(statement, [query])  # noqa: S611 (what was typed is a parameter)
    return Q(pk__in=rows)


def _below(domain: str) -> Q:
    """The domain and everything below it: a range of the index of reversed names, without what only begins alike."""
    root = name_reversed(domain)
    within = Q(reversed__gte=root, reversed__lt=f"{root}/")
    return within & (Q(reversed=root) | Q(reversed__gte=f"{root}."))


def _of_names(names: _Names) -> _Condition:
    rows = CertificateName.objects.filter(names.holds if names.found is None else names.found)
    one = CertificateName.objects.filter(names.holds, certificate=OuterRef("pk"))
    return _Condition(rows.values("certificate"), Exists(one))


def _of_related(rows: QuerySet[Any, Any]) -> _Condition:
    return _Condition(rows.values("certificate"), Exists(rows.filter(certificate=OuterRef("pk"))))


def _of_rows(rows: QuerySet[Certificate]) -> _Condition:
    """Of the certificate's own columns. Asked by its key, so that no other index keeps SQLite from the walk."""
    rows = rows.select_related(None).order_by()
    return _Condition(rows.values("pk"), Exists(rows.filter(pk=OuterRef("pk"))))


def _load(keys: Iterable[UUID]) -> list[Certificate]:
    wanted = list(keys)
    rows = (
        Certificate.objects.select_related("current__key", "key", "account", "department")
        .defer("current__leaf_pem", "current__chain_pem", "account__ca_bundle")
        .prefetch_related("tag_rows")
        .in_bulk(wanted)
    )
    return [rows[key] for key in wanted if key in rows]
