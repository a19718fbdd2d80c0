"""Alarms as rows: raised once, climbing, cleared; derived from what the sweep and the orders leave behind."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from certs.domain import states
from certs.domain.alarms import Level, Trouble, subject_make
from certs.models import (
    AcmeAccount,
    AcmeDirectory,
    Alarm,
    AlarmDelivery,
    AuditEvent,
    Certificate,
    CertificateVersion,
    Challenge,
    Channel,
    Order,
    PrivateKey,
)
from certs.services import health, order_proofs
from certs.services.alarm_certificates import _candidates
from certs.services.alarm_watch import alarms_sweep, portal_failing, portal_watch
from certs.services.alarms import (
    alarm_account_lost,
    alarm_clear,
    alarm_note,
    alarm_raise,
    alarms_open,
    alarms_see,
    alarms_standing,
)
from certs.services.challenges import solver_kinds
from certs.services.channels import channel_create, channel_switch
from certs.services.deletion import certificate_delete
from certs.services.handshakes import ServedResult
from certs.services.order_proofs import orders_prove_again
from certs.services.orders import order_create
from certs.services.portal_state import state_update
from certs.services.prune import prune_run
from portal import clock
from tests import stock

pytestmark = pytest.mark.django_db


def trouble(level: Level = Level.NOTICE, key: str = "expiry:1") -> Trouble:
    return Trouble(key, level, subject_make("a.example", "its renewal fails"), "It cannot be reached.", path="/x/")


def channel(name: str = "Ops") -> Channel:
    values = {"url": "https://hooks.example.com/x"}
    return channel_create("webhook", name=name, values=values, actor="test")


def told(channel: Channel) -> list[tuple[int, str]]:
    """(level, subject) of what waits for the channel, as if the channel now took it."""
    rows = AlarmDelivery.objects.filter(channel=channel, sent_at=None).order_by("pk")
    found = [(row.alarm.level, row.alarm.subject) for row in rows.select_related("alarm")]
    rows.update(sent_at=clock.now())
    return found


def levels() -> list[tuple[str, int]]:
    return sorted(alarms_open().values_list("key", "level"))


def failed(certificate: Certificate, *, failures: int = 1, **fields: object) -> Order:
    """An order of the certificate that has come to nothing."""
    order = order_create(certificate, reason="due-date", actor="test")
    given = {
        "state": states.FAILED,
        "finished_at": clock.now(),
        "error_message": "The CA refused: no A record",
        "error_advice": "Add one.",
    }
    Order.objects.filter(pk=order.pk).update(**{**given, **fields})
    again = clock.now() + timedelta(minutes=10)
    Certificate.objects.filter(pk=certificate.pk).update(failures=failures, next_attempt_at=again)
    return order


# Raised, climbing, cleared


def test_the_same_trouble_is_told_once_and_again_only_when_it_climbs() -> None:
    ops = channel()
    assert alarm_raise(trouble())
    assert alarm_raise(trouble()) is None
    assert alarm_raise(trouble(Level.WARNING))
    assert alarm_raise(trouble(Level.NOTICE)) is None
    assert [level for level, _ in told(ops)] == [Level.NOTICE, Level.WARNING]


def test_of_two_processes_that_raise_it_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The constraint decides where both have looked before either wrote."""
    channel()
    alarm_raise(trouble())
    monkeypatch.setattr("certs.services.alarms.alarms_open", Alarm.objects.none)
    assert alarm_raise(trouble()) is None
    assert AlarmDelivery.objects.count() == 1


def test_when_it_is_over_those_who_were_told_hear_it_once() -> None:
    ops = channel()
    alarm_raise(trouble())
    told(ops)
    late = channel("Late")  # hears of what is open, but has not sent it yet
    assert alarm_clear("expiry:1", told="It was renewed.") == 1
    assert alarm_clear("expiry:1") == 0
    assert told(ops) == [(Level.WELL, "a.example: well again")]
    assert told(late) == []
    assert not alarms_open().exists()


