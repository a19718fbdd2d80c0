"""Who renews what is signed here: one at a time, and never twice from one due moment.

The claim is a compare-and-swap on `retry_after_at`, which no CA of ours asks for, while the version in use is still the
one that was seen. A new version lifts it; a process that dies leaves it behind, and it lapses.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db.models import Q

from certs.domain.errors import BinderyError, ConflictError
from certs.domain.renewal import backoff
from certs.models import Certificate
from certs.models.statements import row_update
from certs.services.access import Actor
from certs.services.events import audit_record
from portal import clock

_CLAIM = timedelta(minutes=5)
_TYPED = frozenset({"passphrase-needed", "passphrase-wrong"})  # a person's slip is no failure of the certificate


@contextmanager
def renewal_claim(certificate: Certificate, actor: Actor) -> Iterator[None]:
    """Around everything that leads to the new version. A refusal within is counted, and puts the next attempt off.

    Raises ConflictError (code "busy") where another is at it, or has renewed it since the row was read.
    """
    moment = clock.now()
    free = Q(retry_after_at=None) | Q(retry_after_at__lte=moment)
    rows = Certificate.objects.filter(free, pk=certificate.pk, current=certificate.current_id, deleted_at=None)
    if not rows.update(retry_after_at=moment + _CLAIM):
        raise ConflictError(
            f"{certificate.name} is being renewed, or was a moment ago.", advice="Look at it again.", code="busy"
        )
    try:
        yield
    except BinderyError as error:
        if error.code in _TYPED:
            row_update(Certificate, {"pk": certificate.pk}, {"retry_after_at": None})
        else:
            _failed(certificate, error, actor)
        raise


def _failed(certificate: Certificate, error: BinderyError, actor: Actor) -> None:
    moment = clock.now()
    left = certificate.expires_at - moment if certificate.expires_at else timedelta(0)
    certificate.failures += 1
    certificate.next_attempt_at = moment + backoff(certificate.failures, max(left, timedelta(0)))
    fields = {"failures": certificate.failures, "next_attempt_at": certificate.next_attempt_at, "retry_after_at": None}
    row_update(Certificate, {"pk": certificate.pk}, fields)
    audit_record(actor, "certificate.renew", certificate, after={"error": str(error)}, result="failed")
