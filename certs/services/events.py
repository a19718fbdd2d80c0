"""What happened: log lines of jobs, and the audit trail of what people changed."""

import logging
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from certs.models import AuditEvent, Certificate, CertificateVersion, JobEvent, Node, Order
from certs.models.statements import row_insert
from certs.services.access import Actor, person_of
from portal import logs

log = logging.getLogger("bindery.job")
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def job_event(job: UUID, message: str, *, step: str = "", level: str = "info", **data: Any) -> None:
    """One line in the log and the same line under Activity. `data` must be JSON and hold no secret."""
    message = logs.mask(message)
    with logs.job(job):
        log.log(_LEVELS[level], message, extra={"step": step, **data} if step else data)
    row_insert(JobEvent(job=job, message=message, step=step, level=level, data=data))


def audit_record(
    actor: Actor,
    action: str,
    target: object = "",
    *,
    of: object = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    result: str = "ok",
) -> None:
    """`actor` is the person, a token, or the words "command line" or "schedule"; `action` reads noun.verb.

    Of a `target` that belongs to an organization it is kept whose it is: only they read of it. Where the target is
    named by a text, `of` is what belongs to somebody.
    """
    _audit_row(actor, action, target, of=of, before=before, after=after, result=result).save(force_insert=True)


def audit_record_many(actor: Actor, action: str, entries: Iterable[tuple[object, dict[str, Any]]]) -> None:
    """One event for each target and what it is now, in one statement."""
    AuditEvent.objects.bulk_create(_audit_row(actor, action, target, after=after) for target, after in entries)


def _audit_row(
    actor: Actor,
    action: str,
    target: object,
    *,
    of: object = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    result: str = "ok",
) -> AuditEvent:
    certificate, organization = _owner_of(target if of is None else of)
    return AuditEvent(
        actor=person_of(actor),
        certificate_id=certificate,
        organization_id=organization,
        actor_text=str(actor or "nobody"),
        action=action,
        target=str(target)[:255],
        before=before or {},
        after=after or {},
        result=result,
    )


def job_said(job: UUID) -> str:
    """The last line of a job; "" where it has none."""
    return JobEvent.objects.filter(job=job).order_by("-id").values_list("message", flat=True).first() or ""


def _owner_of(target: object) -> tuple[UUID | None, UUID | None]:
    """The certificate and the organization that it is about, where it is about any."""
    if isinstance(target, (CertificateVersion, Order)):
        target = target.certificate
    if isinstance(target, Certificate):
        return target.pk, target.organization_id
    if isinstance(target, Node):
        target = target.endpoint
    return None, getattr(target, "organization_id", None)