def test_after_it_was_over_it_is_told_anew() -> None:
    ops = channel()
    for _ in range(2):
        alarm_raise(trouble())
        assert [level for level, _ in told(ops)] == [Level.NOTICE]
        alarm_clear("expiry:1", quietly=True)
    assert told(ops) == []


def test_an_event_is_told_and_over_at_once() -> None:
    ops = channel()
    alarm_note(trouble())
    alarm_note(trouble())
    assert len(told(ops)) == 2
    assert not alarms_open().exists()


def test_seeing_an_alarm_ends_no_trouble_but_is_on_record() -> None:
    alarm = alarm_raise(trouble())
    assert alarm is not None
    assert alarms_see([alarm], actor="alice@example.com") == 1
    assert alarms_see([alarm], actor="bob@example.com") == 0
    alarm.refresh_from_db()
    assert alarm.seen_by == "alice@example.com"
    assert alarms_open().count() == 1
    assert AuditEvent.objects.get(action="alarm.see").target == alarm.subject


def test_people_look_at_the_highest_of_each_trouble_and_see_all_of_it_at_once() -> None:
    for level in (Level.NOTICE, Level.WARNING):
        alarm_raise(trouble(level))
    alarm_raise(trouble(Level.REMINDER, "expiry:2"))
    assert [(each.key, each.level) for each in alarms_standing()] == [
        ("expiry:1", Level.WARNING),
        ("expiry:2", Level.REMINDER),
    ]
    assert alarms_see(alarms_standing(), actor="alice@example.com") == 2
    assert not alarms_open().filter(seen_at=None).exists()
    alarm_raise(trouble(Level.URGENT))
    assert alarms_standing().filter(seen_at=None).count() == 1


def test_a_channel_made_later_hears_of_what_is_open_and_one_switched_off_of_nothing() -> None:
    alarm_raise(trouble())
    ops = channel()
    assert len(told(ops)) == 1
    channel_switch(ops, on=False, actor="test")
    alarm_raise(trouble(key="expiry:2"))
    assert told(ops) == []
    channel_switch(ops, on=True, actor="test")
    assert len(told(ops)) == 1


def test_secrets_in_what_a_ca_says_do_not_travel() -> None:
    alarm = alarm_raise(Trouble("x", Level.NOTICE, "a: b", "password=hunter2 is wrong"))
    assert alarm is not None
    assert "hunter2" not in alarm.happened


# Derived


def test_where_all_is_well_nothing_is_written_and_little_is_asked() -> None:
    for number in range(20):
        stock.issued(f"n{number}.example")
    stock.issued("short.example", days=6)
    with CaptureQueriesContext(connection) as caught:
        alarms_sweep()
    written = [query["sql"] for query in caught if not query["sql"].startswith("SELECT")]
    assert not written
    assert len(caught) <= 15  # however many certificates there are
    assert not Alarm.objects.exists()


def test_the_versions_are_never_read_through() -> None:
    """They are many, and wide with their PEM: a look at each at every tick would be felt."""
    if connection.vendor != "sqlite":
        pytest.skip("the plan is SQLite's")
    plan = _candidates(clock.now(), []).explain()
    assert "certificateversion" in plan
    scans = [line for line in plan.splitlines() if "SCAN" in line]
    assert all("INDEX key_lost" in line for line in scans), plan  # it holds nothing but lost keys


def test_what_expired_long_ago_keeps_its_alarm(move_clock: Callable[[float], None]) -> None:
    certificate = stock.uploaded("own.example", days=60)
    for day in (61, 200, 500):
        move_clock(timedelta(days=day).total_seconds())
        alarms_sweep()
        assert levels() == [(f"expiry:{certificate.pk}", Level.OUTAGE)]


