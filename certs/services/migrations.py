"""Bringing the database to this version's schema, by one node at a time, with a snapshot before it and the way back
said; and telling code and database apart that do not fit each other.

A running node of an older version that finds the database changed by a newer one keeps serving TLS and the answers to
challenges, which live in its memory and in tables that stay; but it says in /readyz that its pages are not to be asked,
and begins no order. It ends when its operator ends it: a rolling upgrade pauses orders until the last node is new.
"""

import logging
import pkgutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management import CommandError, call_command
from django.core.management.commands import migrate
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from certs.domain.errors import BinderyError, SchemaError, Unavailable
from certs.models import KeyRingCanary
from certs.services.search_index import search_index_make
from certs.services.secrets import canary_check
from certs.services.snapshots import dump_line, snapshot_make, snapshots_kept

_POLL_SECONDS = 0.5
_ADVISORY_LOCK = 0x42494E44  # "BIND": one number for every node of the portal
_OWN = "certs"
Tell = Callable[[str], object]
log = logging.getLogger("bindery.migrations")


def schema_ensure(tell: Tell = log.info) -> bool:
    """Migrate when something is pending, make the cache table and the index of names that the database may have refused
    before, tie the database to its ring; True when it migrated.

    `tell` hears where the snapshot lies and how to go back. Raises SecretError for a ring that is not this database's,
    before anything is changed; SchemaError for a database of a newer version, for a snapshot that cannot be made and
    for migrations that cannot be applied.
    """
    if KeyRingCanary._meta.db_table in connection.introspection.table_names():
        schema_newer_refuse()
        canary_check()
    with _one_node_at_a_time(tell):
        migrated = bool(migrations_pending())
        if migrated:
            schema_migrate(tell)
        if settings.CACHES["default"]["LOCATION"] not in connection.introspection.table_names():
            call_command("createcachetable", verbosity=0)
        search_index_make()
        canary_check()
    return migrated


def schema_migrate(tell: Tell, *words: str, **options: Any) -> None:
    """Django's `migrate` with these words, after a snapshot of a database that is in use. Raises SchemaError."""
    pending = migrations_pending()
    before = _applied(_OWN)
    way_back = _save(before, tell) if before and (pending or words) else ""
    try:
        call_command(migrate.Command(), *words, **{"interactive": False, "verbosity": 0, **options})
    except CommandError:
        raise  # words that it cannot read
    except Exception as error:  # a migration may raise anything; the person must know where it has left the database
        raise _halted(error, before, way_back) from error


def migrations_pending() -> list[str]:
    """Names of migrations that this version has and the database lacks. Raises SchemaError for a newer database."""
    schema_newer_refuse()
    applied = set(_rows())
    if all((label, name) in applied for label, names in _known().items() for name in names):
        return []  # as at most starts, which need not read the migrations for that
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _backwards in plan]


def schema_newer_refuse() -> None:
    """Raises SchemaError where a newer version has changed the tables."""
    if newer := schema_newer():
        raise SchemaError(
            f"The database was made by a newer version of Bindery: it has {newer}, which this one does not know.",
            advice=f"Start the newer version{_older_snapshot()}. Nothing was changed.",
            code="newer-database",
        )


def schema_check() -> None:
    """For whoever is about to read the tables and cannot change them. Raises SchemaError."""
    schema_newer_refuse()
    if pending := sorted(_known()[_OWN] - _applied(_OWN)):
        raise SchemaError(
            f"The database lacks {pending[0]}, which this version of Bindery needs.",
            advice="Start the portal, or run `manage.py migrate`: it makes a snapshot first.",
            code="migrations-pending",
        )


def schema_newer() -> str:
    """The newest migration that the database has and this version does not know, or "". Of another app's, a name that
    sorts before its newest is an old one that the app has dropped."""
    known = _known()
    unknown = [
        (label, name)
        for label, name in _rows()
        if label in known and name not in known[label] and (label == _OWN or name > max(known[label], default=""))
    ]
    own = [name for label, name in unknown if label == _OWN]
    return max(own) if own else next((f"{label}.{name}" for label, name in unknown), "")


def schema_is_newer() -> bool:
    """The same of our own tables in one query, for whoever looks every moment."""
    rows = MigrationRecorder(connection).migration_qs.filter(app=_OWN)
    return rows.exclude(name__in=_known()[_OWN]).exists()


