"""Work on many certificates that is asked for at once: looked at first, then carried out by the queue.

A job is claimed by a lease and done item by item; what is done is written down at least once a second. A killed worker
loses at most that second, and what it had done in it is found done: each action twice is the same as once.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q

from certs.domain.errors import BinderyError, ConflictError, InputError, NotAllowed
from certs.domain.properties import tags_check
from certs.domain.revocation import OWN_REASONS, reason_number
from certs.domain.roles import Right
from certs.models import Authority, BulkJob, Certificate, Order, User
from certs.selectors import certificates_visible_to
from certs.services.access import Actor, TokenActor, require
from certs.services.certificate_changes import certificate_tags_set
from certs.services.certificate_properties import certificate_tags
from certs.services.crls import crl_refresh
from certs.services.deletion import certificate_delete, certificate_uses
from certs.services.events import audit_record
from certs.services.missing_issuers import Completion, completion
from certs.services.posting import certificate_foresee, certificate_post
from certs.services.queue import queue_begun, queue_enqueue
from certs.services.revocations import revocation_foresee, version_revoke
from certs.services.secrets import secret_open, secret_seal
from certs.services.sweeps import sweep_run
from portal import clock

log = logging.getLogger("bindery.bulk")
RUNNER = "certs.tasks.run_bulk"
MOST = 10_000  # certificates of one job
MOST_IMPORTED = 1_000
TURN_SECONDS = 240.0  # of one queue task, whose limit is 600
_WRITE_SECONDS = 1.0
IMPORT = "import"
_ENDED = (BulkJob.State.DONE, BulkJob.State.FAILED)


@dataclass(frozen=True)
class Line:
    """One item: what came, or would come, of it."""

    id: str
    name: str
    ok: bool
    code: str
    message: str


@dataclass(frozen=True)
class Task:
    """What the actions are given: the job's options, its beginning, and who asked for it."""

    options: Mapping[str, Any]
    begun: datetime
    actor: Actor
    unsigned: set[Authority] = field(default_factory=set)  # whose registers changed: one list of each in the end
    search: Completion = field(default_factory=completion)


Came = tuple[str, str, str]  # id, name, a sentence
Act = Callable[[Any, Task], Came]  # on an item; raises BinderyError
RowAct = Callable[[Certificate, Task], str]


@dataclass(frozen=True)
class Action:
    right: Right
    foresee: Act
    carry_out: Act


def bulk_preview(action: str, items: Sequence[Any], *, options: Mapping[str, Any], actor: Actor) -> list[Line]:
    """What each item would meet; nothing is changed. `items` are primary keys, or what `certificate_post` takes.

    Raises InputError for an unknown action, its options, or too many items.
    """
    _check(action, items, options)
    require(actor, ACTIONS[action].right)
    task = Task(options, clock.now(), actor)
    return [_line(ACTIONS[action].foresee, item, task) for item in items]


def bulk_ask(action: str, items: Sequence[Any], *, options: Mapping[str, Any], actor: Actor) -> BulkJob:
    """A job that the queue carries out, under the rights that the actor has then. Raises what `bulk_preview` raises."""
    _check(action, items, options)
    require(actor, ACTIONS[action].right)
    if not isinstance(actor, User | TokenActor):
        raise NotAllowed("A job is done for a person or a token.", advice="The command line does its work itself.")
    job = BulkJob(
        action=action,
        options=dict(options),
        total=len(items),
        # Only one of them: a job whose token is gone is not its owner's.
        requested_by=actor if isinstance(actor, User) else None,
        token=actor.token if isinstance(actor, TokenActor) else None,
    )
    # Keys come along with an import; ids need no secrecy, and lie beside them.
    job.sealed = secret_seal(BulkJob.PURPOSE, job.pk, json.dumps([_plain(item) for item in items]).encode())
    with transaction.atomic():
        job.save(force_insert=True)
        audit_record(actor, f"bulk.{action}", job, after={"items": len(items), **options})
        transaction.on_commit(lambda: queue_enqueue(RUNNER, str(job.pk)))
    return job


def bulk_run(job_id: UUID | str) -> bool:
    """A queue task: go on where the job is; True where it has ended by then. Somebody else's job is left alone."""
    queue_begun(RUNNER, str(job_id))
    lease = _Lease.take(job_id)
    if lease is None:
        return False
    with lease:
        ended = _carry_on(_job(job_id), lease)
    if not ended and not lease.lost:
        queue_enqueue(RUNNER, str(job_id))
    return ended


def bulk_requeue_lapsed() -> int:
    """Put back into the queue what nobody works on; returns how many jobs that were."""
    waiting = list(_unleased().values_list("pk", flat=True)[:100])
    for pk in waiting:
        queue_enqueue(RUNNER, str(pk))
    return len(waiting)


def _unleased() -> Any:
    free = Q(lease_until=None) | Q(lease_until__lt=clock.real())
    return BulkJob.objects.filter(free).exclude(state__in=_ENDED)


