"""Searching the store: one function for the page, the API and the command line, quick at a million certificates.

Each filter is a condition in two forms: what it lets through as a list of ids, and the same as a question about one
certificate. The one that lets the fewest through drives the query, as long as these are few enough to be sorted; the
others are asked about each of them. Where all let many through, the index of the sort order is walked instead and every
condition is asked on the way. Pages are cut by key, never by number (measured in `bench/search.py`).
"""

import json
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
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

from certs.domain.errors import InputError
from certs.domain.names import name_reversed
from certs.models import Certificate, CertificateName, CertificateTag, CertificateVersion
from certs.selectors import SOON, Viewer, certificates_visible_to, responders, visible
from certs.services.filters import SIZE_LIMIT, Filters, name_stored
from certs.services.search_index import TRIGRAM_INDEX, substring_index
from portal import clock

COUNT_LIMIT = 10_000  # what is counted exactly, and what is sorted rather than walked
FEW = 1_000  # ids that are fetched, to be looked up once; and of how many of many a sample is counted
_GRAM, _GRAMS, _GRAMS_WEIGHED = 3, 4, 40  # letters of a part, parts asked for, and parts chosen from
_REACH = 200

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

    @classmethod
    def of(cls, rows: QuerySet[Any, Any]) -> "Total":
        number = rows.order_by()[: COUNT_LIMIT + 1].count()
        return cls(min(number, COUNT_LIMIT), number <= COUNT_LIMIT)

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
        if self.rows and not self.next and not self.previous:
            return Total(len(self.rows), is_exact=True)
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


def certificates_keys(actor: Viewer, filters: Filters, most: int) -> list[UUID]:
    """Of all that the filters find, in their order, and no more than `most`."""
    return [key for key, _ in _Search(actor, filters).keys(None, most)]


def version_condition(text: str) -> Q:
    """Versions with just this fingerprint or serial number in hex, as openssl writes it or without colons."""
    digits = text.strip().replace(":", "").lower()
    return Q(fingerprint_sha256=digits) | Q(serial=digits.lstrip("0"))


def certificates_matching(actor: Viewer, text: str) -> list[UUID]:
    """For a list that is made elsewhere (the Django admin's): certificates of such a version, else with the text in one
    of their names; no more than a page holds."""
    versions = CertificateVersion.objects.filter(version_condition(text)).order_by()
    found = list(versions.values_list("certificate", flat=True)[:SIZE_LIMIT])
    return found or [
        row.pk for row in certificates_search(actor, Filters(text=text, sort="name", size=SIZE_LIMIT)).rows
    ]


@dataclass(frozen=True)
class _Condition:
    """`ids` are those of certificates, some perhaps twice; `holds` asks the same of one certificate. `is_wide`: it is
    known already to let more than COUNT_LIMIT through."""

    ids: QuerySet[Any, Any]
    holds: Q | Exists
    is_wide: bool = False

    @cached_property
    def few(self) -> list[UUID] | None:
        """All of them where they are no more than FEW, so that they are looked up once."""
        found = [] if self.is_wide else list(self.ids.order_by()[: FEW + 1])
        return None if self.is_wide or len(found) > FEW else found

    @cached_property
    def count(self) -> int:
        """Up to one more than COUNT_LIMIT."""
        if self.few is not None:
            return len(self.few)
        return COUNT_LIMIT + 1 if self.is_wide else self.ids.order_by()[: COUNT_LIMIT + 1].count()

    @property
    def among(self) -> Any:
        """The certificates of `ids`, as what a query is planned by."""
        return Q(pk__in=self.few) if self.few is not None else _is_among(self.ids)