def test_a_failure_is_told_with_the_cause_and_the_advice_of_the_page_of_its_order() -> None:
    certificate = stock.issued("a.example", age=70)
    seen = {"name": "a.example", "url": "http://a.example/x", "curl": "curl", "seen": "no answer: Connection refused"}
    failed(certificate, error_code="acme-connection", error_message="The HTTP challenge failed.", evidence=[seen])
    alarms_sweep()
    alarm = alarms_open().get()
    assert alarm.happened.startswith("Nothing answers on port 80 of a.example. The HTTP challenge failed.")
    assert alarm.advice.startswith("Let port 80 of a.example reach this portal")


def test_the_first_failure_is_told_with_cause_try_next_try_advice_and_page() -> None:
    certificate = stock.issued("www.example.com", age=70)
    order = failed(certificate)
    alarms_sweep()
    alarm = Alarm.objects.get()
    assert alarm.subject == "www.example.com: its renewal fails"
    assert alarm.happened.startswith("The CA refused: no A record. The certificate is good until")
    assert alarm.happened.endswith("for 19 days.") or alarm.happened.endswith("for 20 days.")
    assert "acme.example by" in alarm.tried
    assert alarm.next_try_at is not None
    assert alarm.advice == "Add one."
    assert alarm.path == f"/activity/{order.pk}/"


def test_it_climbs_at_a_sixth_and_a_twelfth_and_at_the_end_and_is_over_when_renewed(
    move_clock: Callable[[float], None],
) -> None:
    ops, certificate = channel(), stock.issued("www.example.com", age=70)
    failed(certificate)
    found = []
    for day in (0, 1, 5.1, 6, 12.6, 13, 20.1, 25):
        move_clock(timedelta(days=day).total_seconds())
        alarms_sweep()
        found.append([level for level, _ in told(ops)])
    assert found == [[Level.NOTICE], [], [Level.WARNING], [], [Level.URGENT], [], [Level.OUTAGE], []]
    stock.renewed(certificate)
    alarms_sweep()
    alarms_sweep()
    assert told(ops) == [(Level.WELL, "www.example.com: well again")]
    assert Alarm.objects.get(level=Level.WELL).happened.startswith("The certificate in use is good until")


def test_an_order_that_makes_no_way_is_told_though_it_has_not_failed(move_clock: Callable[[float], None]) -> None:
    certificate = stock.issued("www.example.com", age=70)
    order = order_create(certificate, reason="due-date", actor="test")
    soon = clock.now() + timedelta(minutes=20)
    Order.objects.filter(pk=order.pk).update(
        error_code="acme-unreachable", error_message="The CA cannot be reached.", attempts=7, next_attempt_at=soon
    )
    alarms_sweep()
    assert not Alarm.objects.exists()
    move_clock(16 * 60)
    alarms_sweep()
    alarm = Alarm.objects.get()
    assert "7 tries of the present step" in alarm.tried
    assert alarm.next_try_at == soon


def test_a_rehearsal_that_somebody_asked_for_is_no_alarm(move_clock: Callable[[float], None]) -> None:
    certificate = stock.issued("www.example.com")
    order = order_create(certificate, reason="rehearsal", actor="test")
    Order.objects.filter(pk=order.pk).update(rehearsal=True, error_code="x", error_message="The CA is away.")
    move_clock(3600)
    alarms_sweep()
    assert levels() == []


def test_a_person_who_has_to_act_is_told(move_clock: Callable[[float], None]) -> None:
    certificate = stock.issued("www.example.com", age=70)
    order = order_create(certificate, reason="due-date", actor="test")
    by_hand = next(kind for kind, solver in solver_kinds().items() if solver.by_hand)
    Order.objects.filter(pk=order.pk).update(challenge_kind=by_hand, state=states.ORDERED)
    move_clock(16 * 60)
    alarms_sweep()
    assert "waits for a person to put an answer in place" in Alarm.objects.get().happened


def test_issuers_and_challenges_tried_before_are_named() -> None:
    certificate = stock.issued("www.example.com", age=70)
    tried = [{"kind": "issuer", "ca": "First CA", "challenge": "http01", "error_message": "no", "account": "x"}]
    failed(certificate, failures=3, tried=tried)
    alarms_sweep()
    said = Alarm.objects.get().tried
    assert said.startswith("First CA by ")
    assert "(no), then acme.example by" in said
    assert said.endswith("3 orders in a row have failed.")


