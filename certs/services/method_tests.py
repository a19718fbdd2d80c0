"""The test of a challenge method: an answer that nobody asked for is put in place, looked at, and taken away again.

So a credential that is wrong, or a web server that reads elsewhere, is found now and not at the renewal. What is put in
place is stored first; the sweeper takes away what a crash leaves behind.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction

from certs.domain.errors import BinderyError, ConflictError, InputError, Unavailable
from certs.domain.names import NameRules, name_parse
from certs.models import ChallengeMethod
from certs.services.challenges import solver_kinds
from certs.services.events import audit_record, job_event
from certs.services.methods import Actor, method_kind, method_solver
from certs.services.queue import queue_enqueue
from certs.solvers.base import Solver, Task
from portal import clock, logs

log = logging.getLogger("bindery.methods")
TASK = "certs.tasks.run_method_test"
WAIT_SECONDS = 120.0  # until the answer is seen
STALE = timedelta(minutes=10)  # then nobody is at it any more
_POLL_SECONDS = (0.2, 5.0)
_HTTP_PORT = 80

Say = Callable[[str], None]


@dataclass(frozen=True)
class Tested:
    ok: bool
    words: str


def method_is_testable(kind: str) -> bool:
    """What the portal answers itself is proven by a rehearsal, and a person tests nothing by typing."""
    solver = solver_kinds().get(kind)
    return solver is not None and not solver.by_portal and not solver.by_hand


def method_test_begin(method: ChallengeMethod, name: str, *, actor: Actor, queue: bool = True) -> UUID:
    """Store what is to be done, and have the next free worker do it. Returns the job whose lines tell of it.

    Raises InputError, NameRefused; ConflictError while another test of the method is under way.
    """
    solver = method_kind(method.kind)
    if not method_is_testable(method.kind):
        raise InputError(
            f"The {solver.label} challenge puts nothing in place that could be tested.",
            advice="Rehearse a certificate that uses it." if solver.by_portal else "",
        )
    parsed = name_parse(name, NameRules(wildcard=solver.wildcards, dotless=True, address=solver.addresses))
    job, now = uuid4(), clock.now()
    trial = {"name": parsed.removeprefix("*."), "token": secrets.token_urlsafe(32), "data": {}, "begun": False}
    with transaction.atomic():
        free = ChallengeMethod.objects.filter(pk=method.pk, trial_at=None)
        if not free.update(trial=trial, trial_at=now, test_job=job):
            raise ConflictError(
                f"A test of {method.name} is under way, or its answer is still to be taken away.",
                advice="Try again in a few minutes.",
                code="method-testing",
            )
        audit_record(actor, "challenge-method.test", method, after={"name": parsed})
        if queue:
            queue_enqueue(TASK, str(method.pk))
    return job


def method_test_run(method_id: UUID | str, *, say: Say = lambda _: None) -> Tested | None:
    """What `method_test_begin` stored, once; None where there is nothing to do. Network; some minutes at most."""
    with transaction.atomic():
        method = ChallengeMethod.objects.select_for_update().filter(pk=method_id).first()
        if method is None or not method.trial or method.trial["begun"]:
            return None
        method.trial["begun"] = True
        method.save(update_fields=["trial"])

    def tell(sentence: str, level: str = "info") -> None:
        if method.test_job is not None:
            job_event(method.test_job, sentence, step="test", level=level)
        say(logs.mask(sentence))

    result = _test(method, tell)
    tell(result.words, "info" if result.ok else "error")
    return result


def method_tests_sweep() -> int:
    """Take away what tests left that nobody ended; how many."""
    stale = ChallengeMethod.objects.filter(trial_at__lte=clock.now() - STALE)
    return sum(_clean_stale(method) for method in stale)


def _test(method: ChallengeMethod, tell: Callable[..., None]) -> Tested:
    task = _task(method.trial)
    try:
        solver = method_solver(method)
    except BinderyError as error:
        return _over(method, Tested(False, str(error)))
    tell(f"Testing {method.name} ({solver.label}) with {task.name}.")
    try:
        seen = _seen(method, solver, task, tell)
    except Exception as error:
        seen = Tested(False, _words(error))
    try:
        solver.clean(task, method.trial["data"])
    except Exception as error:
        # Kept for the sweeper: it comes back to it.
        _result(method, Tested(False, f"The answer for {task.name} could not be taken away: {_words(error)}"))
        return Tested(False, method.test_words)
    tell("Taken away again.")
    return _over(method, seen)


def _seen(method: ChallengeMethod, solver: Solver, task: Task, tell: Callable[..., None]) -> Tested:
    data = solver.present(task)
    method.trial["data"] = data
    ChallengeMethod.objects.filter(pk=method.pk).update(trial=method.trial)
    tell("The answer is in place.")
    waiting = _await(solver, task, tell)
    if waiting:
        return Tested(False, f"Not seen within {WAIT_SECONDS:g} s. {waiting}")
    evidence = solver.look(task)
    if not evidence.right:
        return Tested(False, f"The answer is in place, but not seen at {evidence.url}: {evidence.seen}.")
    tell(f"The right answer is seen at {evidence.url}. It was asked for like this: {evidence.curl}")
    return Tested(True, f"It works: the answer for {task.name} was put in place, seen and taken away.")


def _await(solver: Solver, task: Task, tell: Callable[..., None]) -> str:
    """What is still waited for at the end; "" when it can be seen."""
    deadline, pause, said = time.monotonic() + WAIT_SECONDS, _POLL_SECONDS[0], ""
    while sentence := solver.awaited(task):
        if time.monotonic() + pause > deadline:
            return sentence
        if sentence != said:
            tell(sentence)
        said = sentence
        time.sleep(pause)
        pause = min(pause * 2, _POLL_SECONDS[1])
    return ""


def _task(trial: Mapping[str, Any]) -> Task:
    name, token = trial["name"], trial["token"]
    asked = ""
    if settings.PROBE_PORT != _HTTP_PORT:
        asked = f"http://{name}:{settings.PROBE_PORT}/.well-known/acme-challenge/{token}"
    # dns-01 whatever the method asks of the CA: a standing record of dns-persist-01 would outlive the test.
    return Task(name=name, token=token, key_authorization=f"{token}.test", asked=asked, type="dns-01")


def _over(method: ChallengeMethod, result: Tested) -> Tested:
    _result(method, result)
    ChallengeMethod.objects.filter(pk=method.pk).update(trial={}, trial_at=None)
    return result


def _result(method: ChallengeMethod, result: Tested) -> None:
    method.tested_at, method.test_ok, method.test_words = clock.now(), result.ok, logs.mask(result.words)
    method.save(update_fields=["tested_at", "test_ok", "test_words"])


def _clean_stale(method: ChallengeMethod) -> bool:
    # Counted anew before the work: one that ends its process must not be met at once again.
    mine = ChallengeMethod.objects.filter(pk=method.pk, trial_at=method.trial_at)
    if not mine.update(trial_at=clock.now()):
        return False
    task = _task(method.trial)
    try:
        if method.trial["begun"]:
            method_solver(method).clean(task, method.trial["data"])
    except Exception as error:
        log.warning("%s: the answer of a test for %s could not be taken away: %s", method, task.name, _words(error))
        return False
    words = f"What the last test had put in place for {task.name} is taken away now; the test did not end well."
    _over(method, Tested(False, words))
    return True


def _words(error: Exception) -> str:
    if isinstance(error, BinderyError):
        return str(error)
    log.exception("The test of a challenge method met a fault", exc_info=error)
    return str(Unavailable(f"An unexpected fault: {type(error).__name__}.", advice="The log tells more."))
