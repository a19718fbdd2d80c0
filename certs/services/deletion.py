"""Deleting certificates, and bringing back what was deleted by mistake."""

from datetime import datetime, timedelta
from itertools import repeat
from uuid import UUID

from django.db import transaction
from django.db.models import ProtectedError, Q

from certs.domain.errors import ConflictError, InputError
from certs.domain.roles import Right
from certs.models import (
    Authority,
    Binding,
    Certificate,
    CertificateName,
    CertificateVersion,
    IssuedCertificate,
    Node,
    Order,
    PortalState,
    TrustedAuthority,
)
from certs.models.statements import row_delete
from certs.services.access import Actor, needs
from certs.services.certificate_properties import certificate_summary, certificate_tags
from certs.services.events import audit_record
from certs.services.portal_state import state_lock
from certs.services.versions import certificate_lock, names_write, refuse_taken_again
from portal import clock

KEPT = timedelta(days=30)  # how long a deleted one can be restored; then `prune` removes it


def certificate_uses(certificate: Certificate) -> list[str]:
    """Every place that would miss it, each as the end of “It is …”; empty where it may be deleted."""
    bound = [str(binding) for binding in Binding.objects.filter(certificate=certificate)]
    places = [f"bound: {', '.join(bound)}"] if bound else []
    nodes = [
        str(node) for node in Node.objects.filter(certificate=certificate, gone_at=None).select_related("endpoint")
    ]
    places += [f"installed on {', '.join(nodes[:10])}"] if nodes else []
    if PortalState.objects.filter(placeholder=certificate).exists():
        places.append("what the portal serves while nothing is bound")
    authority = Authority.objects.filter(certificate=certificate).first()
    if authority is not None:
        if living := _living(authority):
            told = "one certificate that it signed is" if living == 1 else f"{living} certificates that it signed are"
            places.append(f"an authority of your own, and {told} still valid")
        waiting = Certificate.objects.filter(authority=authority, deleted_at=None, auto_renew=True).count()
        if waiting:
            places.append(f"the authority that renews {waiting} certificate{'' if waiting == 1 else 's'}")
    answered = Authority.objects.filter(responder=certificate).select_related("certificate").first()
    if answered is not None:
        places.append(f"what answers for {answered} about revoked certificates (OCSP)")
    if TrustedAuthority.objects.filter(certificate=certificate).exists():
        places.append("a CA that the portal trusts (Configuration ➜ Trust)")
    return places


def _living(authority: Authority) -> int:
    """What it signed and has not expired, its own responder left out: that is signed anew while it is there."""
    answering = CertificateVersion.objects.filter(certificate=authority.responder).values("serial")
    signed = IssuedCertificate.objects.filter(authority=authority, not_after__gt=clock.now())
    return signed.exclude(serial__in=answering).count()


@needs(Right.CERTIFICATE_CHANGE)
def certificate_delete(certificate: Certificate, *, actor: Actor) -> None:
    """Out of sight at once, gone with its keys when `prune` runs, until then `certificate_restore` brings it back.

    Raises ConflictError naming every place where it is in use.
    """
    with transaction.atomic():
        # An order or a binding made at the same moment waits for this row, or is seen here.
        certificate_lock(certificate)
        if places := certificate_uses(certificate):
            raise ConflictError(
                f"{certificate.name} is {'; it is '.join(places)}.",
                advice="Put another certificate there first."
                if places[0].startswith(("bound", "installed"))
                else "It stays as it is.",
                code="in-use",
            )
        if Order.objects.filter(certificate=certificate, finished_at=None).exists():
            raise ConflictError(
                f"An order for {certificate.name} is under way.", advice="Wait for it, or cancel it first."
            )
        before = certificate_summary(certificate, certificate_tags(certificate))
        # Whether it is to renew by itself is kept for its return: what is deleted is never looked at.
        Certificate.objects.filter(pk=certificate.pk, deleted_at=None).update(
            deleted_at=clock.now(), next_check_at=None
        )
        row_delete(CertificateName, {"certificate": certificate})
        PortalState.objects.filter(portal_certificate=certificate).update(portal_certificate=None)
        PortalState.objects.filter(import_offer=certificate).update(import_offer=None)
        audit_record(actor, "certificate.delete", certificate, before=before)


@needs(Right.CERTIFICATE_CHANGE)
def certificate_restore(certificate: Certificate, *, actor: Actor) -> None:
    """As it was before it was deleted, under the same id. Raises InputError where it was not deleted, ConflictError
    where the same certificate has been taken in again since."""
    with transaction.atomic():
        state_lock()  # whoever takes the same certificate in at this moment finds it here, or is found
        row = certificate_lock(certificate)
        if row.deleted_at is None:
            raise InputError(f"{row.name} is not deleted.")
        refuse_taken_again(row, row.organization_id)
        taken = Certificate.objects.filter(deleted_at=None, export_name=row.export_name).exclude(export_name="")
        changes = {"deleted_at": None, "next_check_at": clock.now(), **({"export_name": ""} if taken.exists() else {})}
        Certificate.objects.filter(pk=row.pk).update(**changes)
        names_write(row, row.current.names if row.current else [])
        audit_record(actor, "certificate.restore", row, after=certificate_summary(row, certificate_tags(row)))
    certificate.refresh_from_db()


def certificates_prune(moment: datetime) -> int:
    """Remove for good what was deleted long ago, with its versions; returns how many went."""
    gone = Q(deleted_at__lt=moment - KEPT)
    rows = Certificate.objects.filter(gone).exclude(orders__challenges__isnull=False)
    return sum(map(_removed, list(rows.values_list("pk", flat=True)), repeat(gone)))


def _removed(pk: UUID, gone: Q) -> bool:
    """Not one that was restored a moment ago, nor one that is bound by hand in the database: it is served."""
    try:
        with transaction.atomic():
            row = Certificate.objects.select_for_update().filter(gone, pk=pk).first()
            return row is not None and bool(row.delete())
    except ProtectedError:
        return False