class _Search:
    def __init__(self, actor: Viewer, filters: Filters) -> None:
        self._sort = filters.sort.removeprefix("-")
        self._descending = filters.sort.startswith("-")
        self._column, self._nullable = _SORTS[self._sort]
        now = clock.now()
        self._scope = _of_rows(_listed(actor, filters))
        self._sees_all = not visible(actor)
        self._conditions = _conditions(filters, now)
        span = _span(filters, now)
        self._range = Q()
        if span and self._sort == "expiry":
            self._range = span  # a range of the very index that is walked
        elif span:
            self._conditions.append(_of_rows(Certificate.objects.filter(span)))

    @cached_property
    def _driver(self) -> _Condition | None:
        """The condition that lets the fewest through, None where all let too many through."""
        for each in self._conditions:
            if each.few is not None:
                return each
        narrow = self._conditions if self._sees_all else [*self._conditions, self._scope]
        fewest = min(narrow, key=lambda each: each.count, default=None)
        return fewest if fewest is not None and fewest.count <= COUNT_LIMIT else None

    @cached_property
    def _filtered(self) -> QuerySet[Certificate]:
        found = Certificate.objects.filter(self._range)
        if self._driver is not None:
            found = found.filter(self._driver.among)
        every = [*self._conditions, self._scope]
        return found.filter(*(each.holds for each in every if each is not self._driver))

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
        if self._driver is not None:
            return Total(self._filtered.order_by().count(), is_exact=True)
        if self._range:
            number = self._filtered.order_by()[: FEW + 1].count()
            return Total(min(number, FEW), is_exact=number <= FEW)
        if not self._conditions:
            return Total.of(self._scope.ids)
        # All let many through: of a sample of one, those that meet the others too.
        first, *others = self._conditions
        some = Certificate.objects.filter(_is_among(first.ids.order_by()[:FEW])).filter(self._scope.holds)
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


def _listed(actor: Viewer, filters: Filters) -> QuerySet[Certificate]:
    """OCSP responders are the portal's own affair: they come where they are asked for."""
    rows = certificates_visible_to(actor)
    asked = filters.kind == "responder" or filters.fingerprint
    return rows if asked else rows.exclude(pk__in=responders())


def _is_among(ids: QuerySet[Any, Any]) -> Any:
    """Planned by the ids, whatever the database guesses of their number."""
    if connection.vendor != "postgresql":
        return Q(pk__in=ids)
    several = Subquery(ids, template="ARRAY(%(subquery)s)", output_field=TextField())
    return Func(F("pk"), several, template="%(expressions)s)", arg_joiner=" = ANY(", output_field=BooleanField())


def _conditions(filters: Filters, now: datetime) -> list[_Condition]:
    found = [_with_text(filters.text)] if filters.text else []
    if filters.domain:
        found.append(_of_names(_below(filters.domain)))
    if filters.name:
        found.append(_of_names(Q(kind=CertificateName.Kind.SAN, name=filters.name)))
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
    found += [_of_rows(Certificate.objects.filter(each)) for each in columns]
    if filters.key_type:
        found.append(_of_versions(Q(current=None, key_type=filters.key_type), key_type=filters.key_type))
    found += [_STATES[filters.state]()] if filters.state in _STATES else []
    return found + ([_KINDS[filters.kind]()] if filters.kind else [])


def _of_versions(beside: Q | None = None, **fields: Any) -> _Condition:
    """By the current version, or by what stands beside: by the index of versions where few fit, else by a join."""
    versions = CertificateVersion.objects.filter(**fields).order_by()
    is_wide = versions[: COUNT_LIMIT + 1].count() > COUNT_LIMIT
    joined = {f"current__{name}": value for name, value in fields.items()}
    condition = Q(current__isnull=False, **joined) if is_wide else Q(current__in=versions.values("pk"))
    return replace(_of_rows(Certificate.objects.filter(condition | beside if beside else condition)), is_wide=is_wide)


def _unrevoked() -> _Condition:
    return replace(_of_rows(Certificate.objects.filter(current__isnull=False, current__revoked_at=None)), is_wide=True)


def _where(**fields: Any) -> Callable[[], _Condition]:
    return lambda: _of_rows(Certificate.objects.filter(**fields))


def _where_version(**fields: Any) -> Callable[[], _Condition]:
    return lambda: _of_versions(**fields)


