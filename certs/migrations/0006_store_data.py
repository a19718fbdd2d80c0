"""What 0005 made room for: columns of rows that are there, the names people look for, and the index of substrings.

A later migration that makes SQLite's table of names anew drops the triggers of the index with it: the start of the
portal makes them again.
"""

from collections.abc import Iterator
from typing import Any

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import OuterRef, Subquery

from certs.domain.certinfo import certificate_info
from certs.domain.errors import BinderyError
from certs.domain.keys import key_kind
from certs.domain.pem import certificates_read
from certs.services.search_index import search_index_drop, search_index_make

_BATCH = 500
_READ = ("key_type", "is_ca", "is_client", "other_names", "issuer_name")
_NAMES = "certs_certificatename"


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


def make_index(_apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    search_index_make()


def drop_index(_apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    search_index_drop()


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
        migrations.RunPython(make_index, drop_index),
    ]
