"""Searching a million certificates: milliseconds of the list, its pages, and each kind of filter, on both databases.

    .venv/bin/python -m bench.search [COUNT]

Rows only, filled by plain SQL, two names each, in no order that helps. Each line is the median of some repetitions of
what the page calls (`certificates_search`, with everything it loads), and beside it what one would write first, in the
same run: OFFSET, LIKE over a join, and a scan of all rows for what is due.
"""

# Django is set up only once the database is known.
# ruff: noqa: PLC0415

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COUNT = 1_000_000
AIM_MS, AIM_DUE_MS = 20.0, 50.0
REPEATED = 15
NAIVE_REPEATED = 3
DEEP = 1000  # pages


def main(count: int) -> int:
    from tests.harness.postgres import Postgres

    missed = 0
    for kind in ("sqlite", "postgresql"):
        server: Any = Postgres() if kind == "postgresql" else nullcontext()
        with server as running, tempfile.TemporaryDirectory(prefix="bindery-bench-") as home:
            given = {"DATABASE_URL": running.url, "BINDERY_SECRET_KEY": "x" * 50} if running else {}
            missed |= subprocess.run(
                [sys.executable, "-m", "bench.search", kind, str(count)],
                cwd=ROOT,
                env={**os.environ, **given, "BINDERY_HOME": home, "DJANGO_SETTINGS_MODULE": "tests.settings"},
                check=False,
            ).returncode
    return missed


def measure(kind: str, count: int) -> int:
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    began = time.perf_counter()
    fill(count)
    print(f"{kind}: {count:,} certificates, filled in {time.perf_counter() - began:.0f} s")
    print(f"{'':34} {'p50, ms':>9} {'worst, ms':>9} {'CPU, ms':>9} {'naive, ms':>9}")
    missed = False
    for label, ours, naive, aim in questions(count):
        ours()  # what is cached at the first time is no part of it
        before = time.process_time()
        times = [timed(ours) for _ in range(REPEATED)]
        cpu = (
            (time.process_time() - before) * 1000 / REPEATED
        )  # of this process: on PostgreSQL the server's is not in it
        beside = f"{statistics.median(timed(naive) for _ in range(NAIVE_REPEATED)):9.0f}" if naive else ""
        late = statistics.median(times) > aim
        missed |= late
        told = f"{statistics.median(times):9.1f} {max(times):9.1f} {cpu:9.1f} {beside:>9}"
        print(f"{label:34} {told} {'MISSED' if late else ''}", flush=True)
    return int(missed)