# What is not a matter of dates.
_STATES: dict[str, Callable[[], _Condition]] = {
    "valid": _unrevoked,
    "revoked": _where_version(revoked_at__isnull=False),
    "failing": _where(failures__gt=0),
    "pending": _where(current=None, key=None),
    "waiting": lambda: _of_rows(Certificate.objects.filter(current=None).exclude(request_pem="")),
    "test": _where_version(is_test=True),
}
_KINDS: dict[str, Callable[[], _Condition]] = {
    "ca": _where_version(is_ca=True),
    "client": _where_version(is_client=True),
    "trusted": _where_version(key=None),
    "key-pair": _where(current=None, key__isnull=False, request_pem=""),
    "exposed": _where(exposed=True),
    "responder": lambda: _of_rows(Certificate.objects.filter(pk__in=responders())),
}


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


def _with_text(text: str) -> _Condition:
    words = dict.fromkeys(filter(None, [text.lower(), name_stored(text)]))
    holds, found, is_wide = Q(), Q(), False
    for word in words:
        holds |= Q(name__contains=word)
        rows = _trigram_rows(word)
        is_wide = is_wide or (rows is not None and len(rows) > COUNT_LIMIT)
        found |= Q(name__contains=word) & (Q() if rows is None else Q(pk__in=rows))
    condition = _of_names(holds if is_wide else found)
    return replace(condition, holds=_of_names(holds).holds, is_wide=is_wide)


def _trigram_rows(word: str) -> list[int] | None:
    """Of SQLite's index, up to one more than COUNT_LIMIT; they hold the word's parts, in any order. None where it has
    none to ask. PostgreSQL takes its own index by itself."""
    if connection.vendor != "sqlite" or len(word) < _GRAM or not substring_index():
        return None
    parts = dict.fromkeys(word[start : start + _GRAM] for start in range(len(word) - _GRAM + 1))
    match = f"SELECT rowid FROM {TRIGRAM_INDEX} WHERE {TRIGRAM_INDEX} MATCH %s"  # noqa: S608 (a name of ours)
    with connection.cursor() as cursor:

        def rows(query: str, limit: int, offset: int = 0) -> list[int]:
            cursor.execute(f"{match} LIMIT {limit} OFFSET {offset}", [query])
            return [row for (row,) in cursor.fetchall()]

        quoted = ['"' + part.replace('"', '""') + '"' for part in list(parts)[:_GRAMS_WEIGHED]]
        if len(quoted) > _GRAMS:
            # The further the first few reach, the rarer it is; frequent ones cost much and sort out little.
            reach = {part: next(iter(rows(part, 1, _REACH)), math.inf) for part in quoted}
            quoted = sorted(quoted, key=lambda part: -reach[part])[:_GRAMS]
        return rows(" ".join(quoted), COUNT_LIMIT + 1)


def _below(domain: str) -> Q:
    """The domain and everything below it: a range of the index of reversed names, without what only begins alike."""
    root = name_reversed(domain)
    within = Q(reversed__gte=root, reversed__lt=f"{root}/")
    return within & (Q(reversed=root) | Q(reversed__gte=f"{root}."))


def _of_names(condition: Q) -> _Condition:
    return _of_related(CertificateName.objects.filter(condition))


def _of_related(rows: QuerySet[Any, Any]) -> _Condition:
    return _Condition(rows.values_list("certificate", flat=True), Exists(rows.filter(certificate=OuterRef("pk"))))


def _of_rows(rows: QuerySet[Certificate]) -> _Condition:
    """Of the certificate's own columns. Asked by its key, so that no other index keeps SQLite from the walk."""
    rows = rows.select_related(None).order_by()
    return _Condition(rows.values_list("pk", flat=True), Exists(rows.filter(pk=OuterRef("pk"))))


def _load(keys: Iterable[UUID]) -> list[Certificate]:
    wanted = list(keys)
    rows = (
        Certificate.objects.select_related("current__key")
        .defer("current__leaf_pem", "current__chain_pem")
        # Few of these are different, and most are not there: joined, each row would carry them all.
        .prefetch_related("tag_rows", "key", "account", "department")
        .in_bulk(wanted)
    )
    return [rows[key] for key in wanted if key in rows]
