"""Certificates as files below acme/, for servers on this machine that read them there.

Every node writes what the database holds. A private key leaves the database here, so to switch it on is an audited
action with a permission of its own. Switching off leaves the files: servers may be reading them. What is deleted in the
portal goes from the disk too, and the key of a CA never comes there; what the database does not know is never touched.
"""

import errno
import grp
import hashlib
import logging
import pwd
import stat
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from certs.domain.errors import BinderyError, CertificateRefused, ConflictError, InputError
from certs.domain.exporting import GENERATION, directory_name, generation_name, mode_parse
from certs.domain.keys import key_from_pem, key_to_pem
from certs.domain.pem import certificates_read, pair_check
from certs.domain.roles import Right
from certs.models import AuditEvent, Authority, Certificate, CertificateVersion, NodeExport, PortalState
from certs.services.access import PORTAL, Actor, needs, require_export
from certs.services.events import audit_record
from certs.services.identity import identity_held
from certs.services.keys import key_open
from certs.services.nodes import node_name
from certs.services.portal_state import state_get, state_update
from certs.transports.generations import CURRENT, Access, Files, Shelf
from certs.transports.local import user_name
from portal import clock

log = logging.getLogger("bindery.export")
_CHANGED = "export.change"
CHAIN, LEAF, FULL, KEY = "chain.pem", "cert.pem", "fullchain.pem", "privkey.pem"
_SHOWN = 5  # troubles in one text
_AS_GIVEN = -1
_FRESH = timedelta(hours=1)  # a node looks every few minutes
_GONE = timedelta(days=30)


class _Overtaken(Exception):
    """Renewed, deleted or switched off since it was read: whoever brought that about sees to the files."""


@dataclass
class ExportResult:
    """`count` certificates are there as they should be; `written` and `removed` name the directories that changed."""

    count: int = 0
    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


@needs(Right.READ, of=PORTAL)
def export_change(*, on: bool, owner: str, group: str, mode: str, actor: Actor) -> None:
    """Switch the export on or off, and set whose the files are. Other nodes follow within seconds.

    Tried on this machine before it is stored. Raises NotAllowed, ConflictError where the environment decides, and
    InputError (codes "owner", "group", "mode", "place") naming what stands against it and what to do.
    """
    require_export(actor)
    wanted: dict[str, Any] = {
        "export": on,
        "export_owner": owner.strip(),
        "export_group": group.strip(),
        "export_mode": mode.strip(),
    }
    for name, value in _given().items():
        if wanted[name] != value:
            raise _locked(name)
    if on:
        shelf = _shelf(_access(wanted["export_owner"], wanted["export_group"], wanted["export_mode"]))
        try:
            shelf.probe()
        except OSError as error:
            raise _refused(error, PortalState(**wanted)) from error
    else:
        mode_parse(wanted["export_mode"])
    _store(wanted, actor)


def export_given() -> None:
    """At the start: what the environment says is written down, where the pages show it. Raises InputError."""
    given = _given()
    if given:
        mode_parse(given.get("export_mode", "0600"))
        _store(given, "environment")


def export_run() -> ExportResult | None:
    """Bring the files of this node up to the database; None where the export is off, or the portal may be a copy.

    No trouble with one certificate keeps the others; all of it is kept in the node's row. Raises DatabaseError only.
    """
    state = state_get()
    if not state.export or identity_held():  # an older database must not put older certificates in place
        return None
    result = ExportResult()
    try:
        shelf = _shelf(_access(state.export_owner, state.export_group, state.export_mode))
    except InputError as error:
        result.troubles.append(str(error))
    else:
        _write(shelf, state, result)
    _report(result)
    return result


@needs(Right.READ, of=PORTAL)
def export_remove(*, actor: Actor) -> ExportResult:
    """Take away what was exported on this node and the database knows of. Raises ConflictError while it is on."""
    require_export(actor)
    if state_get().export:
        raise ConflictError("The export is on, so the files would come back.", advice="Switch it off first.")
    result = ExportResult()
    _remove(_shelf(Access()), Certificate.objects.exclude(export_name=""), result)
    audit_record(
        actor, "export.remove", settings.EXPORT_DIR, after={"directories": result.removed, "node": node_name()}
    )
    NodeExport.objects.filter(node=node_name()).delete()
    return result


