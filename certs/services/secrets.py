"""Sealing and opening secrets with the key ring, and the canary that ties a database to its ring."""

from functools import lru_cache

from certs.domain import envelope
from certs.domain.errors import SecretError
from certs.models import KeyRingCanary
from portal import clock, home


@lru_cache(maxsize=1)
def ring() -> envelope.KeyRing:
    """The ring of this process. Raises SecretError naming the path expected."""
    return home.key_ring()


def secret_seal(purpose: str, uid: object, secret: bytes) -> str:
    return envelope.seal(ring(), purpose, str(uid), secret)


def secret_open(purpose: str, uid: object, sealed: str) -> bytes:
    return envelope.unseal(ring(), purpose, str(uid), sealed)


def canary_check() -> None:
    """Make the canary in a new database; in any other, prove that this ring is its ring. Raises SecretError."""
    if KeyRingCanary.objects.exists():
        canary_prove()
        return
    sealed = secret_seal(KeyRingCanary.PURPOSE, KeyRingCanary.UID, b"bindery")
    KeyRingCanary.objects.create(sealed=sealed, created_at=clock.now())


def canary_prove() -> None:
    """That this ring is the database's ring, where one is tied to it. Raises SecretError; writes nothing."""
    canary = KeyRingCanary.objects.first()
    if canary is None:
        return
    try:
        secret_open(KeyRingCanary.PURPOSE, KeyRingCanary.UID, canary.sealed)
    except SecretError as error:
        raise SecretError(
            f"The key ring does not belong to this database: {error.message}",
            advice=f"Put the right ring at {home.key_ring_file()} or name it with BINDERY_KEY_RING_FILE. "
            "Nothing was changed.",
            code="wrong-key-ring",
        ) from error
