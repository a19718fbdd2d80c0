"""Installations: asked for by a person or by a renewal, claimed, and cancelled.

What a claim is followed by is `certs/services/installation_advance.py`.
"""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet

from certs.domain import states
from certs.domain.certinfo import certificate_info
from certs.domain.errors import ConflictError, InputError
from certs.domain.installation import Material, NodeSeen, Plan, names_uncovered
from certs.domain.keys import key_to_pem
from certs.domain.pem import certificates_read, pair_check
from certs.domain.roles import Right
from certs.models import Certificate, CertificateVersion, Endpoint, Installation, Node
from certs.services.access import Actor, needs, person_of, require
from certs.services.endpoint_sessions import endpoint_open, installer_of
from certs.services.endpoints import require_delegated
from certs.services.events import audit_record
from certs.services.keys import key_open
from certs.services.queue import queue_enqueue
from certs.services.versions import certificate_lock
from portal import clock

RUNNER = "certs.tasks.run_installations"
# Tries of one step that made no way; the last counts on.
WAITS = tuple(timedelta(seconds=seconds) for seconds in (2, 10, 30, 120, 600))
CANCELLABLE = (states.PLANNED, states.CHECKING, states.STAGING)


def material_of(version: CertificateVersion) -> Material:
    """Key and chain are checked before anything is sent. Raises CertificateRefused, SecretError, InputError."""
    leaf = certificates_read(version.leaf_pem.encode())[0]
    if version.key is None:
        raise InputError(
            f"{version.certificate.name} has no key here, so no server could use it.",
            advice="Import it with its key.",
            code="no-key",
        )
    key = key_open(version.key)
    pair_check(leaf, key)
    names = tuple(certificate_info(leaf).names)
    return Material(version.leaf_pem, version.chain_pem, key_to_pem(key).decode(), version.fingerprint_sha256, names)


@needs(Right.INSTALL)
def installation_plan(node: Node, version: CertificateVersion, *, actor: Actor) -> Plan:
    """What it would mean, asked of the machine itself. Network; changes nothing. Raises BinderyError."""
    _suits(node, version, actor)
    with endpoint_open(node.endpoint) as host:
        return plan_make(node, version, host)


def plan_make(node: Node, version: CertificateVersion, host: Any) -> Plan:
    """In a session that is open. Raises BinderyError."""
    material, seen = material_of(version), node_seen(node)
    if missing := names_uncovered(seen.names, material.names):
        raise InputError(
            f"{version.certificate.name} does not hold {', '.join(missing[:5])}, which {node.name} is asked for.",
            advice="Choose a certificate that holds every name of the node.",
            code="names",
        )
    others = [node_seen(each) for each in Node.objects.filter(endpoint=node.endpoint, gone_at=None)]
    return installer_of(node.endpoint).plan(host, seen, material, others)


@needs(Right.INSTALL)
def installation_create(
    node: Node, version: CertificateVersion, *, reason: Installation.Reason, actor: Actor, plan: Plan | None = None
) -> Installation:
    """Asked for. With a `plan` that one and no other is carried out; without, it is made when it is its turn.

    Raises ConflictError where one is under way on the node, or the endpoint is not delegated; InputError, NotAllowed.
    """
    _suits(node, version, actor)
    try:
        with transaction.atomic():
            certificate_lock(version.certificate)  # one that is deleted at this moment finds it here, or is found
            if Certificate.objects.filter(pk=version.certificate_id).exclude(deleted_at=None).exists():
                raise ConflictError(f"{version.certificate.name} was deleted.", advice="Restore it first.")
            row = Installation.objects.create(
                node=node,
                version=version,
                fingerprint=version.fingerprint_sha256,
                plan=plan.to_json() if plan else {},
                reason=reason,
                requested_by=person_of(actor),
            )
            follows = reason != Installation.Reason.BACK
            Node.objects.filter(pk=node.pk).update(certificate=version.certificate, follows=follows)
            audit_record(
                actor, "installation.create", version.certificate, after={"node": str(node), "reason": str(reason)}
            )
    except IntegrityError:
        raise ConflictError(
            f"Something is being installed on {node} already.", advice="Wait until it has ended.", code="busy"
        ) from None
    transaction.on_commit(lambda: queue_enqueue(RUNNER))
    return row