def export_place(certificate: Certificate) -> Path | None:
    """The directory where its files are found on every node; None where they are not exported."""
    if not state_get().export or not certificate.export_name:
        return None
    return Path(settings.EXPORT_DIR, certificate.export_name, CURRENT)


def export_signature() -> str:
    """Changes whenever something is to be written or removed; "" where the export is off. Two queries."""
    state = state_get()
    if not state.export:
        return ""
    rows = Certificate.objects.order_by("pk").values_list("pk", "current_id", "deleted_at", "export_name")
    facts = [state.export_owner, state.export_group, state.export_mode, *rows]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def export_awaited() -> datetime | None:
    """Since when what was switched on or changed waits for a first node to write it; None where nothing does."""
    if not state_get().export:
        return None
    changed = AuditEvent.objects.filter(action=_CHANGED).values_list("at", flat=True).first()
    if changed is None:  # forgotten long ago
        return None
    return None if NodeExport.objects.filter(finished_at__gte=changed).exists() else changed


def export_warnings(state: PortalState) -> list[str]:
    """Why those whom the files are given to may not get at them."""
    try:
        access = _access(state.export_owner, state.export_group, state.export_mode)
    except InputError as error:
        return [str(error)]
    if not state.export or access.directory_mode == 0o700:
        return []
    return [
        f"{parent} does not let them through to the files: chmod o+x {parent}"
        for parent in settings.EXPORT_DIR.parents
        if not _lets_through(parent, access)
    ]


def export_troubles() -> list[NodeExport]:
    """The nodes that could not write everything; none while the export is off. A node that is gone is no trouble."""
    if not state_get().export:
        return []
    return list(NodeExport.objects.exclude(trouble="").filter(finished_at__gt=clock.now() - _FRESH))


def _write(shelf: Shelf, state: PortalState, result: ExportResult) -> None:
    found = _for_servers().filter(current__key__isnull=False)
    for certificate in found.select_related("current__key").order_by("created_at"):
        version = certificate.current
        if version is None or version.key is None or certificate.pk == state.placeholder_id:
            continue
        name = certificate.export_name or _name_give(certificate)
        try:
            generation = generation_name(version.not_before, version.fingerprint_sha256)
            if shelf.publish(name, generation, _files(version), partial(_check, version)):
                result.written.append(name)
                log.info("%s was exported to %s", certificate.name, shelf.root / name / generation)
            result.count += 1
        except _Overtaken:
            continue
        except OSError as error:
            result.troubles.append(f"{name}: {_refused(error, state)}")
        except BinderyError as error:
            result.troubles.append(f"{name}: {error}")
    named = Certificate.objects.exclude(export_name="")
    taken = _for_servers().exclude(export_name="").values("export_name")
    _remove(shelf, named.exclude(pk__in=_for_servers().values("pk")).exclude(export_name__in=taken), result, state)


def _for_servers() -> QuerySet[Certificate]:
    """Not the CAs and what answers OCSP for them: keys that sign for others stay in the database."""
    responders = Authority.objects.exclude(responder=None).values("responder")
    return Certificate.objects.filter(deleted_at=None).exclude(current__is_ca=True).exclude(pk__in=responders)


def _remove(shelf: Shelf, rows: QuerySet[Certificate], result: ExportResult, state: PortalState | None = None) -> None:
    for name in rows.values_list("export_name", flat=True):
        try:
            if shelf.remove(name):
                result.removed.append(name)
                log.info("%s was removed from the export", name)
        except OSError as error:
            result.troubles.append(f"{name}: {_refused(error, state or PortalState())}")


def _files(version: CertificateVersion) -> Files:
    """Raises KeyRefused where the key is not held here, SecretError."""
    assert version.key is not None  # noqa: S101 - only versions with a key are exported
    return {
        LEAF: version.leaf_pem.encode(),
        CHAIN: version.chain_pem.encode(),
        FULL: version.fullchain_pem.encode(),
        KEY: key_to_pem(key_open(version.key)),
    }


def _check(version: CertificateVersion, files: Files) -> None:
    """What stands on the disk is a pair, and is what the database wants now. Raises CertificateRefused, KeyRefused,
    _Overtaken."""
    pair_check(certificates_read(files[LEAF])[0], key_from_pem(files[KEY]))
    if files[FULL] != files[LEAF] + files[CHAIN]:
        raise CertificateRefused("What was written is not what was to be written.", advice="Check the disk.")
    if not state_get().export or not Certificate.objects.filter(current=version, deleted_at=None).exists():
        raise _Overtaken


