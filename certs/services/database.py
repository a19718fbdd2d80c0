"""Whether the database can be used, asked in a way that neither waits long nor makes or changes anything."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

from certs.domain.addresses import address_shown
from certs.domain.errors import BinderyError, Unavailable

SECONDS = 3.0
_BEGUN = "`manage.py up` makes it at its first start. Is BINDERY_HOME the same as that of the portal?"


def database_problem(seconds: float = SECONDS) -> BinderyError | None:
    """Why the database cannot be read, or None. Opens a connection of its own, and no file that is not there."""
    try:
        if connection.vendor == "sqlite":
            _sqlite(Path(str(settings.DATABASES["default"]["NAME"])), seconds)
        else:
            _postgresql(seconds)
    except BinderyError as error:
        return error
    return None


def database_lock_problem(seconds: float = 1.5) -> BinderyError | None:
    """Why nothing can be written for the moment: another program holds SQLite's one write lock. Writes nothing."""
    if connection.vendor != "sqlite":
        return None
    file = Path(str(settings.DATABASES["default"]["NAME"]))
    try:
        with closing(_open(file, seconds)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        return _refused(file, error)
    return None


@contextmanager
def database_kept_open() -> Iterator[None]:
    """For a command that root runs beside a portal of another user, and that leaves the database's file in its place.

    SQLite makes files beside the database as root and gives them away a moment later; a portal that starts in that
    moment could not open them. A connection that is opened as their owner, and kept meanwhile, has made them first.
    """
    with ExitStack() as kept:
        if connection.vendor == "sqlite" and os.geteuid() == 0:
            with suppress(OSError, sqlite3.Error):
                kept.enter_context(closing(_opened_by_owner(Path(str(settings.DATABASES["default"]["NAME"])))))
        yield


def _opened_by_owner(file: Path) -> sqlite3.Connection:
    about = file.stat()
    if not about.st_size:
        raise OSError("nothing there yet")
    os.seteuid(about.st_uid)
    try:
        database = _open(file, SECONDS)
        try:
            database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except sqlite3.Error:
            database.close()
            raise
    finally:
        os.seteuid(0)
    return database


def _sqlite(file: Path, seconds: float) -> None:
    try:
        size = file.stat().st_size
    except FileNotFoundError:
        raise Unavailable(f"There is no database yet: {file} is missing.", advice=_BEGUN, code="no-database") from None
    except OSError as error:
        raise Unavailable(
            f"The database {file} cannot be reached: {error.strerror}.",
            advice="Run this as the portal's user.",
            code="database-denied",
        ) from error
    if not size:
        raise Unavailable(f"The database {file} is empty.", advice=_BEGUN, code="no-database")
    try:
        with closing(_open(file, seconds)) as database:
            tables = database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'certs_portalstate'").fetchone()
    except sqlite3.Error as error:
        raise _refused(file, error) from error
    if not tables[0]:
        raise Unavailable(f"The database {file} has no tables of Bindery.", advice=_BEGUN, code="no-database")


def _open(file: Path, seconds: float) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=seconds, isolation_level=None)


def _refused(file: Path, error: sqlite3.Error) -> Unavailable:
    if "locked" in str(error) or "busy" in str(error):
        return Unavailable(
            f"The database {file} is locked by another program.",
            advice=f"See who has it open (`fuser -v {file}`) and end that: a backup or a shell that was left in a "
            'transaction. Copy a running database with `sqlite3 … ".backup …"` only.',
            code="database-locked",
        )
    if "malformed" in str(error) or "not a database" in str(error):
        return Unavailable(
            f"The database {file} is damaged: {error}.",
            advice="Keep it as it is, and put the last backup in its place.",
            code="database-damaged",
        )
    return Unavailable(
        f"The database {file} cannot be used: {error}.",
        advice="Its directory and its files must be writable for the portal's user, and the disk must have room.",
        code="database",
    )


def _postgresql(seconds: float) -> None:
    import psycopg  # noqa: PLC0415 - only where the database is PostgreSQL

    given: dict[str, Any] = dict(connection.get_connection_params())
    host, port = given.get("host") or "the local socket", given.get("port") or 5432
    place = f"{address_shown(host, port)}, database {given.get('dbname')}"
    given |= {"connect_timeout": max(1, int(seconds)), "options": f"-c statement_timeout={int(seconds * 1000)}"}
    given.pop("cursor_factory", None)
    given.pop("context", None)
    try:
        with psycopg.connect(**given) as database:
            found = database.execute("SELECT to_regclass('certs_portalstate')").fetchone()
    except psycopg.Error as error:
        words = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise Unavailable(
            f"The database at {place} cannot be used: {words}.",
            advice="Does it run, can it be reached from here, and are user and password in DATABASE_URL right?",
            code="database-away",
        ) from error
    if found is None or found[0] is None:
        raise Unavailable(f"The database at {place} has no tables of Bindery.", advice=_BEGUN, code="no-database")
