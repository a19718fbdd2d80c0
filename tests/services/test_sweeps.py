"""The sweep decides, writes the decision to the row, orders what is due, and leaves the rest alone."""

from collections.abc import Callable
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test.utils import CaptureQueriesContext

from certs.domain.errors import InputError
from certs.models import (
    AuditEvent,
    Certificate,
    CertificateVersion,
    NodeProcess,
    Order,
    PrivateKey,
    Rebind,
    WorkerBeat,
)
from certs.selectors import certificates_due_for_check
from certs.services import sweeps
from certs.services.certificate_changes import certificate_update
from certs.services.certificates import certificate_new
from certs.services.deletion import certificate_delete
from certs.services.portal_state import state_get, state_update
from certs.services.prune import prune_run
from certs.services.sweeps import renewal_decision, sweep_run
from portal import clock
from tests import stock

pytestmark = pytest.mark.django_db
Clock = Callable[[float], None]
DAY = 86400


def decisions(**options: Any) -> dict[str, str]:
    return {line.name: line.code for line in sweep_run(**options)}


@pytest.mark.parametrize("read", [timedelta(0), None])
def test_a_look_that_is_wanted_during_a_sweep_is_not_put_off(
    monkeypatch: pytest.MonkeyPatch, read: timedelta | None
) -> None:
    """The sweep has read the row already: a key that becomes known to others now would wait for a day."""
    stock.issued("fresh.example")
    Certificate.objects.update(next_check_at=read if read is None else clock.now() - read)
    decide = sweeps.decide

    def meanwhile(*words: Any) -> Any:
        Certificate.objects.update(next_check_at=clock.now())
        return decide(*words)

    with monkeypatch.context() as patched:
        patched.setattr(sweeps, "decide", meanwhile)
        assert decisions(everything=True) == {"fresh.example": "not-due"}
    assert certificates_due_for_check(clock.now()).exists()
    assert decisions() == {"fresh.example": "not-due"}
    assert not certificates_due_for_check(clock.now()).exists()


def test_each_certificate_gets_a_decision_and_what_is_due_an_order() -> None:
    fresh, due = stock.issued("fresh.example"), stock.issued("due.example", age=80)
    own = stock.uploaded("own.example")
    lines = {line.name: line for line in sweep_run()}
    assert {name: (line.code, line.due) for name, line in lines.items()} == {
        "fresh.example": ("not-due", False),
        "due.example": ("due-date", True),
        "own.example": ("not-due", False),
    }
    order = Order.objects.get()
    assert (order.certificate, order.reason, order.names, order.bind) == (due, "due-date", ["due.example"], False)
    assert lines["due.example"].order == order.pk
    for row in (fresh, due, own):
        row.refresh_from_db()
        assert row.last_decision == lines[row.name].code
        assert row.last_decision_text == lines[row.name].text
        assert row.next_check_at == lines[row.name].next_check_at > clock.now()
    assert state_get().sweep_summary == {"not-due": 2, "due-date": 1}
    assert state_get().sweep_finished_at is not None


def test_a_second_sweep_orders_nothing_again() -> None:
    stock.issued("due.example", age=80)
    sweep_run()
    assert sweep_run() == []
    assert decisions(everything=True) == {"due.example": "busy"}
    assert Order.objects.count() == 1


def test_not_due_is_one_query_that_writes_nothing() -> None:
    for number in range(5):
        stock.issued(f"h{number}.example")
    sweep_run()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert sweep_run() == []
    assert len(queries) <= 3
    assert not [query for query in queries.captured_queries if not query["sql"].startswith("SELECT")]


def test_what_is_due_for_a_look_is_found_by_the_index() -> None:
    plan = certificates_due_for_check(clock.now()).explain().lower()
    if connection.vendor == "sqlite":
        assert "using index certs_certificate_next_check_at" in plan
        assert "scan certs_certificate\n" not in plan


def test_an_hour_of_empty_ticks_leaves_a_mark_for_the_alarm(move_clock: Clock) -> None:
    stock.issued("a.example", days=398)
    sweep_run()
    first = state_get().sweep_finished_at
    move_clock(1800)
    sweep_run()
    assert state_get().sweep_finished_at == first
    move_clock(3700)
    sweep_run()
    assert first is not None
    assert (state_get().sweep_finished_at or first) > first


