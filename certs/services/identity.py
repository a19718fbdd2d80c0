"""Which portal this is: a database that was copied, restored or put back is noticed before it orders beside the real
one, and held until a person says which of two portals goes on.

Two portals with the same account keys renew the same certificates twice, spend each other's rate limits, revoke what
the other serves and take away each other's answers in the DNS. So what matters is where the database lies, by facts
that a copy cannot take along and that nothing else changes, since a false alarm teaches people to click it away:

- SQLite: the file `identity` beside the database (the mark) and the time at which the filesystem says it was born
  (`transports/birth.py`). A container made anew on its volume, a new image, another host name, machine id or
  BINDERY_NODE, renumbered devices, a directory that was renamed or mounted elsewhere are all the same place. The
  machine id is not asked: it changes with each container, and two clones of one image share it.
- PostgreSQL: the cluster's system identifier, made by initdb and kept by its replicas, and the database's oid, made by
  CREATE DATABASE. A fail-over and a new server in front are the same; a restored dump is not. After pg_upgrade, or a
  dump and restore to a new major version, a person has to say so once.
- A count of starts and orders in the database, the highest ever seen also in the mark: a database whose count is lower
  is an older one put back.

What nobody can see from inside is a clone of the whole disk or of the whole PostgreSQL cluster, block by block, or a
machine set back to a snapshot: hold it by `manage.py take_over --hold` before it gets a network.
"""

import json
import os
from contextlib import suppress
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models import F

from certs.domain.alarms import Level, Trouble, subject_make
from certs.domain.errors import Unavailable
from certs.domain.roles import Right
from certs.models import Certificate, PortalIdentity
from certs.services.access import Actor, needs
from certs.services.alarms import alarm_clear, alarm_raise
from certs.services.events import audit_record
from certs.services.queue import queue_enqueue
from certs.transports import birth
from portal import clock, home

ALARM = "identity"
PATH = "/configuration/take-over/"
COPIED = "The data directory of this portal is a copy, or was moved here from another disk."
RESTORED = "A saved database was put into the data directory of this portal."
OTHERS = "The database in this data directory is another portal's, or one from before a take-over."
OLDER = "An older database was put back: this portal has been started or has ordered since it was saved."
ELSEWHERE = "The database of this portal was restored from a dump, or its PostgreSQL was set up anew."
BY_HAND = "A person has said that this portal is a copy."
_MARK_BYTES = 256  # one write of less than a sector, in place: the file's birth is what counts


def identity_settle() -> str:
    """At each start: make the identity of a new database, or look whether it is where it belongs. Returns why the
    portal is held, in a sentence, or "". A copy is told of by an alarm."""
    row = _row()
    if row is None:
        _settle_here()
    elif not row.held_at and (why := _noticed(row)):
        _hold(why, "portal")
    why = identity_held()
    if not why:
        identity_count()
    return why


def identity_held() -> str:
    """Why nothing may be asked of a CA by this portal, in a sentence; "" where it may. One query and a look at a file,
    so that a command notices a copy that was never started."""
    row = _row()
    if row is None:
        return ""
    return row.held_why if row.held_at else _noticed(row)


def identity_is_trial() -> bool:
    """Whether a person has said that this is a copy for trying."""
    return PortalIdentity.objects.filter(pk=1, trial=True, held_at__isnull=False).exists()


def identity_count() -> None:
    """One more start or order: what was saved before it is older from now on. Not inside `atomic()`.

    The database first: a process killed in between leaves a mark that lags, which means nothing.
    """
    if PortalIdentity.objects.filter(pk=1, held_at=None).update(count=F("count") + 1) and (row := _row()):
        with suppress(Unavailable):  # a disk that is full: the next one writes it
            _mark_write(_mark(row.uid, row.count))


@needs(Right.SETTING)
def identity_take_over(*, actor: Actor) -> bool:
    """A person says that this is the portal from now on, and the other one is gone: what waits goes on. False where
    nothing was held. Raises Unavailable where the mark cannot be written."""
    why = identity_held()
    if not why:
        return False
    with transaction.atomic():
        row = PortalIdentity.objects.select_for_update().get(pk=1)
        audit_record(actor, "portal.take-over", "portal", before={"held": why}, after={"was": str(row.uid)})
        # What was due meanwhile said so in its decision; it is looked at again now.
        Certificate.objects.filter(deleted_at=None).update(next_check_at=clock.now())
    _settle_here()
    alarm_clear(ALARM, told="A person has said that this is the portal from now on. Orders and renewals go on.")
    queue_enqueue("certs.tasks.tick")
    return True


