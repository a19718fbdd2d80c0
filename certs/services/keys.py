"""Private keys: made or taken in, sealed, opened, and removed when nothing points at them."""

import uuid
from datetime import timedelta

from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError

from certs.domain import keys
from certs.domain.errors import KeyRefused
from certs.models import PrivateKey
from certs.services.secrets import secret_open, secret_seal
from portal import clock

# A key may be stored before the row that points at it.
_GRACE = timedelta(days=1)


def key_create(key_type: str) -> PrivateKey:
    """Make a key and store it sealed. Raises KeyRefused for an unknown type, RuntimeError inside atomic()."""
    row = key_new(key_type)
    row.save(force_insert=True)
    return row


def key_new(key_type: str) -> PrivateKey:
    """The same, sealed but not stored yet: for a caller who stores it together with what it is for."""
    blocks = connection.atomic_blocks
    if blocks and not getattr(blocks[-1], "_from_testcase", False):
        raise RuntimeError("A key was to be made inside a transaction, which would hold SQLite's only write lock.")
    return _key_row(keys.key_generate(key_type))


def key_import(key: keys.Key) -> PrivateKey:
    """Store a key from outside, or find it again by its SPKI; a row that only knew of the key now holds it.

    Raises KeyRefused (code "key-compromised").
    """
    row = PrivateKey.objects.filter(spki_sha256=keys.spki_sha256(key.public_key())).first()
    if row is None:
        try:
            with transaction.atomic():
                row = _key_row(key)
                row.save(force_insert=True)
                return row
        except IntegrityError:  # another was quicker by a moment
            row = PrivateKey.objects.get(spki_sha256=keys.spki_sha256(key.public_key()))
    key_refuse_compromised(row)
    if not row.sealed:
        row.sealed = _sealed(row.id, key)
        row.held = PrivateKey.Held.HERE
        row.save(update_fields=["sealed", "held"])
    return row


def key_open(row: PrivateKey) -> keys.Key:
    """The private key itself. Raises KeyRefused where it is not held here, SecretError where it cannot be opened."""
    if not key_is_here(row):
        raise KeyRefused(
            f"The private key {row} is not held here ({row.get_held_display()}).",
            advice="Import the certificate together with its key.",
            code="key-not-here",
        )
    if row.locked:
        raise KeyRefused(
            f"The private key {row} has a passphrase that is not stored.",
            advice="It belongs to a CA that is offline: sign with it under Authorities.",
            code="passphrase-needed",
        )
    return keys.key_from_der(secret_open(PrivateKey.PURPOSE, row.id, row.sealed))


def key_refuse_compromised(row: PrivateKey | None) -> None:
    """Before anything new is signed for it or kept with it. Raises KeyRefused."""
    if row is not None and row.compromised_at is not None:
        raise KeyRefused(
            "This private key was reported as compromised, so nothing new is kept with it.",
            advice="Make a new key, and a certificate for it.",
            code="key-compromised",
        )


def key_is_here(row: PrivateKey | None) -> bool:
    return row is not None and row.held == PrivateKey.Held.HERE and bool(row.sealed)


def keys_prune() -> int:
    """Remove keys that nothing points at, a day after they were made; returns how many went.

    Of a compromised one the secret goes and the hash stays: it is recognised whenever somebody brings it again.
    """
    nobodys: dict[str, None] = dict.fromkeys(("versions", "orders", "accounts", "accounts_next", "certificates"))
    unused = PrivateKey.objects.filter(**nobodys, created_at__lt=clock.now() - _GRACE)
    known = unused.filter(compromised_at__isnull=False).exclude(sealed="")
    count = known.update(sealed="", locked=False, held=PrivateKey.Held.OUTSIDE)
    for row in unused.filter(compromised_at=None):
        try:
            row.delete()
        except ProtectedError:
            continue  # taken into use since the query
        count += 1
    return count


def _key_row(key: keys.Key) -> PrivateKey:
    uid = uuid.uuid4()
    return PrivateKey(
        id=uid,
        spki_sha256=keys.spki_sha256(key.public_key()),
        key_type=keys.key_type_of(key),
        sealed=_sealed(uid, key),
    )


def _sealed(uid: uuid.UUID, key: keys.Key) -> str:
    return secret_seal(PrivateKey.PURPOSE, uid, keys.key_to_der(key))