def test_history_gets_a_row_only_when_the_decision_changes(move_clock: Clock) -> None:
    stock.issued("a.example")
    for days in (0, 2, 4):
        move_clock(days * DAY)
        sweep_run()
    assert AuditEvent.objects.filter(action="certificate.decision").count() == 1
    move_clock(70 * DAY)
    sweep_run()
    event = AuditEvent.objects.filter(action="certificate.decision").first()
    assert event is not None
    assert (event.before, event.after["decision"]) == ({"decision": "not-due"}, "due-date")
    assert event.actor_text == "schedule"


def test_the_most_urgent_come_first() -> None:
    stock.issued("soon.example", age=85)
    stock.issued("later.example", age=75)
    stock.issued("fresh.example")
    stock.issued("gone.example", age=91)
    lost = stock.issued("lost.example")
    CertificateVersion.objects.filter(certificate=lost).update(key=None)
    order = [line.name for line in sweep_run()]
    assert order == ["gone.example", "lost.example", "soon.example", "later.example", "fresh.example"]
    assert decisions(everything=True, dry_run=True)["lost.example"] == "busy"


def test_expired_and_keyless_are_never_fine() -> None:
    stock.issued("gone.example", age=91)
    lost, own = stock.issued("lost.example"), stock.uploaded("own.example")
    PrivateKey.objects.filter(versions__certificate__in=[lost, own]).update(sealed="")
    assert decisions() == {"gone.example": "expired", "lost.example": "key-missing", "own.example": "key-missing"}
    assert Order.objects.count() == 2


def test_a_dry_run_writes_nothing() -> None:
    stock.issued("due.example", age=80)
    events = AuditEvent.objects.count()
    with CaptureQueriesContext(connection) as queries:
        (line,) = sweep_run(dry_run=True, everything=True)
    assert (line.code, line.due, line.order) == ("due-date", True, None)
    assert all(query["sql"].startswith("SELECT") for query in queries.captured_queries)
    assert (Order.objects.count(), AuditEvent.objects.count()) == (0, events)
    assert state_get().sweep_finished_at is None


def test_asking_renews_what_is_not_due_within_the_brake() -> None:
    certificate, other = stock.issued("a.example"), stock.issued("b.example")
    (line,) = sweep_run(only=[certificate], actor="command line")
    assert (line.code, line.due) == ("asked", True)
    assert Order.objects.get().certificate == certificate
    other.refresh_from_db()
    assert other.last_decision == ""


def success(certificate: Certificate, *, reason: str = "asked", names: list[str] | None = None) -> Order:
    """An order that brought the current version."""
    assert certificate.account is not None
    return Order.objects.create(
        certificate=certificate,
        account=certificate.account,
        reason=reason,
        names=names or certificate.names,
        version=certificate.current,
        state="done",
        finished_at=clock.now(),
        created_at=clock.now() - timedelta(hours=2),
    )


def test_the_brake_counts_successes_for_the_same_names() -> None:
    certificate = stock.issued("a.example")
    success(certificate)
    (line,) = sweep_run(only=[certificate])
    assert line.code == "held-back"
    assert "it was renewed on" in line.text
    twin = certificate_new(name="twin", names=["a.example"], account=stock.account(), actor="test")
    stock.renewed(twin)
    assert renewal_decision(twin, asked=True).code == "held-back"
    elsewhere = certificate_new(
        name="elsewhere", names=["a.example"], account=stock.account("https://other.example/directory"), actor="test"
    )
    stock.renewed(elsewhere)
    assert renewal_decision(elsewhere, asked=True).due
    wider = stock.issued("a.example", "b.example")
    assert renewal_decision(wider, asked=True).due
    assert renewal_decision(certificate, asked=True, force=True).due


def test_a_forced_success_does_not_count() -> None:
    certificate = stock.issued("a.example")
    success(certificate, reason="forced")
    assert renewal_decision(certificate, asked=True).due


