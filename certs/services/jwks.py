"""/.well-known/jwks.json: the public keys of what is exposed, for programs that check what was signed with them.

In it are the current version of each exposed certificate or key pair, and those replaced less than the overlap ago, so
that what was signed just before a renewal can still be checked. Deleted, revoked and compromised ones never are. A key
is not a certificate: one whose certificate has expired stays until it is replaced, or nothing that it signed could be
checked any more.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db.models import F, Q

from certs.domain.errors import BinderyError, InputError
from certs.domain.jwk import jwk_of, jwks_text
from certs.domain.pem import certificates_read
from certs.domain.roles import Right
from certs.models import Certificate, CertificateVersion
from certs.services.access import PORTAL, Actor, needs
from certs.services.downloads import public_key_of
from certs.services.events import audit_record
from certs.services.portal_state import state_get, state_update
from portal import clock

log = logging.getLogger("bindery.jwks")
OVERLAP_DAYS = (0, 365)


def jwks_document() -> bytes:
    """The JWK Set as JSON; the same bytes as long as nothing changes."""
    return jwks_text([*_of_versions(), *_of_key_pairs()])


@needs(Right.SETTING, of=PORTAL)
def jwks_overlap_set(days: int, *, actor: Actor) -> None:
    """How long a replaced key stays. Raises InputError, NotAllowed."""
    low, high = OVERLAP_DAYS
    if not low <= days <= high:
        raise InputError(f"{days} days is out of range.", advice=f"Type {low} to {high}.", code="days")
    before = state_get().jwks_overlap_days
    if before != days:
        state_update(jwks_overlap_days=days)
        audit_record(actor, "jwks.change", before={"overlap_days": before}, after={"overlap_days": days})


def _of_versions() -> list[dict[str, Any]]:
    """The current ones first: they count where a replaced version has the same key."""
    since = clock.now() - timedelta(days=state_get().jwks_overlap_days)
    is_current = Q(pk=F("certificate__current"))
    rows = (
        CertificateVersion.objects.filter(is_current | Q(retired_at__gt=since))
        .filter(certificate__exposed=True, certificate__deleted_at=None, revoked_at=None)
        .exclude(key__compromised_at__isnull=False)
        .order_by("-created_at", "pk")
        .values_list("pk", "certificate__current")
    )
    found = sorted(rows, key=lambda row: row[0] != row[1])
    return [jwk for pk, _ in found if (jwk := _left_out(_of_version, pk)) is not None]


def _of_key_pairs() -> list[dict[str, Any]]:
    pairs = Certificate.objects.filter(exposed=True, deleted_at=None, current=None, key__compromised_at=None)
    keys = pairs.exclude(key=None).order_by("key").values_list("pk", "key")
    return [jwk for row in keys if (jwk := _left_out(_of_key_pair, *row)) is not None]


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
