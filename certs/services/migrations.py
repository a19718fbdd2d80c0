"""Bringing the database to this version's schema, by one node at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from certs.domain.errors import ConflictError, Unavailable
from certs.models import KeyRingCanary
from certs.services.secrets import canary_check

_ADVISORY_LOCK = 0x42494E44  # "BIND": one number for every node of the portal


def schema_ensure() -> bool:
    """Migrate when something is pending, make the cache table, tie the database to its ring; True when it migrated.

    Raises SecretError for a ring that is not this database's, before anything is changed; ConflictError for a database
    of a newer version; Unavailable when the pending migrations cannot be applied.
    """
    if KeyRingCanary._meta.db_table in connection.introspection.table_names():
        canary_check()
    with _one_node_at_a_time():
        migrated = _migrate()
        if settings.CACHES["default"]["LOCATION"] not in connection.introspection.table_names():
            call_command("createcachetable", verbosity=0)
        canary_check()
    return migrated


def migrations_pending() -> list[str]:
    """Names of migrations that this version has and the database lacks. Raises ConflictError for a newer database."""
    executor = MigrationExecutor(connection)
    known = executor.loader.disk_migrations
    newer = sorted(
        name for app, name in executor.loader.applied_migrations if app == "certs" and (app, name) not in known
    )
    if newer:
        raise ConflictError(
            f"The database was made by a newer version of Bindery: it has {newer[-1]}, which this one does not know.",
            advice="Start the newer version, or restore a backup made by this one. Nothing was changed.",
            code="newer-database",
        )
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _backwards in plan]


def _migrate() -> bool:
    pending = migrations_pending()
    if not pending:
        return False
    try:
        call_command("migrate", interactive=False, verbosity=0)
    except DatabaseError as error:
        raise Unavailable(
            f"The database needs {len(pending)} migrations ({pending[0]} first) and they cannot be applied: "
            f"{str(error).strip().splitlines()[0]}.",
            advice="Give the database user the right to change tables, or run `manage.py migrate` as one that has it.",
            code="migrations-pending",
        ) from error
    return True


@contextmanager
def _one_node_at_a_time() -> Iterator[None]:
    """On PostgreSQL an advisory lock of the session; SQLite has one machine, whose lock file the supervisor holds."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_ADVISORY_LOCK])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_ADVISORY_LOCK])