def test_four_tries_within_an_hour_are_enough_even_by_force() -> None:
    certificate = stock.issued("a.example", "b.example")
    assert certificate.account is not None
    for number in range(4):
        Order.objects.create(
            certificate=certificate,
            account=certificate.account,
            reason="asked",
            names=["b.example", f"x{number}.example"],
            state="failed",
            finished_at=clock.now(),
        )
    decision = renewal_decision(certificate, asked=True, force=True)
    assert (decision.code, decision.due) == ("held-back", False)
    assert "tried 4 times within an hour" in decision.text
    assert renewal_decision(stock.issued("x1.example"), asked=True, force=True).due


def test_a_failure_is_tried_again_when_its_wait_is_over(move_clock: Clock) -> None:
    certificate = stock.issued("a.example", age=80)
    later = clock.now() + timedelta(minutes=10)
    Certificate.objects.update(next_attempt_at=later, next_check_at=later, failures=2)
    assert sweep_run() == []
    assert decisions(everything=True) == {"a.example": "held-back"}
    certificate.refresh_from_db()
    assert certificate.next_check_at is not None
    move_clock((certificate.next_check_at - clock.now()).total_seconds() + 1)
    assert decisions() == {"a.example": "due-date"}


def test_the_ca_s_retry_after_holds_even_by_force() -> None:
    certificate = stock.issued("a.example", age=88)
    Certificate.objects.update(retry_after_at=clock.now() + timedelta(hours=1))
    (line,) = sweep_run(only=[certificate], force=True)
    assert line.code == "held-back"
    assert "the CA asked to wait" in line.text


@pytest.mark.parametrize(
    ("ari", "code"),
    [
        ({"selected": "2020-01-01T00:00:00+00:00"}, "recalled"),
        ({"selected": "2020-01-01T00:00:00"}, "recalled"),
        ({"selected": "2099-01-01T00:00:00+00:00"}, "not-due"),
        ({"selected": "soon"}, "not-due"),
        ({"selected": 7, "retry_at": []}, "not-due"),
        ({"selected": None}, "not-due"),
    ],
)
def test_the_stored_window_of_the_ca_decides_unless_it_is_senseless(ari: dict[str, Any], code: str) -> None:
    stock.issued("a.example")
    Certificate.objects.update(ari=ari)
    assert decisions() == {"a.example": code}


def test_settings_of_the_portal_and_of_one_certificate() -> None:
    one, two = stock.issued("a.example", age=65), stock.issued("b.example", age=65)
    assert set(decisions().values()) == {"not-due"}
    state_update(renew_before_days=30)
    certificate_update(two, actor="test", renew_before_days=5, check_hours=1)
    assert decisions(everything=True, dry_run=True) == {"a.example": "due-date", "b.example": "not-due"}
    (line,) = sweep_run(only=[two], asked=False)
    assert line.next_check_at < clock.now() + timedelta(minutes=140)
    certificate_update(one, actor="test", auto_renew=False)
    assert decisions(everything=True, dry_run=True)["a.example"] == "manual"


def test_the_placeholder_and_deleted_ones_are_no_business_of_the_sweep() -> None:
    state_update(placeholder=stock.uploaded("placeholder.example"))
    gone = stock.issued("gone.example")
    certificate_delete(gone, actor="test")
    assert sweep_run(everything=True) == []
    assert sweep_run(only=[gone]) == []


def test_never_issued_is_not_ordered_by_itself() -> None:
    certificate = certificate_new(name="", names=["a.example"], account=stock.account(), actor="test")
    assert decisions() == {"a.example": "not-issued"}
    assert decisions(only=[certificate]) == {"a.example": "asked"}


def test_a_first_issue_that_failed_is_retried_by_itself(move_clock: Clock) -> None:
    """As its page says; a visitor's name would never get its certificate otherwise."""
    certificate = certificate_new(name="", names=["a.example"], account=stock.account(), actor="test")
    later = clock.now() + timedelta(hours=1)
    Certificate.objects.update(failures=1, next_attempt_at=later, next_check_at=clock.now())
    assert decisions() == {"a.example": "held-back"}
    certificate.refresh_from_db()
    assert certificate.next_check_at is not None
    move_clock((certificate.next_check_at - clock.now()).total_seconds() + 1)
    assert clock.now() - later < timedelta(hours=3)
    assert decisions() == {"a.example": "asked"}
    assert Order.objects.get().reason == "asked"


