"""The chain of a version as it is kept, with the root above it, which is not kept with it but may be known."""

from functools import lru_cache

from cryptography import x509

from certs.domain.certinfo import is_issued_by, is_self_signed
from certs.domain.pem import Chain, certificates_read
from certs.models import CertificateVersion
from certs.services.trust import public_roots

_HIGHEST = 8  # certificates looked for above what is kept


@lru_cache(maxsize=1024)
def _read(pem: str) -> tuple[x509.Certificate, ...]:
    return tuple(certificates_read(pem.encode()))


def chain_of(version: CertificateVersion) -> Chain:
    """Leaf, intermediates, and the root where one of the store or of the public roots is it."""
    leaf, *intermediates = _read(version.fullchain_pem)
    return Chain(leaf, tuple(intermediates), root_above(intermediates[-1] if intermediates else leaf))


def root_above(certificate: x509.Certificate) -> x509.Certificate | None:
    """The root that it leads to by name and signature; None where it is not known, or for a root itself."""
    current = certificate
    for _ in range(_HIGHEST):
        if is_self_signed(current):
            return None if current is certificate else current
        issuer = _issuer_of(current)
        if issuer is None:
            return None
        current = issuer
    return None


def _issuer_of(certificate: x509.Certificate) -> x509.Certificate | None:
    """A root first, then whichever lives longest: a CA that was renewed or cross-signed stands there more than once."""
    name = certificate.issuer
    kept = CertificateVersion.objects.filter(
        is_ca=True, subject=name.rfc4514_string()[:500], certificate__deleted_at=None
    )
    found = [_read(pem)[0] for pem in kept.values_list("leaf_pem", flat=True)[:50]]
    found += public_roots(name)
    issuers = [each for each in found if each != certificate and is_issued_by(certificate, each)]
    return max(issuers, key=lambda each: (is_self_signed(each), each.not_valid_after_utc), default=None)