@needs(Right.INSTALL)
def installation_cancel(row: Installation, *, actor: Actor) -> None:
    """Before anything that a server reads was changed. Raises ConflictError when it is too late."""
    require(actor, Right.INSTALL, row)
    now = clock.now()
    with transaction.atomic():
        open_yet = Installation.objects.filter(pk=row.pk, state__in=CANCELLABLE, finished_at=None)
        if not open_yet.filter(_free()).update(state=states.CANCELLED, finished_at=now, updated_at=now):
            raise ConflictError(
                "It is being worked on, or has ended.", advice="Look at its steps; it can be undone afterwards."
            )
        audit_record(actor, "installation.cancel", row.node, after={"fingerprint": row.fingerprint})


def node_seen(node: Node) -> NodeSeen:
    return NodeSeen(**{**node.seen, "names": tuple(node.seen["names"])})


def node_json(seen: NodeSeen) -> dict[str, Any]:
    """As it comes back from a column."""
    return {**asdict(seen), "names": list(seen.names)}


def installations_due(within: timedelta = timedelta(0)) -> QuerySet[Installation]:
    """Open ones that nobody works on and somebody should; the longest waiting first. One at a time on an endpoint,
    since a reload is the whole server's."""
    busy = Installation.objects.filter(finished_at=None, lease_until__gte=clock.real()).values("node__endpoint")
    due = Installation.objects.filter(_free(), finished_at=None, next_attempt_at__lte=clock.now() + within)
    return due.exclude(node__endpoint__in=busy).order_by("next_attempt_at")


def installations_claim(limit: int, owner: UUID) -> list[UUID]:
    """Take up to `limit` under a lease; the endpoint's row is locked meanwhile, so that of two claimers one wins.

    The attempt is counted and the next one set before any work, so that a flow that kills its worker backs off.
    """
    claimed: list[UUID] = []
    for pk in list(installations_due().values_list("pk", flat=True)[: limit * 4]):
        if len(claimed) == limit:
            break
        if installation_claim(pk, owner):
            claimed.append(pk)
    return claimed


def installation_claim(pk: UUID, owner: UUID) -> bool:
    """Take this one under a lease, if it is due."""
    with transaction.atomic():
        list(Endpoint.objects.select_for_update().filter(nodes__installations=pk))
        row = installations_due().filter(pk=pk).first()
        if row is None:
            return False
        wait = WAITS[min(row.attempts, len(WAITS)) - 1] if row.attempts else timedelta(0)
        taken = Installation.objects.filter(pk=pk).update(
            lease_owner=owner,
            lease_until=_lease_end(),
            attempts=F("attempts") + 1,
            next_attempt_at=clock.now() + wait,
        )
    return bool(taken)


def installations_requeue_lapsed() -> int:
    """Queue a runner when one is due that nobody works on; returns how many such there are."""
    waiting = installations_due().count()
    if waiting:
        queue_enqueue(RUNNER)
    return waiting


def installation_leases_renew(owner: UUID) -> int:
    return Installation.objects.filter(lease_owner=owner, finished_at=None).update(lease_until=_lease_end())


def _suits(node: Node, version: CertificateVersion, actor: Actor) -> None:
    require(actor, Right.INSTALL, node)
    require(actor, Right.READ, version)
    require_delegated(node.endpoint)
    if version.certificate.organization_id != node.endpoint.organization_id:
        raise InputError(
            f"{version.certificate.name} and {node.endpoint} belong to different organizations.",
            advice="Delegate the endpoint to the certificate's organization, or choose another certificate.",
            code="organization",
        )


def _free() -> Q:
    return Q(lease_until=None) | Q(lease_until__lt=clock.real())


def _lease_end() -> datetime:
    return clock.real() + timedelta(seconds=settings.LEASE_SECONDS)
