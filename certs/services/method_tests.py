"""The test of a challenge method: an answer that nobody asked for is put in place, looked at, and taken away again.

So a credential that is wrong, or a web server that reads elsewhere, is found now and not at the renewal. What is put in
place is stored first; the sweeper takes away what a crash leaves behind.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction

from certs.domain.errors import BinderyError, ConflictError, InputError, Unavailable
from certs.domain.names import NameRules, name_parse
from certs.domain.roles import Right
from certs.models import ChallengeMethod
from certs.services.access import Actor, needs
from certs.services.addresses import url_make
from certs.services.challenges import solver_kinds
from certs.services.events import audit_record, job_event
from certs.services.methods import method_kind, method_solver
from certs.services.queue import queue_enqueue
from certs.solvers.base import Solver, Task
from portal import clock, logs

log = logging.getLogger("bindery.methods")
TASK = "certs.tasks.run_method_test"
WAIT_SECONDS = 120.0  # until the answer is seen
SWEEP_SECONDS = 60.0  # the rest of the tick waits behind it
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


def method_is_testing(method: ChallengeMethod) -> bool:
    """Whether a test is queued or under way; one that ended may still have something to take away."""
    return bool(method.trial) and not method.trial["ended"]


@needs(Right.ACCOUNT)
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
    with transaction.atomic():
        row = ChallengeMethod.objects.select_for_update().get(pk=method.pk)
        if method_is_testing(row):
            raise ConflictError(
                f"A test of {method.name} is under way.", advice="Wait for its end.", code="method-testing"
            )
        row.trial = _answer(parsed.removeprefix("*."), secrets.token_urlsafe(32)) | {
            "left": row.trial.get("left", []),
            "begun": False,
            "ended": False,
        }
        row.trial_at, row.test_job = now, job
        row.save(update_fields=["trial", "trial_at", "test_job"])
        audit_record(actor, "challenge-method.test", method, after={"name": parsed})
        if queue:
            queue_enqueue(TASK, str(method.pk))
    return job


def method_test_run(method_id: UUID | str, *, say: Say = lambda _: None) -> Tested | None:
    """What `method_test_begin` stored, once; None where there is nothing to do. Network; some minutes at most."""
    with transaction.atomic():
        method = ChallengeMethod.objects.select_for_update().filter(pk=method_id).first()
        if method is None or not method_is_testing(method) or method.trial["begun"]:
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
    """Take away what tests left that did not end, or could not; of how many methods all of it is gone. Network, little
    more than SWEEP_SECONDS; those that waited longest come first."""
    until = time.monotonic() + SWEEP_SECONDS
    stale = ChallengeMethod.objects.filter(trial_at__lte=clock.now() - STALE).order_by("trial_at")
    return sum(_clean_stale(method) for method in stale if time.monotonic() < until)


def _test(method: ChallengeMethod, tell: Callable[..., None]) -> Tested:
    own = _answer(method.trial["name"], method.trial["token"])
    try:
        solver = method_solver(method)
    except BinderyError as error:
        return _over(method, Tested(False, str(error)), method.trial["left"])
    tell(f"Testing {method.name} ({solver.label}) with {own['name']}.")
    placed = True
    try:
        own["data"] = solver.present(_task(own))
        _keep(method, own)
        tell("The answer is in place.")
        result = _seen(solver, _task(own), tell)
    except Exception as error:
        # Refused is not in place; after a timeout or a fault nobody knows.
        placed = bool(own["data"]) or not isinstance(error, BinderyError) or isinstance(error, Unavailable)
        result = Tested(False, _words(error))
    trouble = _clean(solver, own)
    if not trouble:
        if placed:
            tell("Taken away again.")
    elif placed:
        tell(f"The answer for {own['name']} could not be taken away: {trouble}", "warning")
        result = replace(result, ok=False, words=result.words if not result.ok else f"It cannot be undone: {trouble}")
    left = [each for each in method.trial["left"] if _clean(solver, each)]
    return _over(method, result, [*left, own] if trouble and placed else left)


def _seen(solver: Solver, task: Task, tell: Callable[..., None]) -> Tested:
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


def _answer(name: str, token: str) -> dict[str, Any]:
    return {"name": name, "token": token, "data": {}}


def _task(answer: Mapping[str, Any]) -> Task:
    name, token = answer["name"], answer["token"]
    asked = ""
    if settings.PROBE_PORT != _HTTP_PORT:
        asked = f"{url_make('http', name, settings.PROBE_PORT)}/.well-known/acme-challenge/{token}"
    # dns-01 whatever the method asks of the CA: a standing record of dns-persist-01 would outlive the test.
    return Task(name=name, token=token, key_authorization=f"{token}.test", asked=asked, type="dns-01")


def _clean(solver: Solver, answer: Mapping[str, Any]) -> str:
    """Why it could not be taken away; "" when it is gone."""
    try:
        solver.clean(_task(answer), answer["data"])
    except Exception as error:
        return _words(error)
    return ""


def _keep(method: ChallengeMethod, own: Mapping[str, Any]) -> None:
    method.trial |= own
    ChallengeMethod.objects.filter(pk=method.pk).update(trial=method.trial)


def _over(method: ChallengeMethod, result: Tested, left: list[dict[str, Any]]) -> Tested:
    method.tested_at, method.test_ok, method.test_words = clock.now(), result.ok, logs.mask(result.words)
    method.trial = {"left": left, "ended": True} if left else {}
    method.trial_at = clock.now() if left else None
    method.save(update_fields=["tested_at", "test_ok", "test_words", "trial", "trial_at"])
    return result


def _clean_stale(method: ChallengeMethod) -> bool:
    # Counted anew before the work: one that ends its process must not be met at once again.
    mine = ChallengeMethod.objects.filter(pk=method.pk, trial_at=method.trial_at)
    if not mine.update(trial_at=clock.now()):
        return False
    trial, left = method.trial, method.trial["left"]
    if not trial["ended"] and trial["begun"]:
        left = [*left, _answer(trial["name"], trial["token"]) | {"data": trial["data"]}]
    try:
        solver = method_solver(method)
    except BinderyError as error:
        log.warning("%s: the answer of a test could not be taken away: %s", method, error)
        return False
    still = [each for each in left if (trouble := _clean(solver, each)) and _complain(method, each, trouble)]
    if not trial["ended"]:
        _over(method, Tested(False, f"The test with {trial['name']} did not come to its end."), still)
    else:
        trial_at = clock.now() if still else None
        ChallengeMethod.objects.filter(pk=method.pk).update(
            trial={"left": still, "ended": True} if still else {}, trial_at=trial_at
        )
    return not still


def _complain(method: ChallengeMethod, answer: Mapping[str, Any], trouble: str) -> bool:
    log.warning("%s: the answer of a test for %s could not be taken away: %s", method, answer["name"], trouble)
    return True


def _words(error: Exception) -> str:
    if isinstance(error, BinderyError):
        return str(error)
    log.exception("The test of a challenge method met a fault", exc_info=error)
    return str(Unavailable(f"An unexpected fault: {type(error).__name__}.", advice="The log tells more."))
