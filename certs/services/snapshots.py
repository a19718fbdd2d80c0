"""Copies of the SQLite database that are whole, whoever writes meanwhile; they never hold the key ring.

Made before the tables change (`services/migrations.py`) and for `manage.py backup`. PostgreSQL is saved by those who
run it: a dump needs a client of the server's version, a password and a place of the right size, and half of one is
worse than none.
"""

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

from django.conf import settings
from django.db import connection

from certs.domain.errors import ConflictError, InputError, Unavailable
from portal import clock, home

KEPT = 3  # states of the tables of which the latest snapshot is kept
_ROOM = 16 * 1024 * 1024  # to be left on the disk beside the copy
_NAME = re.compile(r"(\d{8}-\d{6})-(\w+)\.sqlite3")
_BUSY_SECONDS = 20.0


@dataclass(frozen=True)
class Snapshot:
    file: Path
    made_at: datetime
    migration: str  # the last one of `certs` that it has

    @property
    def way_back(self) -> str:
        """One line for a shell, to be run while no portal runs on the database. Without the mark, which knows of later
        starts, a version that has one asks whether this is the portal."""
        database, mark = quote(str(home.database_file())), quote(str(home.identity_mark()))
        return f"rm -f {database}-wal {database}-shm {mark} && cp {quote(str(self.file))} {database}"


def snapshot_make(migration: str) -> Snapshot:
    """Copy the database into BINDERY_HOME/snapshots, where older ones make room. Raises Unavailable."""
    moment = clock.real()
    place = home.snapshots()
    try:
        place.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _failed(place, error.strerror or "it cannot be made") from error
    file = place / f"{moment:%Y%m%d-%H%M%S}-{migration}.sqlite3"
    file.unlink(missing_ok=True)  # of the same second, by a start that was ended
    _copy(file)
    _prune()
    return Snapshot(file, moment.replace(microsecond=0), migration)


def snapshots_kept() -> list[Snapshot]:
    """The newest first."""
    return sorted(_found(), key=lambda each: each.file.name, reverse=True)


def database_backup(target: Path) -> int:
    """Write a consistent copy of the SQLite database to a new file, mode 0600; returns its size in bytes. The key ring
    is not in it. Raises InputError, also for a database without tables, as where BINDERY_HOME is another; ConflictError
    for a file that is there; Unavailable."""
    if connection.vendor != "sqlite":
        raise InputError("The database is PostgreSQL.", advice=f"Save it with its own tools: {dump_line()}")
    target = target.absolute()
    if target.is_dir():
        raise InputError(f"{target} is a directory.", advice="Name the file to be written in it.")
    if target.exists():
        raise ConflictError(f"{target} is there already.", advice="Name another file; nothing is overwritten.")
    if not connection.introspection.table_names():
        database = settings.DATABASES["default"]["NAME"]
        raise InputError(f"There is nothing in {database} yet.", advice="Name the data directory by BINDERY_HOME.")
    _copy(target)
    return target.stat().st_size


def dump_line() -> str:
    """For a shell, where DATABASE_URL is set; it must not name the password."""
    return f'pg_dump --format=custom --file=bindery-{clock.real():%Y%m%d-%H%M%S}.dump "$DATABASE_URL"'


def _copy(target: Path) -> None:
    """By SQLite's own backup, in one step: others go on writing, and what they write is not in it. Whole or not there
    at all."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        _room_check(target.parent)
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with (
            closing(sqlite3.connect(settings.DATABASES["default"]["NAME"], timeout=_BUSY_SECONDS)) as source,
            closing(sqlite3.connect(partial)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, whoever opens it next
            if (said := copy.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
                raise _failed(target, f"the database is damaged: {said}")
        _sync(partial)
        partial.rename(target)
        _sync(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise _failed(target, getattr(error, "strerror", None) or str(error)) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _room_check(place: Path) -> None:
    database = Path(settings.DATABASES["default"]["NAME"])
    wal = database.with_name(f"{database.name}-wal")
    needed = sum(file.stat().st_size for file in (database, wal) if file.exists()) + _ROOM
    free = shutil.disk_usage(place).free
    if free < needed:
        raise _failed(place, f"it needs {needed // 2**20} MiB and {free // 2**20} MiB are free")


def _failed(place: Path, why: str) -> Unavailable:
    return Unavailable(
        f"The database could not be copied to {place}: {why}.", advice="Make room or mend it there.", code="snapshot"
    )


def _found() -> Iterator[Snapshot]:
    with suppress(OSError):
        for file in home.snapshots().iterdir():
            if named := _NAME.fullmatch(file.name):
                made = datetime.strptime(named[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
                yield Snapshot(file, made, named[2])


def _prune() -> None:
    """A start that fails again and again writes the same state again and again: that must not push the others out."""
    kept: set[str] = set()
    for each in snapshots_kept():
        if each.migration in kept or len(kept) == KEPT:
            each.file.unlink(missing_ok=True)
        kept.add(each.migration)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