@needs(Right.SETTING)
def identity_hold(*, actor: Actor) -> None:
    """A person says that this is a copy for trying: it stays held, and asks no more."""
    _hold(identity_held() or BY_HAND, actor, trial=True)


def _hold(why: str, actor: Actor, *, trial: bool = False) -> None:
    with transaction.atomic():
        row, _ = PortalIdentity.objects.select_for_update().get_or_create(pk=1)
        if row.held_at and row.trial >= trial:
            return
        PortalIdentity.objects.filter(pk=1).update(held_at=clock.now(), held_why=why, trial=trial)
        audit_record(actor, "portal.hold", "portal", after={"why": why, "trial": trial})
    if trial:
        alarm_clear(ALARM, quietly=True)
        return
    alarm_raise(
        Trouble(
            key=ALARM,
            level=Level.URGENT,
            subject=subject_make("Portal", "held, since it may be a copy"),
            happened=why,
            tried="It serves what it has. Nothing is ordered, renewed or revoked by it.",
            advice="Say which portal goes on: on the page below, or by `manage.py take_over`.",
            path=PATH,
        )
    )


def _settle_here() -> None:
    """This place, under a new identity; the count goes on above all that was seen. The mark is empty meanwhile, which
    means nothing to whoever looks after a kill."""
    seen, row, uid = _mark_read().get("count", 0), _row(), uuid4()
    count = max(seen, row.count if row else 0) + 1
    _mark_write("")
    here = {"uid": uid, "place": _place(), "count": count, "held_at": None, "held_why": "", "trial": False}
    PortalIdentity.objects.update_or_create(pk=1, defaults=here)
    _mark_write(_mark(uid, count))


def _row() -> PortalIdentity | None:
    return PortalIdentity.objects.filter(pk=1).first()


def _noticed(row: PortalIdentity) -> str:
    mark = _mark_read()
    if connection.vendor == "sqlite" and not home.identity_mark().exists():
        return RESTORED
    if connection.vendor == "sqlite" and not birth.same_place(row.place, _place()):
        return COPIED
    if connection.vendor == "postgresql" and not _same_cluster(row.place, _place()):
        return ELSEWHERE
    if connection.vendor == "sqlite" and mark.get("portal", str(row.uid)) != str(row.uid):
        return OTHERS
    # Nodes of a cluster have a mark each; of one that has served another portal nothing follows.
    if mark.get("portal") == str(row.uid) and mark["count"] > row.count:
        return OLDER
    return ""


def _place() -> dict[str, int]:
    if connection.vendor == "postgresql":
        return dict(_cluster())
    try:
        return birth.place_of(home.identity_mark())
    except OSError:
        return {}


@lru_cache(maxsize=1)
def _cluster() -> tuple[tuple[str, int], ...]:
    """ "system" only where the role may read it: every role may, unless somebody took that away."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT oid FROM pg_database WHERE datname = current_database()")
        found = {"database": int(cursor.fetchone()[0])}
        cursor.execute("SELECT has_function_privilege('pg_control_system()', 'execute')")
        if cursor.fetchone()[0]:
            cursor.execute("SELECT system_identifier FROM pg_control_system()")
            found["system"] = int(cursor.fetchone()[0])
    return tuple(found.items())


def _same_cluster(before: dict[str, int], now: dict[str, int]) -> bool:
    return all(before[name] == now[name] for name in before.keys() & now.keys())


def _mark_read() -> dict[str, Any]:
    """{"portal", "count"}; empty where it is missing or cannot be read, as after a crash of the machine."""
    try:
        read = json.loads(home.identity_mark().read_text())
        return {"portal": str(read["portal"]), "count": int(read["count"])}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _mark(uid: UUID, count: int) -> str:
    return json.dumps({"portal": str(uid), "count": count})


def _mark_write(text: str) -> None:
    """In place, never by a new file: that would be born anew. Raises Unavailable."""
    try:
        descriptor = os.open(home.identity_mark(), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, f"{text:<{_MARK_BYTES - 1}}\n".encode(), 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Unavailable(
            f"{home.identity_mark()} cannot be written: {error.strerror}.",
            advice="Give the portal's user the right to write it.",
            code="identity",
        ) from error
