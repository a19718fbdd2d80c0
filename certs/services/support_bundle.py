"""A file for whoever helps the operator: what the doctor says, versions, settings and the last records; no secrets.

Everything in it stands in a list of what may be in it: a column or a setting that is added tomorrow is left out until
somebody lists it. What people or other servers wrote (`TEXTS`) is besides stripped of what looks like a secret, of
e-mail addresses and of the paths of URLs; the rest only of the secrets that this process knows.
"""

import io
import json
import os
import platform
import sqlite3
import ssl
import stat
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseProblem
from django.db import InterfaceError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Model

from certs.domain.diagnosis import Line, document
from certs.domain.errors import InputError
from certs.domain.redaction import Redaction, host_of_url
from certs.models import (
    AcmeAccount,
    AcmeDirectory,
    Alarm,
    AuditEvent,
    Certificate,
    ChallengeMethod,
    Channel,
    JobEvent,
    Listener,
    NodeDiagnosis,
    NodeExport,
    NodeProcess,
    Order,
    PortalState,
    Rebind,
    WorkerBeat,
)
from certs.services.diagnoses import diagnosis_run
from certs.services.diagnosis.settings import settings_given
from certs.services.nodes import node_name
from certs.services.redaction import redaction_read
from portal import clock, home

SETTINGS = """
    ALARM_AFTER_SECONDS ALLOW_PRIVATE_CA DNS_AUTHORITIES DNS_RESOLVERS EXPORT EXPORT_DIR EXPORT_LOCKED EXTRA_HOSTS
    HOME HOOKS_DIR HTTPS_ADDRESSES HTTPS_ADDRESS_LOCKED HTTPS_PORT HTTPS_PORT_LOCKED HTTP_ADDRESSES HTTP_PORT
    IMPORT_DIRS LEASE_SECONDS LOG_FORMAT LOG_LEVEL NODE ON_DEMAND ON_DEMAND_HOSTS ON_DEMAND_HOURLY ON_DEMAND_LOCKED
    PUBLIC_ROOTS PUBLIC_URL QUEUE_WORKERS TICK_MINUTES TIME_ZONE TLS_IN_FRONT TLS_IN_FRONT_LOCKED TRUSTED_PROXIES
    TRUSTED_PROXIES_LOCKED VERSION WATCHDOG_SECONDS WEB_THREADS WEB_WORKERS
"""


@dataclass(frozen=True)
class Table:
    """`facts` are ours or public; `texts` may quote anybody. With `newest` only so many rows, the last first."""

    model: type[Model]
    facts: str
    texts: str = ""
    order: str = "pk"
    newest: int = 1000


TABLES: dict[str, Table] = {
    "accounts": Table(AcmeAccount, "id allow_private terms_agreed_at deactivated_at created_at", "directory_url"),
    "alarms": Table(
        Alarm,
        "level raised_at cleared_at seen_at next_try_at path",
        "key subject happened tried advice",
        order="-raised_at",
        newest=200,
    ),
    "certificates": Table(
        Certificate,
        "id names source key_type account_id profile reuse_key challenge_method_id on_demand auto_renew "
        "renew_before_days check_hours deleted_at next_check_at last_check_at last_decision last_renewed_at failures "
        "next_attempt_at retry_after_at current__serial current__issuer current__fingerprint_sha256 "
        "current__not_before current__not_after current__self_signed current__revoked_at",
        "name last_decision_text current__revocation_trouble",
        order="name",
    ),
    "changes": Table(AuditEvent, "at action result", "actor_text target", order="-id", newest=300),
    "channels": Table(Channel, "id kind enabled allow_private failures last_sent_at next_attempt_at", "last_trouble"),
    "directories": Table(AcmeDirectory, "checked_at trouble_since clock_skew retry_after_at", "directory_url trouble"),
    "exports": Table(NodeExport, "node count finished_at", "trouble"),
    "jobs": Table(JobEvent, "job at level step", "message", order="-id", newest=1000),
    "listeners": Table(Listener, "node protocol addresses port source managed updated_at"),
    "methods": Table(ChallengeMethod, "id kind tested_at test_ok", "test_words"),
    "nodes": Table(NodeDiagnosis, "node role seen_at finished_at"),
    "orders": Table(
        Order,
        "id certificate_id account_id reason names state rehearsal profile challenge_kind served attempts restarts "
        "error_code next_attempt_at lease_until created_at updated_at finished_at",
        "error_message error_advice",
        order="-created_at",
        newest=300,
    ),
    "portal": Table(
        PortalState,
        "public_url extra_hosts generation force_ssl hsts hsts_host hsts_step renew_before_days check_hours "
        "sweep_started_at sweep_finished_at sweep_summary on_demand on_demand_hosts export export_mode ring_saved_at",
        "import_error",
    ),
    "processes": Table(NodeProcess, "node pid generation fingerprints started_at seen_at", "error"),
    "rebinds": Table(
        Rebind, "node addresses port old_addresses old_port state created_at", "message", order="-created_at", newest=50
    ),
    "workers": Table(WorkerBeat, "node pid moved_at busy_until task"),
}

README = """\
A support bundle of Bindery {version}, made on {node} at {moment}.

doctor.json     what `manage.py doctor` says; doctor.md the same for people
versions.json   of Bindery, Python, the system and the installed packages
settings.json   those that matter and hold no secret, and which variables of the environment are set
records/        the last rows of jobs, orders, changes, alarms and the like, and public facts of certificates
files.json      the data directory: names, sizes, modes and owners
migrations.json those that the database has

Left out: every key, password, token and one-time link, sessions, people. E-mail addresses, paths of URLs and
whatever looks random are masked (•••) in sentences. Names and addresses of hosts are in it.
Look through it before you pass it on.
"""


