"""The rows that migrations make, brought back after a test has emptied all tables; Django's own way takes longer than
most tests do."""

from typing import Any

from django.db import connection, transaction


class Rows:
    """Those of all models, as they are when it is made."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Any]] = {}
        with connection.cursor() as cursor:
            for table in connection.introspection.django_table_names(only_existing=True):
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
                if rows := cursor.fetchall():
                    self._rows[table] = rows

    def restore(self) -> None:
        """Into tables that are empty."""
        with transaction.atomic(), connection.cursor() as cursor:
            for table, rows in self._rows.items():
                quoted = connection.ops.quote_name(table)
                cursor.execute(f"SELECT 1 FROM {quoted} LIMIT 1")
                if not cursor.fetchall():
                    marks = ", ".join(["%s"] * len(rows[0]))
                    cursor.executemany(f"INSERT INTO {quoted} VALUES ({marks})", rows)
