"""Installations: planned, made, claimed. What a claim is followed by is `certs/services/installation_advance.py`."""

from dataclasses import asdict
from datetime import timedelta
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
from certs.models import CertificateVersion, Endpoint, Installation, Node
from certs.services.access import Actor, person_of
from certs.services.endpoint_sessions import endpoint_open, installer_of
from certs.services.events import audit_record
from certs.services.keys import key_open
from certs.services.queue import queue_enqueue
from portal import clock

RUNNER = "certs.tasks.run_installations"
# Tries of one step that made no way; the last counts on.
WAITS = tuple(timedelta(seconds=seconds) for seconds in (2, 10, 30, 120, 600))


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


def installation_plan(node: Node, version: CertificateVersion) -> Plan:
    """What it would mean, asked of the machine itself. Network; changes nothing. Raises BinderyError."""
    material = material_of(version)
    seen = node_seen(node)
    if missing := names_uncovered(seen.names, material.names):
        raise InputError(
            f"{version.certificate.name} does not hold {', '.join(missing[:5])}, which {node.name} is asked for.",
            advice="Choose a certificate that holds every name of the node.",
            code="names",
        )
    others = [node_seen(each) for each in Node.objects.filter(endpoint=node.endpoint, gone_at=None)]
    with endpoint_open(node.endpoint) as host:
        return installer_of(node.endpoint).plan(host, seen, material, others)


def installation_create(
    node: Node, version: CertificateVersion, plan: Plan, *, reason: Installation.Reason, actor: Actor
) -> Installation:
    """Raises ConflictError where one is under way on the node."""
    try:
        with transaction.atomic():
            row = Installation.objects.create(
                node=node,
                version=version,
                plan=plan.to_json(),
                reason=reason,
                requested_by=person_of(actor),
            )
            Node.objects.filter(pk=node.pk).update(certificate=version.certificate)
            audit_record(actor, "installation.create", version.certificate, after={"node": str(node), "reason": reason})
    except IntegrityError:
        raise ConflictError(
            f"Something is being installed on {node} already.", advice="Wait until it has ended.", code="busy"
        ) from None
    transaction.on_commit(lambda: queue_enqueue(RUNNER))
    return row


def node_seen(node: Node) -> NodeSeen:
    return NodeSeen(**{**node.seen, "names": tuple(node.seen.get("names", ()))})


def node_json(seen: NodeSeen) -> dict[str, Any]:
    return asdict(seen)


def installations_due(within: timedelta = timedelta(0)) -> QuerySet[Installation]:
    """Open ones that nobody works on and somebody should; the longest waiting first. One at a time on an endpoint,
    since a reload is the whole server's."""
    real = clock.real()
    free = Q(lease_until=None) | Q(lease_until__lt=real)
    busy = Installation.objects.filter(finished_at=None, lease_until__gte=real).values("node__endpoint")
    due = Installation.objects.filter(free, finished_at=None, next_attempt_at__lte=clock.now() + within)
    return due.exclude(node__endpoint__in=busy).order_by("next_attempt_at")


def installations_claim(limit: int, owner: UUID) -> list[UUID]:
    """Take up to `limit` under a lease; the endpoint's row is locked meanwhile, so that of two claimers one wins."""
    claimed: list[UUID] = []
    for pk, endpoint in list(installations_due().values_list("pk", "node__endpoint")[: limit * 4]):
        if len(claimed) == limit:
            break
        with transaction.atomic():
            Endpoint.objects.select_for_update().get(pk=endpoint)
            row = installations_due().filter(pk=pk).first()
            if row is None:
                continue
            wait = WAITS[min(row.attempts, len(WAITS)) - 1] if row.attempts else timedelta(0)
            Installation.objects.filter(pk=pk).update(
                lease_owner=owner,
                lease_until=lease_end(),
                attempts=F("attempts") + 1,
                next_attempt_at=clock.now() + wait,
            )
            claimed.append(pk)
    return claimed


def installation_leases_renew(owner: UUID) -> int:
    return Installation.objects.filter(lease_owner=owner, finished_at=None).update(lease_until=lease_end())


def lease_end() -> Any:
    return clock.real() + timedelta(seconds=settings.LEASE_SECONDS)


def is_final(row: Installation) -> bool:
    return states.INSTALLATION.is_final(row.state)
