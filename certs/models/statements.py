"""Statements of the busiest paths, without the query that Django would build for each: a fifth of the time.

They do what `objects.filter(**where).update(**fields)` and `objects.create(**fields)` do, for plain columns only.
"""

from collections.abc import Mapping
from typing import Any, cast

from django.db import connection, models


def row_update(model: type[models.Model], where: Mapping[str, Any], fields: Mapping[str, Any]) -> int:
    """How many rows were changed: those whose columns are equal to `where` (None: are NULL)."""
    columns = {_field(model, name): value for name, value in where.items()}
    values = {_field(model, name): value for name, value in fields.items()}
    assigned = ", ".join(f"{_name(field)} = %s" for field in values)
    wanted = " AND ".join(
        f"{_name(field)} {'IS NULL' if value is None else '= %s'}" for field, value in columns.items()
    )
    given = [*values.items(), *((field, value) for field, value in columns.items() if value is not None)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {connection.ops.quote_name(model._meta.db_table)} SET {assigned} WHERE {wanted}",  # noqa: S608 (names of columns)
            [_plain(field, value) for field, value in given],
        )
        return int(cursor.rowcount)


def row_insert(row: models.Model) -> None:
    """A row whose key the database gives; `row` itself does not learn it."""
    fields = [field for field in row._meta.concrete_fields if not field.primary_key]
    columns, marks = ", ".join(_name(field) for field in fields), ", ".join("%s" for _ in fields)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {connection.ops.quote_name(row._meta.db_table)} ({columns}) VALUES ({marks})",  # noqa: S608 (names of columns)
            [_plain(field, field.pre_save(row, add=True)) for field in fields],
        )


def _field(model: type[models.Model], name: str) -> "models.Field[Any, Any]":
    if name == "pk":
        return model._meta.pk
    return cast("models.Field[Any, Any]", model._meta.get_field(name))


def _name(field: "models.Field[Any, Any]") -> str:
    return connection.ops.quote_name(str(field.column))


def _plain(field: "models.Field[Any, Any]", value: Any) -> Any:
    return field.get_db_prep_save(value.pk if isinstance(value, models.Model) else value, connection)
