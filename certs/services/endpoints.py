"""Endpoints: added, changed, delegated to an organization, and the identity of their machine approved."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.db.models import Q

from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.domain.options import OptionRefused, options_of
from certs.domain.roles import Place, Right
from certs.models import Department, Endpoint, Installation, Organization
from certs.services.access import Actor, may, needs, require
from certs.services.endpoint_sessions import (
    connection_kinds,
    connection_of,
    endpoint_open,
    installer_kinds,
    kind_of,
)
from certs.services.events import audit_record
from certs.services.options import options_merge, options_secret, options_store

LONGEST_NAME = 32


@needs(Right.ENDPOINT)
def endpoint_create(
    *,
    name: str,
    kind: str,
    connection: str,
    given: Mapping[str, Any],
    organization: Organization | None = None,
    department: Department | None = None,
    actor: Actor,
) -> Endpoint:
    """`given` are the options of the kind and of the connection together, as typed. Nothing is contacted.

    Raises InputError, OptionRefused, NotAllowed, ConflictError (code "name").
    """
    place = _place(organization, department)
    require(actor, Right.ENDPOINT, place)
    row = Endpoint(id=uuid4(), name=_name(name), kind=kind, connection=connection)
    row.organization_id, row.department_id = place.organization, place.department
    _options_set(row, given)
    _allowed(row, actor)
    with transaction.atomic():
        _save(row, force_insert=True)
        audit_record(actor, "endpoint.create", row, after=endpoint_shown(row))
    return row


@needs(Right.ENDPOINT)
def endpoint_update(
    row: Endpoint, *, actor: Actor, name: str | None = None, given: Mapping[str, Any] | None = None
) -> None:
    """An option that is not given stays, a secret left empty too. Another host or port is another machine: what was
    approved of the old one is forgotten. Raises what `endpoint_create` raises."""
    require(actor, Right.ENDPOINT, row)
    before, place = endpoint_shown(row), _address(row)
    if name is not None:
        row.name = _name(name)
    if given is not None:
        _options_set(row, {**row.options, **row.connection_options, **given})
    _allowed(row, actor)
    if _address(row) != place:
        row.pin = row.pin_fingerprint = row.shown_key = row.shown_fingerprint = ""
    with transaction.atomic():
        _save(row)
        audit_record(actor, "endpoint.update", row, before=before, after=endpoint_shown(row))


@needs(Right.ENDPOINT)
def endpoint_delegate(
    row: Endpoint, organization: Organization, department: Department | None = None, *, actor: Actor
) -> None:
    """Give it to an organization, or to one of its departments. Raises InputError, NotAllowed, ConflictError while
    certificates of another organization are assigned to its nodes."""
    place = _place(organization, department)
    require(actor, Right.ENDPOINT, row)
    require(actor, Right.ENDPOINT, place)
    strange = row.nodes.exclude(certificate=None).exclude(certificate__organization=organization).first()
    if strange is not None:
        raise ConflictError(
            f"{strange} serves a certificate of another organization.", advice="Take that away first.", code="assigned"
        )
    before = endpoint_shown(row)
    row.organization, row.department = organization, department
    with transaction.atomic():
        row.save(update_fields=["organization", "department"])
        audit_record(actor, "endpoint.delegate", row, before=before, after=endpoint_shown(row))


@needs(Right.ENDPOINT)
def endpoint_delete(row: Endpoint, *, actor: Actor) -> None:
    """With its nodes and their history; the machine is not touched. Raises ConflictError while something is being
    installed there."""
    require(actor, Right.ENDPOINT, row)
    with transaction.atomic():
        if Installation.objects.filter(node__endpoint=row, finished_at=None).exists():
            raise ConflictError(f"Something is being installed on {row}.", advice="Wait until it has ended.")
        audit_record(actor, "endpoint.delete", row, before=endpoint_shown(row))
        row.delete()


@needs(Right.ENDPOINT)
def endpoint_look(row: Endpoint, *, actor: Actor) -> str:
    """Ask the machine what it shows of itself, and remember it for a person to compare; "" where nothing is to be
    approved. Network. Raises Unreachable, InputError."""
    require(actor, Right.ENDPOINT, row)
    shows = connection_of(row).identity()
    if shows is None:
        return ""
    row.shown_key, row.shown_fingerprint = shows.key, shows.fingerprint
    row.save(update_fields=["shown_key", "shown_fingerprint"])
    return shows.fingerprint


@needs(Right.ENDPOINT)
def endpoint_approve(row: Endpoint, fingerprint: str, *, actor: Actor) -> None:
    """What the machine has shown is what a person expects: `fingerprint` is the one that they have compared.

    Raises ConflictError where it shows another one by now, InputError where it has shown none.
    """
    require(actor, Right.ENDPOINT, row)
    if not row.shown_key:
        raise InputError(f"{row} has shown nothing to approve yet.", advice="Test it first.", code="identity")
    if fingerprint.strip() != row.shown_fingerprint:
        raise ConflictError(
            f"{row} shows {row.shown_fingerprint}, not what you give.",
            advice="Compare again, on the machine itself.",
            code="identity",
        )
    before = {"fingerprint": row.pin_fingerprint}
    row.pin, row.pin_fingerprint = row.shown_key, row.shown_fingerprint
    with transaction.atomic():
        row.save(update_fields=["pin", "pin_fingerprint"])
        audit_record(actor, "endpoint.approve", row, before=before, after={"fingerprint": row.pin_fingerprint})


@needs(Right.INSTALL)
def endpoint_test(row: Endpoint, *, actor: Actor) -> str:
    """Whether we get in, as whom, and with which rights: a sentence. Network. Raises what `Connection.open` raises."""
    require(actor, Right.INSTALL, row)
    with endpoint_open(row) as host:
        who: str = host.account
        rights = "root" if host.is_root else "sudo where it is needed" if host.elevates else "its own rights alone"
    return f"{row} is reached at {connection_of(row).place} as {who}, with {rights}."


def endpoint_shown(row: Endpoint) -> dict[str, Any]:
    """All but the secrets, of which only the names are told."""
    secrets = [
        *options_secret(row.sealed, purpose=Endpoint.PURPOSE, uid=row.pk),
        *options_secret(row.connection_sealed, purpose=Endpoint.CONNECTION_PURPOSE, uid=row.pk),
    ]
    return {
        "id": str(row.pk),
        "name": row.name,
        "kind": row.kind,
        "connection": row.connection,
        "options": {**row.connection_options, **row.options},
        "secrets": secrets,
        "organization": str(row.organization_id or ""),
        "department": str(row.department_id or ""),
        "fingerprint": row.pin_fingerprint,
    }


def endpoint_find(word: str) -> Endpoint:
    """By its name or id. Raises InputError."""
    uid = _uuid(word)
    found = Endpoint.objects.filter(Q(name=word) | Q(pk=uid) if uid else Q(name=word)).first()
    if found is None:
        known = ", ".join(Endpoint.objects.values_list("name", flat=True)[:20]) or "none yet"
        raise InputError(f"No endpoint is called “{word}”.", advice=f"There are: {known}.", code="name")
    return found


def require_delegated(row: Endpoint) -> None:
    """Raises ConflictError: whose it is decides who may use it."""
    if row.organization_id is None:
        raise ConflictError(
            f"{row} belongs to no organization yet.", advice="Delegate it to one first.", code="not-delegated"
        )


def _options_set(row: Endpoint, given: Mapping[str, Any]) -> None:
    """Each option goes to whichever of both knows it; what neither knows is refused."""
    installer = kind_of(installer_kinds(), row.kind, "endpoint")
    if row.connection not in installer.connections:
        raise InputError(
            f"{installer.label} is not reached by {row.connection[:40]}.",
            advice=f"Choose {', '.join(installer.connections)}.",
            code="connection",
        )
    connection = kind_of(connection_kinds(), row.connection, "connection")
    own = {each.name for each in options_of(installer.Options)}
    others = {each.name for each in options_of(connection.Options)}
    for name in given:
        if name not in own | others:
            known = ", ".join(sorted(own | others))
            raise OptionRefused(f"There is no option “{name}”.", field=name, advice=f"Known are {known}.")
    known_here: dict[str, Any] = {"purpose": Endpoint.PURPOSE, "uid": row.pk}
    known_there: dict[str, Any] = {"purpose": Endpoint.CONNECTION_PURPOSE, "uid": row.pk}
    mine = {name: value for name, value in given.items() if name in own}
    theirs = {name: value for name, value in given.items() if name in others}
    row.options, row.sealed = options_store(
        options_merge(installer.Options, mine, sealed=row.sealed, **known_here), **known_here
    )
    row.connection_options, row.connection_sealed = options_store(
        options_merge(connection.Options, theirs, sealed=row.connection_sealed, **known_there), **known_there
    )


def _allowed(row: Endpoint, actor: Actor) -> None:
    """What runs on the portal's own machine, and which of its files are keys, is said by who has all of it."""
    if may(actor, Right.SETTING):
        return
    if row.connection == "local":
        raise NotAllowed("Only an administrator of the whole portal says what runs on its machine.", advice="Ask one.")
    if row.connection_options.get("ssh_key_path"):
        raise NotAllowed(
            "Only an administrator of the whole portal names files on its machine.", advice="Paste the SSH key instead."
        )


def _place(organization: Organization | None, department: Department | None) -> Place:
    if department is not None and (organization is None or department.organization_id != organization.pk):
        raise InputError(f"{department} is no department of that organization.", code="department")
    return Place(organization.pk if organization else None, department.pk if department else None)


def _address(row: Endpoint) -> tuple[Any, Any]:
    return row.connection_options.get("host"), row.connection_options.get("port")


def _name(text: str) -> str:
    name = " ".join(text.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise InputError(
            "An endpoint needs a name." if not name else "This name is too long, or not printable.",
            advice=f"Type 1 to {LONGEST_NAME} characters.",
            code="name",
        )
    return name


def _save(row: Endpoint, **how: Any) -> None:
    refusal = ConflictError(f"There is an endpoint “{row.name}” already.", advice="Choose another name.", code="name")
    if Endpoint.objects.filter(name__iexact=row.name).exclude(pk=row.pk).exists():
        raise refusal
    try:
        with transaction.atomic():
            row.save(**how)
    except IntegrityError:
        raise refusal from None


def _uuid(word: str) -> UUID | None:
    try:
        return UUID(word)
    except ValueError:
        return None
