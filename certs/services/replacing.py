"""Another chain for a certificate that is here already: a new version, which keeps the key where it fits."""

from django.db import transaction

from certs.domain.certinfo import certificate_info
from certs.domain.errors import ConflictError
from certs.domain.pem import Chain
from certs.domain.roles import Right
from certs.models import Certificate, CertificateVersion
from certs.services.access import Actor, needs
from certs.services.certificates import refuse_expired, version_add
from certs.services.events import audit_record


@needs(Right.CERTIFICATE_CHANGE)
def certificate_replace(certificate: Certificate, chain: Chain, *, actor: Actor) -> CertificateVersion:
    """The leaf must be for the key that is here, or for none where there is none. The same chain changes nothing.

    Raises CertificateRefused (code "pair" where the key does not fit), ConflictError for one that a CA renews.
    """
    current = certificate.current
    if current is not None and current.fingerprint_sha256 == certificate_info(chain.leaf).fingerprint_sha256:
        return current
    if certificate.source == Certificate.Source.ACME:
        raise ConflictError(
            f"{certificate.name} is renewed by a CA; an upload would be replaced by the next renewal.",
            advice="Take it in as a certificate of its own.",
        )
    refuse_expired(certificate_info(chain.leaf))
    key = current.key if current is not None else certificate.key
    with transaction.atomic():
        version = version_add(certificate, leaf=chain.leaf, chain=chain.intermediates, key=key)
        audit_record(actor, "certificate.import", certificate, after={"fingerprint": version.fingerprint_sha256})
    return version