def questions(count: int) -> Iterator[tuple[str, Callable[[], object], Callable[[], object] | None, float]]:
    from dataclasses import replace

    from certs.models import RoleGrant, User
    from certs.models.organization import DEFAULT_ORGANIZATION
    from certs.selectors import certificates_all, certificates_due_for_check
    from certs.services.filters import Filters
    from certs.services.search import certificates_search
    from portal import clock

    superuser = User.objects.create_superuser("admin@example.com", "x")
    viewer = User.objects.create_user("viewer@example.com", "x")
    RoleGrant.objects.get_or_create(user=viewer, role="viewer", organization_id=DEFAULT_ORGANIZATION)

    def page(who: User = superuser, **fields: Any) -> Callable[[], object]:
        return lambda: str(certificates_search(who, Filters(**fields)).total)

    def deep(**fields: Any) -> Callable[[], object]:
        filters = Filters(**fields, size=50)
        for _ in range(DEEP):
            filters = replace(filters, cursor=certificates_search(superuser, filters).next)
        return lambda: certificates_search(superuser, filters)

    def like(part: str) -> Callable[[], object]:
        found = certificates_all().filter(name_rows__name__icontains=part).distinct().order_by("name", "id")
        return lambda: list(found[:50])

    def offset(*order: str) -> Callable[[], object]:
        return lambda: list(certificates_all().order_by(*order)[50 * DEEP : 50 * DEEP + 50])

    middle, rare = f"d{count // 4}.example", f"host{count // 2}"
    for sort in ("expiry", "-expiry", "name", "-created", "issuer"):
        yield f"first page by {sort}", page(sort=sort), None, AIM_MS
    yield "first page of a viewer", page(viewer, sort="name"), None, AIM_MS
    yield f"page {DEEP} by name", deep(sort="name"), offset("name", "id"), AIM_MS
    yield f"page {DEEP} by expiry", deep(sort="expiry"), offset("expires_at", "id"), AIM_MS
    yield f"page {DEEP} by issuer", deep(sort="issuer"), offset("issuer_name", "id"), AIM_MS
    suffix = certificates_all().filter(name_rows__name__endswith=f".{middle}").distinct().order_by("name", "id")
    yield "suffix with one", page(domain=middle, sort="name"), lambda: list(suffix[:50]), AIM_MS
    yield "suffix with a tenth", page(domain="zone7.test", sort="name"), None, AIM_MS
    yield "suffix of a viewer", page(viewer, domain=middle), None, AIM_MS
    yield "rare part", page(text=rare, sort="name"), like(rare), AIM_MS
    yield "rare part of a viewer", page(viewer, text=rare), None, AIM_MS
    yield "part of all", page(text="example", sort="name"), None, AIM_MS
    yield "part of none", page(text="qqqzzz"), like("qqqzzz"), AIM_MS
    yield "tag with a thousandth", page(tags=("rare",), sort="name"), None, AIM_MS
    yield "tag with half", page(tags=("production",), sort="name"), None, AIM_MS
    yield "valid, by expiry", page(state="valid"), None, AIM_MS
    yield "revoked", page(state="revoked"), None, AIM_MS
    moment = clock.now()
    moments = certificates_all().values_list("next_check_at", flat=True)

    def due() -> int:
        return len(certificates_due_for_check(moment).values_list("pk", flat=True))

    yield "due: one of a thousand", due, lambda: sum(each <= moment for each in moments), AIM_DUE_MS


# Numbers spread over the whole range, so that no order of the rows is one of those asked for.
_SPREAD = 7919
_ROWS: dict[str, dict[str, Any]] = {
    "sqlite": {
        "numbers": "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count})",
        "id": "printf('%08x%024x', (n * 2654435761) % 4294967296, n)",
        "moment": "strftime('%Y-%m-%d %H:%M:%S', '{now}', (({seconds})) || ' seconds')",
        "indexes": "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
        "hurry": ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "PRAGMA cache_size = -500000"),
    },
    "postgresql": {
        "numbers": "WITH s(n) AS (SELECT generate_series(1, {count}::bigint))",
        "id": "md5(n::text)::uuid",
        "moment": "('{now}'::timestamptz + ({seconds}) * interval '1 second')",
        "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes i WHERE NOT EXISTS "
        "(SELECT 1 FROM pg_constraint c WHERE c.conindid = i.indexname::regclass) AND schemaname = 'public'",
        # No checks of foreign keys row by row, which is all that the first is about.
        "hurry": ("SET session_replication_role = replica", "SET maintenance_work_mem = '500MB'"),
    },
}


