"""/.well-known/jwks.json: the public keys of what is exposed, for programs that check what was signed with them.

In it are the current version of each exposed certificate or key pair, and those replaced less than the overlap ago, so
that what was signed just before a renewal can still be checked. Deleted, revoked and compromised ones never are. A key
is not a certificate: one whose certificate has expired stays until it is replaced, or nothing that it signed could be
checked any more.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from certs.domain.errors import BinderyError, InputError
from certs.domain.jwk import jwk_of, jwks_text
from certs.domain.pem import certificates_read
from certs.domain.roles import Right
from certs.models import Certificate, CertificateVersion, PrivateKey
from certs.services.access import PORTAL, Actor, needs
from certs.services.downloads import public_key_of
from certs.services.events import audit_record
from certs.services.portal_state import state_get, state_lock, state_update
from portal import clock

log = logging.getLogger("bindery.jwks")
OVERLAP_DAYS = (0, 365)
_PIECE = 500


def jwks_document() -> bytes:
    """The JWK Set as JSON; the same bytes as long as nothing changes.

    Everybody may ask for it, so it is read by the index of what is exposed, however large the store is.
    """
    exposed = _exposed().values_list("pk", "current", "key")
    bare = {certificate: key for certificate, current, key in exposed if current is None and key is not None}
    current = {certificate: version for certificate, version, _ in exposed if version is not None}
    return jwks_text([*_of_versions(current), *_of_key_pairs(bare)])


@needs(Right.SETTING, of=PORTAL)
def jwks_overlap_set(days: int, *, actor: Actor) -> None:
    """How long a replaced key stays. Raises InputError, NotAllowed."""
    low, high = OVERLAP_DAYS
    if not low <= days <= high:
        raise InputError(f"{days} days is out of range.", advice=f"Type {low} to {high}.", code="days")
    with transaction.atomic():
        before = state_lock().jwks_overlap_days
        if before != days:
            state_update(jwks_overlap_days=days)
            audit_record(actor, "jwks.change", before={"overlap_days": before}, after={"overlap_days": days})


def _exposed() -> QuerySet[Certificate]:
    """By its index, which is in this order."""
    return Certificate.objects.filter(exposed=True, deleted_at=None).order_by("pk")


def _of_versions(current: dict[UUID, UUID]) -> list[dict[str, Any]]:
    """`current` is certificate -> version. Those come first: they count where a replaced one has their key."""
    since = clock.now() - timedelta(days=state_get().jwks_overlap_days)
    found: list[tuple[bool, datetime, UUID]] = []
    for some in _pieces(list(current)):
        rows = CertificateVersion.objects.filter(certificate__in=some, revoked_at=None)
        rows = rows.exclude(key__compromised_at__isnull=False).order_by()
        for pk, certificate, retired, made in rows.values_list("pk", "certificate", "retired_at", "created_at"):
            is_current = current[certificate] == pk
            if is_current or (retired is not None and retired > since):
                found.append((is_current, made, pk))
    return [jwk for *_, pk in sorted(found, reverse=True) if (jwk := _left_out(_of_version, pk)) is not None]


def _of_key_pairs(keys: dict[UUID, UUID]) -> list[dict[str, Any]]:
    """`keys` is certificate -> key."""
    compromised = {
        key
        for some in _pieces(list(keys.values()))
        for key in PrivateKey.objects.filter(pk__in=some, compromised_at__isnull=False).values_list("pk", flat=True)
    }
    wanted = sorted((pk, key) for pk, key in keys.items() if key not in compromised)
    return [jwk for row in wanted if (jwk := _left_out(_of_key_pair, *row)) is not None]


def _pieces(ids: list[UUID]) -> list[list[UUID]]:
    """As many as one statement takes."""
    return [ids[start : start + _PIECE] for start in range(0, len(ids), _PIECE)]


def _left_out(read: Callable[..., dict[str, Any]], *ids: UUID) -> dict[str, Any] | None:
    """One that cannot be read must not take the others with it; asked for again the next time."""
    try:
        return read(*ids)
    except BinderyError as error:
        log.error("a public key is left out of the JWKS", extra={"id": str(ids[0]), "error": str(error)})
        return None


@lru_cache(maxsize=4096)
def _of_version(pk: UUID) -> dict[str, Any]:
    """A version is never changed once it is written."""
    chain = certificates_read(CertificateVersion.objects.get(pk=pk).fullchain_pem.encode())
    return jwk_of(chain[0].public_key(), chain)


@lru_cache(maxsize=4096)
def _of_key_pair(pk: UUID, _key: UUID) -> dict[str, Any]:
    return jwk_of(public_key_of(Certificate.objects.select_related("key").get(pk=pk)))
