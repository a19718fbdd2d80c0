"""What an authority of our own has published: as it is handed out, and as pages and commands tell of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

from cryptography.hazmat.primitives.serialization import Encoding

from certs.domain.pem import certificates_read
from certs.models import Authority, CertificateVersion

_SECONDS = 5.0
SOON = timedelta(days=30)  # what only a person can sign again is told of so long before


@dataclass(frozen=True)
class Published:
    der: bytes
    since: datetime


@dataclass(frozen=True)
class PublishedList:
    der: bytes
    this_update: datetime
    next_update: datetime


def authority_der(pk: UUID) -> Published | None:
    """Its certificate of today; None for one that is not here."""
    version = Authority.objects.filter(pk=pk).values_list("certificate__current", flat=True).first()
    return _certificate(version) if version else None


@lru_cache(maxsize=256)
def _certificate(version: UUID) -> Published:
    """A version never changes."""
    row = CertificateVersion.objects.get(pk=version)
    return Published(certificates_read(row.leaf_pem.encode())[0].public_bytes(Encoding.DER), row.created_at)


def crl_published(pk: UUID) -> PublishedList | None:
    """The list that counts; None for an authority that is not here or has none yet. It is read from the database when
    its number is another one than before."""
    number = Authority.objects.filter(pk=pk, crl_der__isnull=False).values_list("crl_number", flat=True).first()
    return None if number is None else _list(pk, number)


@lru_cache(maxsize=16)
def _list(pk: UUID, number: int) -> PublishedList | None:
    row = Authority.objects.get(pk=pk)
    if row.crl_der is None or row.crl_this_update is None or row.crl_next_update is None:
        return None
    return PublishedList(bytes(row.crl_der), row.crl_this_update, row.crl_next_update)
