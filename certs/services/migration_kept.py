"""Between the preview of a take-over and its carrying out on a page: where it is read from, or the archive itself,
sealed and for minutes only. The plan is made anew each time, so that what is done is what is there."""

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from django.conf import settings

from certs.domain.errors import ConflictError, InputError, SecretError
from certs.domain.roles import Right
from certs.models import Intake, User
from certs.services.access import PORTAL, Actor, needs
from certs.services.intake import intakes_prune
from certs.services.migration import (
    HOMES,
    Plan,
    migration_plan,
    place_allowed,
    tree_of_archive,
    tree_of_place,
)
from certs.services.migration_run import Done, Trust, migration_run
from certs.services.secrets import secret_open, secret_seal
from certs.transports.connections import trust_context
from portal import clock

PURPOSE = "migration"  # an Intake of `services/intake.py` cannot be opened as this one
ARCHIVE_BYTES = 1024 * 1024  # what is kept of an uploaded file, and in a row of the database
MOST = 200  # certificates in one request; the command line has no such limit


@dataclass(frozen=True)
class Given:
    """Either a place on the server or an uploaded archive; and how the CAs of its accounts are reached where they are
    not public ones: `ca_bundle` (PEM), and whether they may be on private addresses."""

    client: str
    place: str = ""
    archive: bytes = b""
    name: str = ""
    ca_bundle: str = ""
    allow_private: bool = False


def places_allowed() -> list[Path]:
    """What a page may read: the usual places, and what the operator of the machine has named."""
    return [*map(Path, HOMES.values()), *settings.IMPORT_DIRS]


@needs(Right.ACCOUNT, of=PORTAL)
def migration_look(given: Given, *, actor: Actor) -> Plan:
    """What would be taken of it. Raises InputError, NotAllowed for a place that may not be read."""
    command = f"Use the command line: manage.py certs import --{given.client.replace('.', '')}"
    if len(given.archive) > ARCHIVE_BYTES:  # what is longer comes cut off, by one byte too many
        raise InputError(
            f"The archive is larger than {ARCHIVE_BYTES // 1024**2} MiB.", advice=f"{command} FILE", code="archive"
        )
    trust_context(given.ca_bundle)
    plan = _plan(given)
    if len(plan.certificates) > MOST:
        raise InputError(
            f"These are {len(plan.certificates)} certificates; at most {MOST} are taken at once.",
            advice=f"{command} DIRECTORY",
        )
    return plan


@needs(Right.ACCOUNT, of=PORTAL)
def migration_take(given: Given, digest: str, *, actor: Actor) -> tuple[Plan, list[Done]]:
    """Carries it out. `digest` is that of the plan that was seen: raises ConflictError where there is something else
    now."""
    plan = migration_look(given, actor=actor)
    if plan.digest != digest:
        raise ConflictError(
            "There is something else now than what you saw.", advice="Look at it again.", code="changed"
        )
    return plan, migration_run(plan, actor=actor, trust=Trust(given.ca_bundle, given.allow_private))


@needs(Right.ACCOUNT, of=PORTAL)
def migration_keep(given: Given, *, actor: User) -> Intake:
    """Raises InputError, NotAllowed where nothing could be planned of it."""
    migration_look(given, actor=actor)
    uid = uuid4()
    document = {
        "client": given.client,
        "place": given.place,
        "archive": b64encode(given.archive).decode(),
        "name": given.name,
        "ca_bundle": given.ca_bundle,
        "allow_private": given.allow_private,
    }
    intakes_prune()
    return Intake.objects.create(id=uid, user=actor, sealed=secret_seal(PURPOSE, uid, json.dumps(document).encode()))


@needs(Right.ACCOUNT, of=PORTAL)
def migration_open(pk: UUID, *, actor: User) -> Plan:
    """Raises InputError (code "gone") where it is not kept any more, or another person's."""
    return _plan(_given(pk, actor))


def _given(pk: UUID, actor: User) -> Given:
    row = Intake.objects.filter(pk=pk, user=actor, created_at__gt=clock.now() - Intake.LIFE).first()
    try:
        document = json.loads(secret_open(PURPOSE, row.id, row.sealed)) if row else None
    except SecretError:
        document = None
    if document is None:
        minutes = int(Intake.LIFE.total_seconds() // 60)
        advice = f"It is kept for {minutes} minutes; look at it again."
        raise InputError("What was to be taken is not kept any more.", advice=advice, code="gone")
    return Given(**document | {"archive": b64decode(document["archive"])})


@needs(Right.ACCOUNT, of=PORTAL)
def migration_carry_out(pk: UUID, digest: str, *, actor: User) -> tuple[Plan, list[Done]]:
    """Raises ConflictError where there is something else now than what was seen."""
    taken = migration_take(_given(pk, actor), digest, actor=actor)
    Intake.objects.filter(pk=pk, user=actor).delete()
    return taken


def _plan(given: Given) -> Plan:
    if given.archive:
        tree = tree_of_archive(given.client, given.archive, given.name)
    else:
        tree = tree_of_place(place_allowed(Path(given.place), places_allowed()))
    return migration_plan(given.client, tree, credentials_in=places_allowed())