def _save(before: set[str], tell: Tell) -> str:
    """The way back, having made it."""
    if connection.vendor != "sqlite":
        tell("The tables are about to change. The way back is your own backup of PostgreSQL; one is made by")
        tell(f"  {dump_line()}")
        return "restore your backup of PostgreSQL"
    if settings.MIGRATE_WITHOUT_SNAPSHOT:
        tell("BINDERY_MIGRATE_WITHOUT_SNAPSHOT is set: no snapshot is made, and there is no way back.")
        return ""
    try:
        snapshot = snapshot_make(max(before))
    except BinderyError as error:
        raise SchemaError(
            f"The tables were not changed, since no snapshot could be made. {error.message}",
            advice=f"{error.advice} BINDERY_MIGRATE_WITHOUT_SNAPSHOT=1 goes on without one.",
            code="no-snapshot",
        ) from error
    tell(f"The tables are about to change. A snapshot was made first: {snapshot.file}")
    tell("The way back, while no portal runs: put the version before this one in place, run the next line, start it.")
    tell(f"  {snapshot.way_back}")
    return snapshot.way_back


def _halted(error: Exception, before: set[str], way_back: str) -> SchemaError:
    """SQLite and PostgreSQL undo a migration that fails; those before it stay."""
    connection.close()
    done = sorted(_applied(_OWN) - before)
    failed = next((name for name in sorted(_known()[_OWN]) if name not in before and name not in done), "one of them")
    said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    state = f"Those before it were applied, up to {done[-1]}" if done else "The database is as it was"
    back = f", or go back: {way_back}" if way_back and done else ", or start the version before this one"
    return SchemaError(
        f"The migration {failed} failed: {said}. {state}.",
        advice=f"Mend what it names and start again{back}.",
        code="migration-failed",
    )


def _older_snapshot() -> str:
    """The latest snapshot that this version can read, in the sentence that refuses a newer database."""
    fitting = [each for each in snapshots_kept() if each.migration in _known()[_OWN]]
    return f", or go back to the snapshot from before: {fitting[0].way_back}" if fitting else ", or restore a backup"


def _applied(label: str) -> set[str]:
    return {name for each, name in _rows() if each == label}


def _rows() -> list[tuple[str, str]]:
    recorder = MigrationRecorder(connection)
    if not recorder.has_table():
        return []
    return list(recorder.migration_qs.order_by("app", "name").values_list("app", "name"))


@lru_cache(maxsize=1)
def _known() -> dict[str, frozenset[str]]:
    """By app, from the names of the files: reading them all would cost each command a third of a second."""
    found: dict[str, frozenset[str]] = {}
    for config in apps.get_app_configs():
        module, _ = MigrationLoader.migrations_module(config.label)
        if module is None:
            continue
        try:
            package = import_module(module)
        except ModuleNotFoundError:  # an app without tables
            continue
        names = (each.name for each in pkgutil.iter_modules(package.__path__))
        found[config.label] = frozenset(name for name in names if name[0] not in "_~")
    return found


@contextmanager
def _one_node_at_a_time(tell: Tell) -> Iterator[None]:
    """On PostgreSQL an advisory lock of the session; SQLite has one machine, whose lock file the supervisor holds.

    Raises Unavailable naming who holds it when that takes too long.
    """
    if connection.vendor != "postgresql":
        yield
        return
    _await_turn(tell)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_ADVISORY_LOCK])


def _await_turn(tell: Tell) -> None:
    deadline = time.monotonic() + settings.MIGRATION_PATIENCE_SECONDS
    told = False
    while not _take_turn():
        if not told:
            tell("Another node is bringing the database up to date; this one waits for it.")
            told = True
        if time.monotonic() > deadline:
            raise Unavailable(
                f"Another node has been at the tables of the database for {settings.MIGRATION_PATIENCE_SECONDS:g} s: "
                f"{_holder()}.",
                advice="Look at what that node does, or end it; then start this one again.",
                code="migrations-busy",
            )
        time.sleep(_POLL_SECONDS)


def _take_turn() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_ADVISORY_LOCK])
        return bool(cursor.fetchone()[0])


def _holder() -> str:
    """Its address and process at the server (pg_locks: the lower half of the number is `objid`)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(host(a.client_addr), 'the server itself'), a.pid FROM pg_locks l JOIN pg_stat_activity a "
            "USING (pid) WHERE l.locktype = 'advisory' AND l.objid = %s AND l.granted",
            [_ADVISORY_LOCK],
        )
        row = cursor.fetchone()
    return f"a connection from {row[0]} (process {row[1]} of PostgreSQL)" if row else "it ended just now"
