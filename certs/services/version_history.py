"""The history of a certificate: comparing two of its versions, and going back (or forward) to one."""

from django.db import transaction

from certs.domain.comparison import Comparison, certificates_compare
from certs.domain.errors import ConflictError, InputError
from certs.domain.pem import certificates_read
from certs.domain.roles import Right
from certs.models import Binding, Certificate, CertificateVersion
from certs.services.access import Actor, needs
from certs.services.bindings import binding_check
from certs.services.events import audit_record
from certs.services.https import hsts_guard
from certs.services.versions import certificate_lock, version_make_current


def version_compare(before: CertificateVersion, after: CertificateVersion) -> Comparison:
    """What changed from one to the other; they need not belong to one certificate. Raises CertificateRefused where
    what is stored cannot be read."""
    chains = (certificates_read(version.fullchain_pem.encode()) for version in (before, after))
    return certificates_compare(*chains)


@needs(Right.CERTIFICATE_CHANGE)
def version_use(certificate: Certificate, version: CertificateVersion, *, actor: Actor) -> None:
    """Make it the current one, which changes what answers wherever the certificate is bound.

    Raises InputError for another certificate's version, CertificateRefused, KeyRefused and SecretError for one that
    could not be served, ConflictError for one that was revoked, and where it would lock out browsers that remember
    HSTS.
    """
    if version.certificate_id != certificate.pk:
        raise InputError("This version belongs to another certificate.")
    with transaction.atomic():
        wanted = certificate_lock(certificate)
        before = wanted.current.fingerprint_sha256 if wanted.current else ""
        version = wanted.versions.select_related("key").get(pk=version.pk)  # revoked since it was read, perhaps
        if version.revoked_at is not None or (version.key and version.key.compromised_at is not None):
            raise ConflictError(
                "This version was revoked; clients would refuse it.", advice="Use another one, or renew."
            )
        wanted.current = version
        bound = list(Binding.objects.filter(certificate=wanted).values_list("server_name", flat=True))
        for name in bound or [""]:
            binding_check(name, wanted)
        if bound:
            hsts_guard(dict.fromkeys(bound, wanted))
        version_make_current(certificate, version)
        audit_record(
            actor,
            "certificate.use-version",
            certificate,
            before={"fingerprint": before},
            after={"fingerprint": version.fingerprint_sha256},
        )
