"""The worker, what waits for it, and the schedule that renews."""

from collections.abc import Iterator
from datetime import UTC, timedelta

from django_q.models import OrmQ

from certs.domain.diagnosis import Line, Situation, bad, fine, look, note
from certs.models import Alarm, WorkerBeat
from certs.services.health import portal_findings
from certs.services.queue import worker_alive
from certs.services.renewal_settings import schedule_state
from portal import clock

MANY = 500  # tasks that wait
_RECENT = timedelta(days=1)


@look("queue")
def worker(situation: Situation) -> Iterator[Line]:
    """Whether the worker runs."""
    nodes = sorted(set(WorkerBeat.objects.filter(moved_at__gte=clock.real() - _RECENT).values_list("node", flat=True)))
    seen = f"worked within a day: {', '.join(nodes)}" if nodes else "no worker has worked within a day"
    if worker_alive():
        yield fine("worker", "The worker runs.", evidence=seen)
        return
    mend = "Start the portal (`manage.py up`), or its node with the role worker; its log says why it ended."
    yield bad("worker", "The worker does not run: renewals and orders wait.", mend, evidence=seen)


@look("queue")
def waiting(situation: Situation) -> Iterator[Line]:
    """Whether the queue keeps up."""
    tasks = OrmQ.objects.filter(lock__lt=clock.real())
    count = tasks.count()
    oldest = tasks.order_by("lock").values_list("lock", flat=True).first()
    minutes = int((clock.real() - oldest.astimezone(UTC)).total_seconds() // 60) if oldest else 0
    evidence = f"{count} wait, the oldest for {minutes} minutes" if count else "nothing waits"
    if count > MANY or minutes >= 30:
        mend = "Give it more workers (BINDERY_QUEUE_WORKERS), or see under Activity what takes so long."
        yield note("waiting", "The queue does not keep up.", mend, evidence=evidence)
    else:
        yield fine("waiting", "The queue keeps up.", evidence=evidence)


@look("queue")
def sweep(situation: Situation) -> Iterator[Line]:
    """Whether the certificates are checked."""
    finding = next(each for each in portal_findings() if each.code == "sweep")
    state = schedule_state()
    if state.next_run is None:
        mend = "Start the portal with `manage.py up`, which makes the schedule."
        yield bad("sweep", "There is no schedule: nothing is renewed by itself.", mend)
    elif finding.ok:
        yield fine("sweep", finding.text)
    elif state.sweep_finished_at is None:
        yield note("sweep", finding.text, "The first check comes within minutes of the first start.")
    else:
        mend = "Press “Check now” under Configuration ➜ Renewal, or run `manage.py check_certificates`."
        yield bad("sweep", finding.text, mend)


@look("queue")
def alarms(situation: Situation) -> Iterator[Line]:
    """Whether alarms are open."""
    open_alarms = Alarm.objects.filter(cleared_at=None)
    count = open_alarms.count()
    if not count:
        yield fine("alarms", "No alarm is open.")
        return
    sentence = "An alarm is open." if count == 1 else f"{count} alarms are open."
    yield note("alarms", sentence, "Activity ➜ Alarms and `manage.py alarms` say what to do.")
