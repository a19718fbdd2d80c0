"""What happened: log lines of jobs, and the audit trail of what people changed."""

import logging
from typing import Any
from uuid import UUID

from certs.models import AuditEvent, JobEvent, User
from certs.models.statements import row_insert
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
    actor: User | str | None,
    action: str,
    target: object = "",
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    result: str = "ok",
) -> None:
    """`actor` is the person, or the words "command line" or "schedule"; `action` reads noun.verb."""
    person = actor if isinstance(actor, User) else None
    AuditEvent.objects.create(
        actor=person,
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
