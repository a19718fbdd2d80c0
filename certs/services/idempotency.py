"""The same request with the same key gets the same answer (draft-ietf-httpapi-idempotency-key-header).

The first takes the key by an insert, so that of two at once one works and the other is told so. An answer is kept for
a day; what failed gives the key back, since nothing came of it. Neither holds a secret: of a request there is only an
HMAC, and an answer with a secret in it is not handed in here.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from django.db import IntegrityError, transaction

from certs.domain.errors import ConflictError
from certs.models import IdempotencyKey
from portal import clock

KEPT = timedelta(days=1)
ABANDONED = timedelta(minutes=10)  # longer than any request lasts: whoever had the key is no more


class KeyReused(ConflictError):
    code = "idempotency-key-reused"


@dataclass(frozen=True)
class Answer:
    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)


def idempotency_take(caller: str, key: str, digest: str) -> Answer | None:
    """The answer that was given before, or None: then the key is the caller's until `idempotency_keep` or
    `idempotency_release`. Raises KeyReused where it stood for another request, ConflictError (code "still-running")."""
    now = clock.real()
    try:
        with transaction.atomic():
            IdempotencyKey.objects.create(caller=caller, key=key, request_sha256=digest, created_at=now)
        return None
    except IntegrityError:
        pass
    row = IdempotencyKey.objects.filter(caller=caller, key=key).first()
    if row is None or row.created_at <= now - (KEPT if row.status else ABANDONED):
        return _take_over(caller, key, digest, row)
    if row.request_sha256 != digest:
        raise KeyReused(
            "This Idempotency-Key was sent with another request before.", advice="Give each request a key of its own."
        )
    if row.status is None:
        raise ConflictError(
            "The first request with this Idempotency-Key is still at work.",
            advice="Ask again in a moment, with the same key.",
            code="still-running",
        )
    return Answer(row.status, row.body, row.headers)


def idempotency_keep(caller: str, key: str, answer: Answer) -> None:
    IdempotencyKey.objects.filter(caller=caller, key=key).update(
        status=answer.status, body=answer.body, headers=answer.headers
    )


def idempotency_release(caller: str, key: str) -> None:
    IdempotencyKey.objects.filter(caller=caller, key=key, status=None).delete()


def idempotency_prune() -> int:
    return IdempotencyKey.objects.filter(created_at__lt=clock.real() - KEPT).delete()[0]


def _take_over(caller: str, key: str, digest: str, row: IdempotencyKey | None) -> Answer | None:
    if row is not None:
        IdempotencyKey.objects.filter(pk=row.pk, created_at=row.created_at).delete()
    return idempotency_take(caller, key, digest)