def _name_give(certificate: Certificate) -> str:
    """Its directory, for life and on every node; of several with a name the first has it plain."""
    plain = directory_name(certificate.name)
    for name in (plain, f"{plain}-{str(certificate.pk)[:8]}", str(certificate.pk)):
        try:
            with transaction.atomic():
                Certificate.objects.filter(pk=certificate.pk, export_name="").update(export_name=name)
        except IntegrityError:
            continue
        break
    certificate.refresh_from_db(fields=["export_name"])
    return certificate.export_name


def _report(result: ExportResult) -> None:
    more = len(result.troubles) - _SHOWN
    texts = result.troubles[:_SHOWN] + ([f"And {more} more."] if more > 0 else [])
    trouble = "\n".join(texts)
    before = NodeExport.objects.filter(node=node_name()).values_list("trouble", flat=True).first()
    if trouble and trouble != before:
        log.error("The export is not complete: %s", " ".join(texts))
    NodeExport.objects.filter(finished_at__lt=clock.now() - _GONE).delete()
    NodeExport.objects.update_or_create(
        node=node_name(),
        defaults={
            "place": str(settings.EXPORT_DIR),
            "count": result.count,
            "trouble": trouble,
            "finished_at": clock.now(),
        },
    )


def _lets_through(directory: Path, access: Access) -> bool:
    """Whether owner and group of the files may pass; True also where that cannot be told."""
    try:
        found = directory.stat()
    except OSError:
        return True
    own = found.st_uid == access.uid and found.st_mode & stat.S_IXUSR
    group = found.st_gid == access.gid and found.st_mode & stat.S_IXGRP
    return bool(own or group or found.st_mode & stat.S_IXOTH)


def _shelf(access: Access) -> Shelf:
    return Shelf(settings.EXPORT_DIR, access, GENERATION)


def _access(owner: str, group: str, mode: str) -> Access:
    return Access(mode_parse(mode), _number(owner, "owner"), _number(group, "group"))


def _number(name: str, what: str) -> int:
    """Of a user or a group of this machine. Raises InputError."""
    if not name:
        return _AS_GIVEN
    try:
        if name.isdecimal():
            return int(name)
        return pwd.getpwnam(name).pw_uid if what == "owner" else grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        kind = "user" if what == "owner" else "group"
        raise InputError(
            f"There is no {kind} “{name}” on {node_name()}.",
            advice=f"Type the name or the number of a {kind}.",
            code=what,
        ) from None


def _refused(error: OSError, state: PortalState) -> InputError:
    """What the system refused, for a person: the file, the mode, and what to do."""
    path, user = Path(error.filename or settings.EXPORT_DIR), user_name()
    if error.errno == errno.EPERM and (state.export_owner or state.export_group):
        whose = " and ".join(
            f"{what} {name}" for what, name in (("user", state.export_owner), ("group", state.export_group)) if name
        )
        return InputError(
            f"{path} cannot be given to {whose} (mode {state.export_mode}) by {user}, as whom the portal runs.",
            advice=f"Leave the owner empty and name a group that {user} is a member of, or run the portal as root.",
            code="owner" if state.export_owner else "group",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        root = settings.EXPORT_DIR
        return InputError(
            f"{path} cannot be written by {user}: {error.strerror}.",
            advice=f"Give the directory to {user}: `chown -R {user} {root} && chmod 0700 {root}`.",
            code="place",
        )
    return InputError(f"{path} cannot be written: {error.strerror}.", advice="Check the disk.", code="place")


def _store(wanted: dict[str, Any], actor: Actor) -> None:
    state = state_get()
    before = {name: getattr(state, name) for name in wanted}
    if before == wanted:
        return
    with transaction.atomic():
        state_update(**wanted)
        audit_record(actor, _CHANGED, settings.EXPORT_DIR, before=before, after=wanted)


def _given() -> dict[str, Any]:
    """What the environment decides, as fields of PortalState."""
    return {**({"export": settings.EXPORT} if settings.EXPORT_LOCKED else {}), **settings.EXPORT_ACCESS}


def _locked(name: str) -> ConflictError:
    return ConflictError(
        f"BINDERY_{name.upper()} is set in the environment of the portal and decides this.",
        advice="Change or unset it and restart the portal.",
        code="locked",
    )