def test_one_held_back_until_it_is_late_is_told_with_the_decision() -> None:
    certificate = stock.issued("www.example.com", age=80)
    Certificate.objects.filter(pk=certificate.pk).update(last_decision_text="Held back: the CA asked to wait.")
    alarms_sweep()
    alarm = Alarm.objects.get()
    assert (alarm.level, alarm.subject) == (Level.WARNING, "www.example.com: not renewed, 9 days left")
    assert "Held back: the CA asked to wait." in alarm.tried


def test_what_nobody_renews_is_reminded_of(move_clock: Callable[[float], None]) -> None:
    ops = channel()
    stock.uploaded("own.example", days=60)
    found = []
    for day in (0, 30, 39.5, 40, 46.5, 53.5, 57.5, 59.5, 60.5):
        move_clock(timedelta(days=day).total_seconds())
        alarms_sweep()
        found += [level for level, _ in told(ops)]
    assert found == [1, 2, 3, 4, 5, 6]
    assert Alarm.objects.get(level=3).subject == "own.example: expires in 6 days, and nothing renews it"
    assert Alarm.objects.get(level=3).advice.startswith("Upload its successor")


def test_a_certificate_that_is_deleted_takes_its_alarm_along_quietly() -> None:
    ops, certificate = channel(), stock.issued("www.example.com", age=70)
    failed(certificate)
    alarms_sweep()
    told(ops)
    certificate_delete(certificate, actor="test")
    alarms_sweep()
    assert told(ops) == []
    assert not alarms_open().exists()


def test_what_was_renewed_but_is_not_served_is_told_until_a_handshake_shows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate = stock.issued("www.example.com")
    order = failed(certificate, failures=0, state=states.DONE, served=False, version=certificate.current)
    alarms_sweep()
    assert levels() == [(f"served:{certificate.pk}", Level.WARNING)]
    assert Alarm.objects.get().path == f"/activity/{order.pk}/"
    answers = iter([False, None, True])
    monkeypatch.setattr(order_proofs, "served_now", lambda _: ServedResult(next(answers), "", "this server", "seen"))
    assert [orders_prove_again() for _ in range(3)] == [0, 0, 1]
    alarms_sweep()
    assert levels() == []
    order.refresh_from_db()
    assert (order.served, order.error_message) == (True, "")


def test_those_that_are_never_served_do_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        certificate = stock.issued(f"n{number}.example.com")
        failed(certificate, failures=0, state=states.DONE, served=False, version=certificate.current)
    monkeypatch.setattr(
        order_proofs,
        "served_now",
        lambda found: ServedResult(found.name == "n6.example.com", "", "this server", "seen"),
    )
    assert sum(orders_prove_again() for _ in range(60)) == 1


def test_what_was_not_served_is_no_matter_once_it_is_not_current() -> None:
    certificate = stock.issued("www.example.com")
    failed(certificate, failures=0, state=states.DONE, served=False, version=certificate.current)
    stock.renewed(certificate)
    alarms_sweep()
    assert levels() == []


def test_a_missing_key_and_a_revocation_are_urgent() -> None:
    certificate = stock.issued("www.example.com")
    CertificateVersion.objects.filter(pk=certificate.current_id).update(
        key=None, revoked_at=clock.now(), revocation_reason="keyCompromise"
    )
    alarms_sweep()
    assert levels() == [(f"key:{certificate.pk}", Level.OUTAGE), (f"revoked:{certificate.pk}", Level.URGENT)]
    stock.renewed(certificate)
    alarms_sweep()
    assert levels() == []


def test_a_key_that_was_lost_is_an_outage_also_of_what_was_uploaded() -> None:
    own, trusted = stock.uploaded("own.example.com"), stock.uploaded("trusted.example.com")
    CertificateVersion.objects.filter(pk=trusted.current_id).update(key=None)  # never had one
    PrivateKey.objects.filter(versions=own.current_id).update(sealed="")
    alarms_sweep()
    assert levels() == [(f"key:{own.pk}", Level.OUTAGE)]