class _Lease:
    """Held by the moment that was written last: whoever else took the job wrote another."""

    def __init__(self, pk: UUID | str, until: datetime) -> None:
        self.lost = False
        self._pk, self._until = pk, until
        self._turn, self._over = threading.Lock(), threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True, name="bulk-lease")

    @classmethod
    def take(cls, pk: UUID | str) -> "_Lease | None":
        until = _until()
        taken = _unleased().filter(pk=pk).update(lease_until=until, state=BulkJob.State.RUNNING)
        return cls(pk, until) if taken else None

    def write(self, **fields: Any) -> bool:
        """Only while it is ours."""
        with self._turn:
            until = fields.pop("lease_until", _until())
            kept = BulkJob.objects.filter(pk=self._pk, lease_until=self._until).update(lease_until=until, **fields)
            self._until, self.lost = until, self.lost or not kept
            return bool(kept)

    def __enter__(self) -> "_Lease":
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._heart.join()

    def _beat(self) -> None:
        try:
            while not self._over.wait(settings.LEASE_RENEW_SECONDS):
                try:
                    self.write()
                except Exception:  # the database may be away for a moment; the next beat comes before the lease lapses
                    log.exception("The lease of a job could not be renewed")
        finally:
            connection.close()


def _job(pk: UUID | str) -> BulkJob:
    return BulkJob.objects.select_related("requested_by", "token__owner").get(pk=pk)


def _carry_on(job: BulkJob, lease: _Lease) -> bool:
    items = json.loads(secret_open(BulkJob.PURPOSE, job.pk, job.sealed))
    results = list(job.results)
    task = Task(job.options, job.created_at, _actor_of(job))
    try:
        kept = _turn(job, items[len(results) :], results, task, lease)
    finally:
        # Of a worker that is killed before this the tick signs them; OCSP tells the truth already.
        for authority in task.unsigned:
            crl_refresh(authority)
    if not kept:
        return False
    if len(results) < len(items):
        lease.write(**_progress(results), lease_until=None)
        return False
    # What was brought along is not needed any more.
    ended = {"state": BulkJob.State.DONE, "finished_at": clock.now(), "sealed": "", "lease_until": None}
    return lease.write(**_progress(results), **ended)


def _turn(job: BulkJob, items: Sequence[Any], results: list[dict[str, Any]], task: Task, lease: _Lease) -> bool:
    """As many as the time of a queue task takes; False where somebody else took the job."""
    until, written = time.monotonic() + TURN_SECONDS, time.monotonic()
    for item in items:
        results.append(asdict(_line(ACTIONS[job.action].carry_out, item, task)))
        if time.monotonic() - written >= _WRITE_SECONDS:
            if not lease.write(**_progress(results)):
                return False
            task, written = replace(task, actor=_actor_of(_job(job.pk))), time.monotonic()
        if time.monotonic() >= until:
            break
    return True


