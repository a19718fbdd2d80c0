"""The index of parts of names: SQLite's FTS5 with its trigram tokenizer, kept by triggers of the names' table, or
PostgreSQL's pg_trgm. Where the database refuses it, the search reads all names; every start of the portal tries again.
"""

import logging
from functools import cache

from django.db import DatabaseError, connection, transaction

log = logging.getLogger("bindery.migrations")
TRIGRAM_INDEX = "certs_name_trigram"
_NAMES = "certs_certificatename"

# ruff: noqa: S608 (the names of tables are our own)
_ADD = f"INSERT INTO {TRIGRAM_INDEX}(rowid, name) VALUES (new.id, new.name)"
_TAKE = f"INSERT INTO {TRIGRAM_INDEX}({TRIGRAM_INDEX}, rowid, name) VALUES ('delete', old.id, old.name)"
_TRIGGERS = {
    f"{TRIGRAM_INDEX}_insert": f"AFTER INSERT ON {_NAMES} BEGIN {_ADD}; END",
    f"{TRIGRAM_INDEX}_delete": f"AFTER DELETE ON {_NAMES} BEGIN {_TAKE}; END",
    f"{TRIGRAM_INDEX}_update": f"AFTER UPDATE OF name ON {_NAMES} BEGIN {_TAKE}; {_ADD}; END",
}
_DROP = {
    "sqlite": (*(f"DROP TRIGGER IF EXISTS {name}" for name in _TRIGGERS), f"DROP TABLE IF EXISTS {TRIGRAM_INDEX}"),
    # The extension stays: others may use it by now.
    "postgresql": (f"DROP INDEX IF EXISTS {TRIGRAM_INDEX}",),
}
_MAKE = {
    "sqlite": (
        # detail=none keeps no positions, which three letters or more do not need: a third of the writing.
        f"CREATE VIRTUAL TABLE {TRIGRAM_INDEX} USING fts5"
        f"(name, content='{_NAMES}', content_rowid='id', tokenize='trigram', detail='none', columnsize=0)",
        *(f"CREATE TRIGGER {name} {body}" for name, body in _TRIGGERS.items()),
        f"INSERT INTO {TRIGRAM_INDEX}({TRIGRAM_INDEX}) VALUES ('rebuild')",
    ),
    "postgresql": (
        "CREATE EXTENSION IF NOT EXISTS pg_trgm",
        f"CREATE INDEX {TRIGRAM_INDEX} ON {_NAMES} USING gin (name gin_trgm_ops)",
    ),
}
_PARTS = {
    "sqlite": f"SELECT count(*) FROM sqlite_master WHERE name IN {(TRIGRAM_INDEX, *_TRIGGERS)}",
    "postgresql": f"SELECT count(*) FROM pg_index WHERE indisvalid AND indexrelid = to_regclass('{TRIGRAM_INDEX}')",
}


@cache
def substring_index() -> bool:
    """Whether parts of names are found by an index that is whole; without it all names are read."""
    return search_index_is_whole()


def search_index_is_whole() -> bool:
    """The same, asked anew. An index without one of its triggers would miss names in silence, so it counts as none."""
    with connection.cursor() as cursor:
        cursor.execute(_PARTS[connection.vendor])
        return bool(cursor.fetchone()[0] == (1 + len(_TRIGGERS) if connection.vendor == "sqlite" else 1))


def search_index_make() -> bool:
    """Make it where it is missing or lacks a part; False where the database refuses, which stops nothing."""
    if search_index_is_whole():
        return True
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            for statement in (*_DROP[connection.vendor], *_MAKE[connection.vendor]):
                cursor.execute(statement)
    except DatabaseError as error:
        log.warning("The search by parts of names has no index and will be slow: %s", str(error).strip())
        return False
    substring_index.cache_clear()
    return True


def search_index_drop() -> None:
    with connection.cursor() as cursor:
        for statement in _DROP[connection.vendor]:
            cursor.execute(statement)