def test_a_directory_silent_for_a_day_and_terms_that_changed() -> None:
    account: AcmeAccount = stock.account()
    AcmeAccount.objects.update(account_url="https://acme.example/account/1")
    row = AcmeDirectory.objects.create(
        directory_url=account.directory_url,
        trouble="acme.example cannot be reached.",
        trouble_since=clock.now() - timedelta(hours=23),
        checked_at=clock.now(),
        terms_url="https://acme.example/terms/2",
    )
    alarms_sweep()
    assert levels() == [(f"terms:{account.pk}", Level.NOTICE)]
    AcmeDirectory.objects.filter(pk=row.pk).update(trouble_since=clock.now() - timedelta(hours=25))
    alarms_sweep()
    assert (f"directory:{account.directory_url}", Level.WARNING) in levels()
    AcmeDirectory.objects.filter(pk=row.pk).update(trouble="", trouble_since=None, terms_url=account.terms_url)
    alarms_sweep()
    assert levels() == []


def test_an_answer_that_cannot_be_taken_away_is_told_after_some_tries() -> None:
    order = failed(stock.issued("www.example.com"), failures=0)
    row = Challenge.objects.create(
        token="t" * 100,
        order=order,
        name="www.example.com",
        authorization_url="https://a/",
        challenge_url="https://a/",
        key_authorization="k",
        clean_at=clock.now(),
        clean_tries=3,
        trouble="The name server refused.",
    )
    alarms_sweep()
    assert not Alarm.objects.exists()
    Challenge.objects.update(clean_tries=4)
    alarms_sweep()
    assert Alarm.objects.get().happened.startswith("The name server refused.")
    row.delete()
    alarms_sweep()
    assert levels() == []


def test_an_account_that_the_ca_lost_is_an_event() -> None:
    alarm = alarm_account_lost(stock.account())
    assert alarm.subject == "acme.example: it had lost our account"
    assert alarm.cleared_at is not None


# The portal itself, as the supervisor asks


def dead(monkeypatch: pytest.MonkeyPatch, *, alive: bool = False) -> None:
    monkeypatch.setattr(health, "worker_alive", lambda: alive)


def test_a_dead_worker_and_a_late_sweep_count_when_they_last(monkeypatch: pytest.MonkeyPatch) -> None:
    dead(monkeypatch)
    state_update(sweep_finished_at=clock.now() - timedelta(hours=25))
    assert [found.code for found in portal_failing()] == ["worker"]
    state_update(sweep_finished_at=clock.now() - timedelta(hours=26, minutes=1))
    failing = portal_failing()
    portal_watch(failing, set())
    assert levels() == []
    portal_watch(failing, {"worker", "sweep"})
    portal_watch(failing, {"worker", "sweep"})
    assert levels() == [("sweep", Level.OUTAGE), ("worker", Level.OUTAGE)]
    portal_watch(failing, set())  # a supervisor that has just been started anew
    assert len(levels()) == 2
    dead(monkeypatch, alive=True)
    state_update(sweep_finished_at=clock.now())
    portal_watch(portal_failing(), set())
    assert levels() == []


def test_a_tick_leaves_the_alarms_of_the_supervisor_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    dead(monkeypatch)
    portal_watch(portal_failing(), {"worker"})
    alarms_sweep()
    assert levels() == [("worker", Level.OUTAGE)]


def test_what_is_long_over_goes_and_what_is_open_stays(move_clock: Callable[[float], None]) -> None:
    channel()
    for key in ("expiry:1", "expiry:2"):
        alarm_raise(trouble(key=key))
    alarm_clear("expiry:1", quietly=True)
    move_clock(timedelta(days=91).total_seconds())
    assert prune_run().alarms == 1
    assert levels() == [("expiry:2", Level.NOTICE)]