def _progress(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    failed = sum(not line["ok"] for line in results)
    return {"results": list(results), "done": len(results) - failed, "failed": failed}


def _actor_of(job: BulkJob) -> Actor:
    """As they are now: who lost a right since loses the rest of the job. A job of nobody any more does nothing."""
    return job.requested_by if job.token is None else TokenActor(job.token)


def _line(act: Act, item: Any, task: Task) -> Line:
    try:
        id, name, message = act(item, task)
    except BinderyError as error:
        return Line(*_called(item, task), False, error.code, str(error))
    except Exception:
        log.exception("An item of a job failed")
        return Line(*_called(item, task), False, "internal", "It failed; the portal's log tells more.")
    return Line(id, name, True, "ok", message)


def _called(item: Any, task: Task) -> tuple[str, str]:
    """Id and name of what failed, as far as the actor may know them."""
    if isinstance(item, Mapping):
        return _given(item)
    found = certificates_visible_to(task.actor).filter(pk=item).values_list("api_id", "name").first()
    return (found[0] or str(item), found[1]) if found else (str(item), "")


def _on_row(act: RowAct, gone: str = "") -> Act:
    """On a certificate that the actor may change. `gone` is what is said of one that has been deleted."""

    def on_row(item: Any, task: Task) -> Came:
        row = certificates_visible_to(task.actor).filter(pk=item).first()
        if row is None and gone and Certificate.objects.filter(pk=item, deleted_at__isnull=False).exists():
            return str(item), "", gone
        if row is None:
            raise InputError("There is no such certificate.", code="not-found")
        require(task.actor, Right.CERTIFICATE_CHANGE, row)
        return row.api_id or str(row.pk), row.name, act(row, task)

    return on_row


def _import_foresee(item: Any, task: Task) -> Came:
    return *_given(item), certificate_foresee(item, actor=task.actor)


def _import(item: Any, task: Task) -> Came:
    row, is_new = certificate_post(item, actor=task.actor, search=task.search)
    return row.api_id or str(row.pk), row.name, "It was taken in." if is_new else "It was here already."


def _tagged(row: Certificate, task: Task) -> list[str]:
    add, remove = tags_check(task.options.get("add", ())), tags_check(task.options.get("remove", ()))
    return sorted((set(certificate_tags(row)) | set(add)) - set(remove))


def _tag_foresee(row: Certificate, task: Task) -> str:
    wanted = _tagged(row, task)
    return f"Its tags would be: {', '.join(wanted) or 'none'}." if wanted != certificate_tags(row) else "It stays."


def _tag(row: Certificate, task: Task) -> str:
    changed = certificate_tags_set(row, _tagged(row, task), actor=task.actor)
    return "Its tags were changed." if changed else "It has these tags already."


def _renew_foresee(row: Certificate, task: Task) -> str:
    line = sweep_run(only=[row], asked=not task.options.get("due"), dry_run=True, actor=task.actor)[0]
    if line.failed or not (line.due or task.options.get("due")):
        raise ConflictError(line.text, code=line.code)
    return f"It would be renewed: {line.text}" if line.due else line.text


def _renew(row: Certificate, task: Task) -> str:
    """What our own CAs signed is renewed here and now; others are asked by an order."""
    asked = Order.objects.filter(certificate=row, created_at__gte=task.begun).first()
    if asked is not None:
        return f"It was asked for: order {asked.pk}."
    before = row.current_id
    if row.current is not None and row.current.created_at >= task.begun:
        return "It was renewed."
    line = sweep_run(only=[row], asked=not task.options.get("due"), actor=task.actor)[0]
    if line.failed or not (line.order or line.due or task.options.get("due")):
        raise ConflictError(line.text, code=line.code)
    row.refresh_from_db(fields=["current"])
    if row.current_id != before:
        return "It was renewed."
    return f"It was asked for: order {line.order}." if line.order else line.text


def _revoke_foresee(row: Certificate, task: Task) -> str:
    if row.current is None:
        raise InputError("There is no certificate to revoke yet.", code="no-certificate")
    authority = revocation_foresee(row.current, str(task.options["reason"]), actor=task.actor)
    if row.current.revoked_at is not None:
        return f"It was revoked on {row.current.revoked_at:%Y-%m-%d} already."
    uses = certificate_uses(row)
    although = f" although it is {'; '.join(uses)}" if uses else ""
    return f"It would be revoked{although}.{_offline(authority)}"


def _revoke(row: Certificate, task: Task) -> str:
    if row.current is None:
        raise InputError("There is no certificate to revoke yet.", code="no-certificate")
    if row.current.created_at > task.begun:
        return "It was revoked, and has been renewed since."  # by this job, before its worker was lost
    version_revoke(row.current, str(task.options["reason"]), actor=task.actor, unsigned=task.unsigned)
    return f"It was revoked.{_offline(row.authority)}"


def _offline(authority: Authority | None) -> str:
    """Of a CA whose list needs a person."""
    if authority is None or not authority.offline:
        return ""
    return f" {authority} is offline: OCSP tells so at once, its list once somebody signs it with the passphrase."


def _delete_foresee(row: Certificate, task: Task) -> str:
    if places := certificate_uses(row):
        raise ConflictError(f"{row.name} is {'; it is '.join(places)}.", code="in-use")
    return "It would be deleted, and could be restored for 30 days."


def _delete(row: Certificate, task: Task) -> str:
    certificate_delete(row, actor=task.actor)
    return "It was deleted."


ACTIONS: dict[str, Action] = {
    IMPORT: Action(Right.CERTIFICATE_ADD, _import_foresee, _import),
    "tag": Action(Right.CERTIFICATE_CHANGE, _on_row(_tag_foresee), _on_row(_tag)),
    "renew": Action(Right.CERTIFICATE_CHANGE, _on_row(_renew_foresee), _on_row(_renew)),
    "revoke": Action(Right.CERTIFICATE_CHANGE, _on_row(_revoke_foresee), _on_row(_revoke)),
    "delete": Action(Right.CERTIFICATE_CHANGE, _on_row(_delete_foresee), _on_row(_delete, "It is deleted already.")),
}


def _check(action: str, items: Sequence[Any], options: Mapping[str, Any]) -> None:
    if action not in ACTIONS:
        raise InputError(f"There is no work “{action[:40]}” on many.", advice=f"Choose {', '.join(ACTIONS)}.")
    most = MOST_IMPORTED if action == IMPORT else MOST
    if not 1 <= len(items) <= most:
        raise InputError(
            f"These are {len(items)} certificates; one job takes 1 to {most}.",
            advice="Choose others, or make several jobs.",
            code="count",
        )
    if action == "revoke":
        reason_number(str(options.get("reason", "")), OWN_REASONS)
    if action == "tag" and not tags_check([*options.get("add", ()), *options.get("remove", ())]):
        raise InputError("No tag was named.", advice="Say which to add and which to take away.", code="tags")


def _plain(item: Any) -> Any:
    return dict(item) if isinstance(item, Mapping) else str(item)


def _given(item: Mapping[str, Any]) -> tuple[str, str]:
    return str(item.get("id") or ""), str(item.get("name") or "")


def _until() -> datetime:
    return clock.real() + timedelta(seconds=settings.LEASE_SECONDS)
