"""What 0005 made room for: columns of rows that are there, the names people look for, and the index of substrings.

The substring index is SQLite's FTS5 with its trigram tokenizer, kept by triggers of the names' table, or PostgreSQL's
pg_trgm. Where the database has neither, or refuses the extension, the search reads all names instead.
A later migration that makes SQLite's table of names anew drops the triggers with it, and must make them again.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Any

from django.apps.registry import Apps
from django.db import DatabaseError, migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import OuterRef, Subquery

from certs.domain.certinfo import certificate_info
from certs.domain.errors import BinderyError
from certs.domain.keys import key_kind
from certs.domain.pem import certificates_read

log = logging.getLogger("bindery.migrations")
_BATCH = 500
_READ = ("key_type", "is_ca", "is_client", "other_names", "issuer_name")
_NAMES = "certs_certificatename"
_INDEX = "certs_name_trigram"  # certs/services/search.py reads it

# ruff: noqa: S608 (the names of tables are our own)
_SQLITE = (
    # detail=none keeps no positions, which a search of at least three letters does not need: a third of the writing.
    f"CREATE VIRTUAL TABLE {_INDEX} USING fts5"
    f"(name, content='{_NAMES}', content_rowid='id', tokenize='trigram', detail='none', columnsize=0)",
    f"CREATE TRIGGER {_INDEX}_insert AFTER INSERT ON {_NAMES} BEGIN "
    f"INSERT INTO {_INDEX}(rowid, name) VALUES (new.id, new.name); END",
    f"CREATE TRIGGER {_INDEX}_delete AFTER DELETE ON {_NAMES} BEGIN "
    f"INSERT INTO {_INDEX}({_INDEX}, rowid, name) VALUES ('delete', old.id, old.name); END",
    f"CREATE TRIGGER {_INDEX}_update AFTER UPDATE OF name ON {_NAMES} BEGIN "
    f"INSERT INTO {_INDEX}({_INDEX}, rowid, name) VALUES ('delete', old.id, old.name); "
    f"INSERT INTO {_INDEX}(rowid, name) VALUES (new.id, new.name); END",
    f"INSERT INTO {_INDEX}({_INDEX}) VALUES ('rebuild')",
)
_SQLITE_BACK = (
    f"DROP TRIGGER IF EXISTS {_INDEX}_insert",
    f"DROP TRIGGER IF EXISTS {_INDEX}_delete",
    f"DROP TRIGGER IF EXISTS {_INDEX}_update",
    f"DROP TABLE IF EXISTS {_INDEX}",
)
_POSTGRES = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    f"CREATE INDEX {_INDEX} ON {_NAMES} USING gin (name gin_trgm_ops)",
)
# The extension stays: others may use it by now.
_POSTGRES_BACK = (f"DROP INDEX IF EXISTS {_INDEX}",)


def fill_versions(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    """From the stored PEM. One that cannot be read keeps its empty columns: that must stop no upgrade."""
    model = apps.get_model("certs", "CertificateVersion")
    rows = model.objects.filter(key_type="").only("pk", "leaf_pem")
    for batch in _batches(rows):
        read = [row for row in batch if _read(row)]
        model.objects.bulk_update(read, _READ)


def fill_certificates(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    current = apps.get_model("certs", "CertificateVersion").objects.filter(pk=OuterRef("current"))
    apps.get_model("certs", "Certificate").objects.exclude(current=None).update(
        expires_at=Subquery(current.values("not_after")), issuer_name=Subquery(current.values("issuer_name"))
    )


def add_labels(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    model = apps.get_model("certs", "CertificateName")
    rows = apps.get_model("certs", "Certificate").objects.filter(deleted_at=None).only("pk", "name")
    for batch in _batches(rows):
        labels = [model(certificate=row, kind="label", name=row.name.lower()[:255], reversed="") for row in batch]
        model.objects.bulk_create(labels, ignore_conflicts=True)


def remove_labels(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("certs", "CertificateName").objects.filter(kind="label").delete()


def grant_views(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    """Whoever could look at everything goes on to."""
    grants = apps.get_model("certs", "RoleGrant").objects
    for user in apps.get_model("certs", "User").objects.filter(is_superuser=False, grants=None):
        grants.create(user=user, role="viewer")


def order_by_bytes(_apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """A domain's range is one of bytes, whatever language the database sorts in; SQLite has no other order."""
    if editor.connection.vendor == "postgresql":
        editor.execute(f'ALTER TABLE {_NAMES} ALTER COLUMN reversed TYPE varchar(255) COLLATE "C"')


def order_by_language(_apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    if editor.connection.vendor == "postgresql":
        editor.execute(f'ALTER TABLE {_NAMES} ALTER COLUMN reversed TYPE varchar(255) COLLATE "default"')


def _by_vendor(sqlite: tuple[str, ...], postgres: tuple[str, ...]) -> Callable[[Apps, BaseDatabaseSchemaEditor], None]:
    def run(_apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
        statements = {"sqlite": sqlite, "postgresql": postgres}.get(editor.connection.vendor, ())
        try:
            with transaction.atomic(using=editor.connection.alias), editor.connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        except DatabaseError as error:
            log.warning("The search by parts of names has no index and will be slow: %s", error)

    return run


def _read(row: Any) -> bool:
    try:
        (leaf, *_) = certificates_read(row.leaf_pem.encode())
    except BinderyError:
        return False
    info = certificate_info(leaf)
    row.key_type = key_kind(leaf.public_key())
    row.is_ca, row.is_client, row.other_names = info.is_ca, info.is_client, info.other_names
    row.issuer_name = info.issuer_name[:255]
    return True


def _batches(rows: Any) -> Iterator[list[Any]]:
    """By primary key, so that neither memory nor a cursor is held for all of them."""
    last = None
    while batch := list((rows.filter(pk__gt=last) if last else rows).order_by("pk")[:_BATCH]):
        last = batch[-1].pk
        yield batch


class Migration(migrations.Migration):
    dependencies = [("certs", "0005_store")]
    operations = [
        migrations.RunPython(order_by_bytes, order_by_language),
        migrations.RunPython(fill_versions, migrations.RunPython.noop),
        migrations.RunPython(fill_certificates, migrations.RunPython.noop),
        # Without the labels, since the constraint of before knows one row for a name of a certificate.
        migrations.RunPython(add_labels, remove_labels),
        migrations.RunPython(grant_views, migrations.RunPython.noop),
        migrations.RunPython(_by_vendor(_SQLITE, _POSTGRES), _by_vendor(_SQLITE_BACK, _POSTGRES_BACK)),
    ]