def test_what_nobody_wants_any_more_is_not_retried() -> None:
    certificate_new(name="", names=["a.example"], account=stock.account(), actor="test")
    Certificate.objects.update(failures=1, auto_renew=False)
    assert decisions() == {"a.example": "not-issued"}


@pytest.mark.parametrize("step", ["_decide", "_within_limits", "_write"])
def test_a_fault_over_one_certificate_does_not_end_the_sweep(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row that nothing can be made of must not keep all the others from being renewed."""
    broken, good = stock.issued("broken.example", age=80), stock.issued("good.example", age=80)
    real = getattr(sweeps, step)

    def faulty(row: Certificate, *rest: Any) -> Any:
        if row.pk == broken.pk:
            raise TypeError("no such thing")
        return real(row, *rest)

    monkeypatch.setattr(sweeps, step, faulty)
    assert decisions() == {"broken.example": "failed", "good.example": "due-date"}
    assert Order.objects.filter(certificate=good).exists()
    broken.refresh_from_db()
    assert broken.last_decision == "failed"
    assert state_get().sweep_finished_at is not None
    assert broken in certificates_due_for_check(clock.now())  # the next tick looks again


@pytest.mark.parametrize("error", [InputError("no way"), RuntimeError("secret detail")])
def test_one_certificate_s_trouble_does_not_end_the_sweep(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sweeps.order_create

    def refuse(certificate: Certificate, **options: Any) -> Order:
        if certificate.name == "bad.example":
            raise error
        return real(certificate, **options)

    monkeypatch.setattr(sweeps, "order_create", refuse)
    stock.issued("bad.example", age=80)
    stock.issued("good.example", age=80)
    assert decisions() == {"bad.example": "failed", "good.example": "due-date"}
    assert Order.objects.get().certificate.name == "good.example"
    assert state_get().sweep_summary == {"failed": 1, "due-date": 1}
    event = AuditEvent.objects.get(action="certificate.decision", target="bad.example")
    assert event.result == "failed"
    assert "secret detail" not in event.after["why"]


def test_prune_keeps_what_the_brake_counts_from(move_clock: Clock) -> None:
    certificate = stock.issued("a.example", days=398)
    kept = success(certificate)
    failed = Order.objects.create(
        certificate=certificate, account=stock.account(), reason="asked", state="failed", finished_at=clock.now()
    )
    gone = stock.issued("gone.example")
    certificate_delete(gone, actor="test")
    move_clock(91 * DAY)
    pruned = prune_run()
    assert (pruned.certificates, pruned.orders) == (1, 1)
    assert list(Order.objects.all()) == [kept]
    assert not Order.objects.filter(pk=failed.pk).exists()
    assert not Certificate.objects.filter(pk=gone.pk).exists()
    assert not any(astuple(prune_run()))


def test_prune_removes_sessions_processes_and_rebinds_that_ended() -> None:
    now = datetime.now(UTC)
    for name, end in (("old", now - timedelta(seconds=1)), ("new", now + timedelta(hours=1))):
        Session.objects.create(session_key=name, session_data="", expire_date=end)
    for node, seen in (("gone", now - timedelta(days=8)), ("here", now)):
        NodeProcess.objects.create(node=node, pid=1, seen_at=seen)
        WorkerBeat.objects.create(node=node, pid=1, moved_at=seen)
    for port, end in ((1, clock.now() - timedelta(days=91)), (2, clock.now()), (3, None)):
        Rebind.objects.create(node="here", port=port, old_port=0, finished_at=end)
    pruned = prune_run()
    assert (pruned.sessions, pruned.processes, pruned.rebinds) == (1, 2, 1)
    assert Session.objects.get().session_key == "new"
    assert {NodeProcess.objects.get().node, WorkerBeat.objects.get().node} == {"here"}
    assert set(Rebind.objects.values_list("port", flat=True)) == {2, 3}
