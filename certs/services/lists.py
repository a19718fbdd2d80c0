"""A list of certificates as a file, for those who go on with it in a spreadsheet or a script of their own."""

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
from uuid import UUID

from certs.domain.names import name_display
from certs.models import Certificate
from certs.selectors import Viewer, certificate_shown, certificates_visible_to

_BATCH = 500
_COLUMNS = (
    "name",
    "state",
    "names",
    "issuer",
    "not before",
    "not after",
    "key type",
    "serial number",
    "SHA-256",
    "tags",
    "renews by itself",
    "id",
)
_FORMULA = tuple("=+-@\t\r")  # what spreadsheets would work out


def certificates_csv(keys: Sequence[UUID], *, viewer: Viewer) -> str:
    """RFC 4180 with a heading, in the order of `keys`; times are ISO 8601 in UTC. Of keys that the viewer may not see
    there is no line."""
    file = StringIO()
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    for row in _rows(keys, viewer):
        writer.writerow([_harmless(cell) for cell in _cells(row)])
    return file.getvalue()


def _rows(keys: Sequence[UUID], viewer: Viewer) -> Iterator[Certificate]:
    visible = certificates_visible_to(viewer).select_related("current__key", "key").prefetch_related("tag_rows")
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        found = visible.defer("current__leaf_pem", "current__chain_pem").in_bulk(batch)
        yield from (found[key] for key in batch if key in found)


def _cells(row: Certificate) -> list[str]:
    version = row.current
    shown = [row.name, certificate_shown(row).words]
    if version is None:
        known = [" ".join(map(name_display, row.names)), "", "", "", row.key_type, "", ""]
    else:
        names = [*map(name_display, version.names), *version.other_names]
        issuer = "self-signed" if version.self_signed else row.issuer_name
        dates = [version.not_before.isoformat(), version.not_after.isoformat()]
        known = [" ".join(names), issuer, *dates, version.key_type, version.serial, version.fingerprint_sha256]
    tags = ", ".join(each.tag for each in row.tag_rows.all())
    return [*shown, *known, tags, "yes" if row.auto_renew else "no", row.api_id or str(row.pk)]


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