def fill(count: int) -> None:
    """From one certificate and version that the models made, all others by statements of the database."""
    from django.db import connection, transaction

    from certs.models import Certificate, CertificateName, CertificateTag, CertificateVersion
    from certs.services.search_index import search_index_drop, search_index_make
    from portal import clock

    said, now = _ROWS[connection.vendor], clock.now()
    numbers = said["numbers"].format(count=count)

    def moment(seconds: str) -> str:
        return said["moment"].format(
            now=f"{now:%Y-%m-%d %H:%M:%S}{'+00' if connection.vendor != 'sqlite' else ''}", seconds=seconds
        )

    spread = f"((n * {_SPREAD}) % {count})"
    expiry = moment(f"{spread} * 34.5 - 1728000")
    issuer = "CASE n % 3 WHEN 0 THEN 'R11' WHEN 1 THEN 'E7' ELSE 'Our own CA' END"
    name = f"'host' || {spread} || '.d' || ({spread} / 4) || '.example'"
    first = Certificate.objects.create(name="x", source=Certificate.Source.UPLOADED)
    version = CertificateVersion.objects.create(
        certificate=first, leaf_pem="x" * 1000, fingerprint_sha256="f" * 64, serial="1", key_type="ec-p256",
        not_before=now, not_after=now,
    )  # fmt: skip
    label = CertificateName.objects.create(certificate=first, kind="label", name="x", reversed="")
    names = CertificateName.objects.create(certificate=first, kind="san", name="x", reversed="x")
    tag = CertificateTag.objects.create(certificate=first, tag="x")
    checked = moment("CASE WHEN n % 1000 = 0 THEN -60 ELSE 3600 + n % 80000 END")
    own = {"certificate_id": said["id"]}
    copies = (
        (first, {"id": said["id"], "current_id": said["id"], "name": name, "created_at": moment(f"-{spread}"),
                 "expires_at": expiry, "issuer_name": issuer, "next_check_at": checked}, ""),
        (version, {**own, "id": said["id"], "not_after": expiry, "issuer_name": issuer,
                   "fingerprint_sha256": f"'f' || {spread}",
                   "revoked_at": f"CASE WHEN n % 1000 = 7 THEN {moment('0')} END"}, ""),
        (label, {**own, "name": name}, ""),
        (names, {**own, "name": name, "reversed": f"'example.d' || ({spread} / 4) || '.host' || {spread}"}, ""),
        (names, {**own, "name": "'www' || n || '.zone' || (n % 10) || '.test'",
                 "reversed": "'test.zone' || (n % 10) || '.www' || n"}, ""),
        (tag, {**own, "tag": "'production'"}, "WHERE n % 2 = 0"),
        (tag, {**own, "tag": "'rare'"}, "WHERE n % 1000 = 1"),
    )  # fmt: skip
    search_index_drop()
    with connection.cursor() as cursor:
        for statement in said["hurry"]:  # for the filling only
            cursor.execute(statement)
    indexes = _indexes_drop({row._meta.db_table for row, _, _ in copies})
    with transaction.atomic(), connection.cursor() as cursor:
        for row, changed, condition in copies:
            table = connection.ops.quote_name(row._meta.db_table)
            fields = [
                field
                for field in row._meta.concrete_fields
                if field.column in changed or field.get_internal_type() != "BigAutoField"
            ]
            columns = ", ".join(connection.ops.quote_name(field.column) for field in fields)
            values = ", ".join(
                changed.get(field.column, f"t.{connection.ops.quote_name(field.column)}") for field in fields
            )
            key = str(row._meta.pk.get_db_prep_value(row.pk, connection))
            where = f"{condition or 'WHERE 1 = 1'} AND t.{connection.ops.quote_name(row._meta.pk.column)} = '{key}'"
            cursor.execute(
                f"INSERT INTO {table} ({columns}) {numbers} SELECT {values} FROM s CROSS JOIN {table} t {where}"
            )
    with connection.cursor() as cursor:
        for statement in indexes:
            cursor.execute(statement)
    first.delete()
    search_index_make()
    connection.close()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")  # as autovacuum would within the hour; SQLite is left without


def _indexes_drop(tables: set[str]) -> list[str]:
    """All but those of constraints; the statements that make them again, at once and not row by row."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(_ROWS[connection.vendor]["indexes"])
        found = [(name, statement) for table, name, statement in cursor.fetchall() if table in tables]
        for name, _ in found:
            cursor.execute(f"DROP INDEX {name}")
    return [statement for _, statement in found]


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] in (["sqlite"], ["postgresql"]):
        sys.exit(measure(words[0], int(words[1])))
    sys.exit(main(int(words[0]) if words else COUNT))