_NO_DATABASE = {"error": "the database cannot be used"}


def support_bundle(lines: Sequence[Line] | None = None) -> bytes:
    """A ZIP file; `lines` where the diagnosis was made already. Works without a database, and then says so inside."""
    lines = diagnosis_run() if lines is None else lines
    redaction = redaction_read(urls=frozenset(_safely(_directories, [])))
    lines = [_line(line, redaction) for line in lines]
    moment = clock.real()
    told = document(lines, node=node_name(), version=settings.VERSION, made_at=moment)
    content: dict[str, str] = {
        "README.txt": README.format(version=settings.VERSION, node=node_name(), moment=f"{moment:%Y-%m-%d %H:%M} UTC"),
        "doctor.json": _json(told),
        "doctor.md": "\n\n".join(_paragraph(line) for line in lines) + "\n",
        "versions.json": _json(_versions()),
        "settings.json": _json(_facts(_settings(), redaction)),
        "files.json": _json(_files(home.path(), redaction)),
        "migrations.json": _json(_safely(_migrations, _NO_DATABASE)),
    }
    for name, table in TABLES.items():
        content[f"records/{name}.json"] = _json(_safely(partial(_rows, table, redaction), _NO_DATABASE))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in content.items():
            archive.writestr(path, text)
    return stream.getvalue()


def bundle_name() -> str:
    return f"bindery-support-{clock.real():%Y%m%d-%H%M%S}.zip"


def bundle_place(file: Path) -> None:
    """Raises InputError for a place where no new file can be made."""
    if file.exists() or file.is_symlink():
        raise InputError(f"{file} is there already and is not overwritten.", advice="Name another file.")
    if not os.access(file.absolute().parent, os.W_OK | os.X_OK):
        raise InputError(f"No file can be made in {file.absolute().parent}.", advice="Name another place.")


def bundle_write(file: Path, content: bytes) -> None:
    """A new file with mode 0600, owned as its directory is, also where root writes it. Raises InputError."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            if os.geteuid() == 0:
                place = file.absolute().parent.stat()
                os.fchown(stream.fileno(), place.st_uid, place.st_gid)
            stream.write(content)
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}.", advice="Name another file.") from error


def _rows(table: Table, redaction: Redaction) -> list[dict[str, Any]]:
    facts, texts = table.facts.split(), table.texts.split()
    found = table.model._default_manager.order_by(table.order).values(*facts, *texts)[: table.newest]
    return [
        {
            **{name: _facts(row[name], redaction) for name in facts},
            **{name: redaction.strict(str(row[name] or "")) for name in texts},
        }
        for row in found
    ]


def _facts(value: Any, redaction: Redaction) -> Any:
    """As JSON, without the known secrets."""
    if isinstance(value, Mapping):
        return {redaction.known(str(key)): _facts(each, redaction) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_facts(each, redaction) for each in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, UUID):
        return str(value)
    return redaction.known(str(value))


def _line(line: Line, redaction: Redaction) -> Line:
    strict = redaction.strict
    return replace(line, sentence=strict(line.sentence), mend=strict(line.mend), evidence=strict(line.evidence))


def _paragraph(line: Line) -> str:
    return "\n".join(
        filter(None, (f"**{line.state}** {line.topic}/{line.code}: {line.sentence}", line.mend, line.evidence))
    )


def _directories() -> list[str]:
    """Addresses of directories, as CAs publish them: without query."""
    found = AcmeAccount.objects.values_list("directory_url", flat=True).distinct()
    return [url for url in found if not urlsplit(url).query and not urlsplit(url).username]


def _migrations() -> list[str]:
    return sorted(f"{app}.{name}" for app, name in MigrationRecorder(connection).applied_migrations())


def _settings() -> dict[str, object]:
    database = settings.DATABASES["default"]
    return {
        **{name: getattr(settings, name, None) for name in SETTINGS.split()},
        "CA_BUNDLE": bool(settings.CA_BUNDLE),
        "database": {"engine": database["ENGINE"], "host": database.get("HOST"), "port": database.get("PORT")},
        "environment": sorted(settings_given(os.environ)),
        "proxies": {
            name: host_of_url(value)
            for name, value in settings_given(os.environ).items()
            if name.lower() in {"http_proxy", "https_proxy", "all_proxy"}
        },
    }


def _versions() -> dict[str, object]:
    return {
        "bindery": settings.VERSION,
        "python": sys.version,
        "openssl": ssl.OPENSSL_VERSION,
        "sqlite": sqlite3.sqlite_version,
        "system": platform.platform(),
        "distribution": _distribution(),
        "packages": dict(sorted((str(each.name), each.version) for each in distributions())),
    }


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def _files(place: Path, redaction: Redaction) -> list[dict[str, object]]:
    try:
        files = [place, *sorted(place.iterdir())]
    except OSError:
        files = [place]
    found = []
    for file in files:
        try:
            seen = file.lstat()
        except OSError:
            continue
        name = redaction.strict(file.name) if file != place else "."
        mode, owner = f"{stat.filemode(seen.st_mode)} {stat.S_IMODE(seen.st_mode):04o}", seen.st_uid
        found.append({"name": name, "mode": mode, "owner": owner, "group": seen.st_gid, "size": seen.st_size})
    return found


def _safely(read: Callable[[], Any], otherwise: Any) -> Any:
    try:
        return read()
    except (DatabaseProblem, InterfaceError):
        return otherwise


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
