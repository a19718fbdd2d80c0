"""Discovery: what an endpoint listens on, brought into its nodes. One that is gone is kept, and said to be gone."""

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from certs.domain.certinfo import certificate_info
from certs.domain.errors import BinderyError
from certs.domain.installation import NodeSeen
from certs.domain.pem import certificates_read
from certs.domain.roles import Right
from certs.models import CertificateVersion, Endpoint, Node
from certs.services.access import Actor, needs, require
from certs.services.endpoint_sessions import contact_failed, endpoint_open, installer_of
from certs.services.endpoints import require_delegated
from certs.services.events import audit_record
from certs.services.installations import node_json
from portal import clock


@dataclass(frozen=True)
class Difference:
    """Names of nodes, as a person reads them."""

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.gone)


@dataclass(frozen=True)
class _Found:
    seen: NodeSeen
    pem: str  # of the certificate that its configuration names
    fingerprint: str


@needs(Right.INSTALL)
def endpoint_discover(row: Endpoint, *, actor: Actor) -> Difference:
    """Ask the machine, and bring its nodes up to what it says. Network; changes nothing there.

    Raises ConflictError where it is not delegated, and what the session and the installer raise.
    """
    require(actor, Right.INSTALL, row)
    require_delegated(row)
    try:
        with endpoint_open(row) as host:
            installer = installer_of(row)
            found = [_look(installer, host, seen) for seen in installer.discover(host)]
    except BinderyError as error:
        contact_failed(row, error)
        raise
    with transaction.atomic():
        Endpoint.objects.select_for_update().get(pk=row.pk)
        difference = _bring(row, found)
        row.discovered_at = clock.now()
        row.save(update_fields=["discovered_at"])
        if difference:
            audit_record(actor, "endpoint.discover", row, after=_told(difference))
    return difference


def node_certificate(node: Node) -> CertificateVersion | None:
    """The version of ours that its configuration holds, if it is one of the endpoint's organization."""
    return (
        CertificateVersion.objects.filter(
            fingerprint_sha256=node.found_fingerprint,
            certificate__organization=node.endpoint.organization_id,
            certificate__deleted_at=None,
        )
        .exclude(fingerprint_sha256="")
        .select_related("certificate")
        .first()
    )


def _look(installer: Any, host: Any, seen: NodeSeen) -> _Found:
    """A certificate that cannot be read is the node's trouble, and no reason to see none of the others."""
    try:
        pem: str = installer.certificate(host, seen)
    except BinderyError:
        return _Found(seen, "", "")
    if not pem:
        return _Found(seen, "", "")
    return _Found(seen, pem, certificate_info(certificates_read(pem.encode())[0]).fingerprint_sha256)


def _bring(row: Endpoint, found: list[_Found]) -> Difference:
    known = {node.key: node for node in Node.objects.filter(endpoint=row)}
    new, changed = [], []
    for each in found:
        fields: dict[str, Any] = {
            "seen": node_json(each.seen),
            "name": each.seen.name[:255],
            "found_pem": each.pem,
            "found_fingerprint": each.fingerprint,
            "gone_at": None,
        }
        node = known.pop(each.seen.key, None)
        if node is None:
            Node.objects.create(endpoint=row, key=each.seen.key, **fields)
            new.append(each.seen.key)
        elif any(getattr(node, name) != value for name, value in fields.items()):
            Node.objects.filter(pk=node.pk).update(**fields)
            changed.append(each.seen.key)
    gone = [node for node in known.values() if node.gone_at is None]
    Node.objects.filter(pk__in=[node.pk for node in gone]).update(gone_at=clock.now())
    return Difference(tuple(new), tuple(changed), tuple(node.key for node in gone))


def _told(difference: Difference) -> dict[str, list[str]]:
    return {
        name: list(keys)[:50]
        for name, keys in (("new", difference.new), ("changed", difference.changed), ("gone", difference.gone))
        if keys
    }
