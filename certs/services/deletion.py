"""Deleting certificates, and bringing back what was deleted by mistake."""

from datetime import timedelta

from django.db import transaction

from certs.domain.errors import ConflictError, InputError
from certs.domain.roles import Right
from certs.models import (
    Authority,
    Binding,
    Certificate,
    CertificateName,
    CertificateVersion,
    IssuedCertificate,
    Order,
    PortalState,
    TrustedAuthority,
)
from certs.models.statements import row_delete
from certs.services.access import Actor, needs
from certs.services.certificates import certificate_summary, names_write
from certs.services.events import audit_record
from portal import clock

KEPT = timedelta(days=30)  # how long a deleted one can be restored; then `prune` removes it


def certificate_uses(certificate: Certificate) -> list[str]:
    """Every place that would miss it, each as the end of “It is …”; empty where it may be deleted."""
    bound = [str(binding) for binding in Binding.objects.filter(certificate=certificate)]
    places = [f"bound: {', '.join(bound)}"] if bound else []
    if PortalState.objects.filter(placeholder=certificate).exists():
        places.append("what the portal serves while nothing is bound")
    authority = Authority.objects.filter(certificate=certificate).first()
    if authority is not None:
        living = IssuedCertificate.objects.filter(authority=authority, not_after__gt=clock.now()).count()
        if living:
            places.append(f"an authority of your own, and {living} of the certificates that it signed are still valid")
        waiting = Certificate.objects.filter(authority=authority, deleted_at=None, auto_renew=True).count()
        if waiting:
            places.append(f"the authority that renews {waiting} certificate{'' if waiting == 1 else 's'}")
    answered = Authority.objects.filter(responder=certificate).select_related("certificate").first()
    if answered is not None:
        places.append(f"what answers for {answered} about revoked certificates (OCSP)")
    if TrustedAuthority.objects.filter(certificate=certificate).exists():
        places.append("a CA that the portal trusts (Configuration ➜ Trust)")
    return places


@needs(Right.CERTIFICATE_CHANGE)
def certificate_delete(certificate: Certificate, *, actor: Actor) -> None:
    """Out of sight at once, gone with its keys when `prune` runs, until then `certificate_restore` brings it back.

    Raises ConflictError naming every place where it is in use.
    """
    with transaction.atomic():
        # An order made at the same moment waits for this row, or is seen here: `order_create` takes it as well.
        Certificate.objects.select_for_update().get(pk=certificate.pk)
        if places := certificate_uses(certificate):
            raise ConflictError(
                f"{certificate.name} is {'; it is '.join(places)}.",
                advice="Bind another certificate there first." if "bound" in places[0] else "It stays as it is.",
                code="in-use",
            )
        if Order.objects.filter(certificate=certificate, finished_at=None).exists():
            raise ConflictError(
                f"An order for {certificate.name} is under way.", advice="Wait for it, or cancel it first."
            )
        before = certificate_summary(certificate)
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
    row = Certificate.objects.select_related("current").get(pk=certificate.pk)
    if row.deleted_at is None:
        raise InputError(f"{row.name} is not deleted.")
    if row.current is not None:
        again = CertificateVersion.objects.filter(
            fingerprint_sha256=row.current.fingerprint_sha256,
            certificate__deleted_at=None,
            certificate__organization=row.organization_id,
        ).first()
        if again is not None:
            raise ConflictError(
                f"{again.certificate.name} ({again.certificate_id}) is the same certificate, taken in again since.",
                advice="Use that one, or delete it first.",
                code="known",
            )
    with transaction.atomic():
        taken = Certificate.objects.filter(deleted_at=None, export_name=row.export_name).exclude(export_name="")
        changes = {"deleted_at": None, "next_check_at": clock.now()}
        if not Certificate.objects.filter(pk=row.pk, deleted_at=row.deleted_at).update(
            **changes, **({"export_name": ""} if taken.exists() else {})
        ):
            raise ConflictError(f"{row.name} was restored or removed meanwhile.")
        names_write(row, row.current.names if row.current else [])
        audit_record(actor, "certificate.restore", row, after=certificate_summary(row))
    certificate.refresh_from_db()
