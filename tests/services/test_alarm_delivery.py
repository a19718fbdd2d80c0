"""From the row to the server: grouped, in a rhythm, at least once, and never in anybody's way."""

import os
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections

from certs import tasks
from certs.channels.webhook import Webhook
from certs.domain.alarms import Level, Message, Trouble, subject_make
from certs.domain.errors import BinderyError
from certs.models import AlarmDelivery, AuditEvent, Channel, Order
from certs.services import alarm_delivery
from certs.services.alarm_delivery import alarms_deliver, channel_test, deliveries_due
from certs.services.alarms import alarm_clear, alarm_note, alarm_raise
from certs.services.channels import channel_change, channel_create, channel_switch
from certs.services.orders import order_create
from certs.services.portal_state import state_update
from portal import clock
from tests import stock
from tests.harness.hook import HookServer
from tests.harness.mail import PASSWORD, MailServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def mail() -> Iterator[MailServer]:
    state_update(public_url="https://portal.example.com")
    with MailServer(log_in=True) as running:
        yield running


def mailing(server: MailServer, name: str = "Ops", **changed: Any) -> Channel:
    values = server.options | changed
    return channel_create("mail", name=name, values=values, allow_private=True, actor="test")


def raise_one(number: int = 1, level: Level = Level.NOTICE) -> None:
    subject = subject_make(f"n{number}.example", "its renewal fails")
    alarm_raise(Trouble(f"expiry:{number}", level, subject, "The CA cannot be reached.", path=f"/activity/{number}/"))


def subjects(server: MailServer) -> list[str]:
    return [str(got.mail["Subject"]).partition("] ")[2] for got in server.received]


def test_a_hundred_leave_as_one_message_on_each_channel(mail: MailServer) -> None:
    with HookServer() as hook:
        mailing(mail)
        channel_create("webhook", name="Chat", values={"url": hook.url}, allow_private=True, actor="test")
        for number in range(100):
            raise_one(number)
        assert alarms_deliver() == 2
        assert alarms_deliver() == 0
        assert len(hook.received) == 1
    assert subjects(mail) == ["Notice: n0.example: its renewal fails, and 99 more"]
    assert "And 80 more" in mail.received[0].text
    assert "https://portal.example.com/activity/0/" in mail.received[0].text
    assert not AlarmDelivery.objects.filter(sent_at=None).exists()


def test_no_channel_waits_for_a_lane_with_its_turn_taken() -> None:
    """Eight that are silent for a minute each would let the turn of a later one lapse."""
    with HookServer() as hook:
        for number in range(10):
            values = {"url": hook.url}
            channel_create("webhook", name=f"Chat {number}", values=values, allow_private=True, actor="test")
        raise_one()
        assert alarms_deliver() == 8
        assert Channel.objects.filter(last_sent_at=None, next_attempt_at=None).count() == 2
        assert deliveries_due()
        assert alarms_deliver() == 2
        assert len(hook.received) == 10


def test_no_network_inside_a_transaction(mail: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    mailing(mail)
    raise_one()
    outside, seen, send = len(connection.savepoint_ids), [], alarm_delivery._send

    def watched(parcel: Any) -> Any:
        seen.append(len(connection.savepoint_ids))
        return send(parcel)

    monkeypatch.setattr(alarm_delivery, "_send", watched)
    monkeypatch.setattr(alarm_delivery, "ThreadPoolExecutor", Here)
    assert alarms_deliver() == 1
    assert seen == [outside]


class Here:
    """Runs what it is given in this thread."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        return [function(each) for each in items]


def test_a_quarter_of_an_hour_between_messages_unless_it_climbs(
    mail: MailServer, move_clock: Callable[[float], None]
) -> None:
    mailing(mail)
    raise_one(1, Level.WARNING)
    assert alarms_deliver() == 1
    raise_one(2)
    raise_one(3, Level.WARNING)
    assert alarms_deliver() == 0
    assert not deliveries_due()
    raise_one(4, Level.URGENT)
    assert alarms_deliver() == 1
    raise_one(5)
    move_clock(14 * 60)
    assert alarms_deliver() == 0
    move_clock(15 * 60 + 1)
    assert alarms_deliver() == 1
    assert subjects(mail) == [
        "Warning: n1.example: its renewal fails",
        "Urgent: n4.example: its renewal fails, and 2 more",
        "Notice: n5.example: its renewal fails",
    ]


def test_what_climbs_before_it_has_left_is_told_once_at_its_highest(mail: MailServer) -> None:
    mailing(mail)
    for level in (Level.NOTICE, Level.WARNING, Level.URGENT):
        raise_one(1, level)
    assert alarms_deliver() == 1
    assert mail.received[0].text.count("n1.example: its renewal fails") == 1
    assert subjects(mail) == ["Urgent: n1.example: its renewal fails"]


def test_what_is_over_before_it_has_left_is_not_told(mail: MailServer) -> None:
    mailing(mail)
    raise_one()
    alarm_clear("expiry:1")
    assert alarms_deliver() == 0
    assert mail.received == []


def test_while_orders_are_under_way_a_message_waits_for_their_outcome_but_not_long(
    mail: MailServer, move_clock: Callable[[float], None]
) -> None:
    mailing(mail)
    order = order_create(stock.issued("a.example", age=80), reason="due-date", actor="test")
    raise_one()
    assert alarms_deliver() == 0
    Order.objects.filter(pk=order.pk).update(next_attempt_at=clock.now() + timedelta(hours=1))
    assert deliveries_due()
    Order.objects.filter(pk=order.pk).update(next_attempt_at=clock.now())
    assert not deliveries_due()
    raise_one(2, Level.OUTAGE)
    assert deliveries_due()
    alarm_clear("expiry:2")
    move_clock(121)
    assert alarms_deliver() == 1


def test_a_channel_that_fails_backs_off_loses_nothing_and_disturbs_no_other(
    mail: MailServer, move_clock: Callable[[float], None]
) -> None:
    mail.moods.answer = "451 4.3.0 Come back later"
    ops = mailing(mail)
    with HookServer() as hook:
        channel_create("webhook", name="Chat", values={"url": hook.url}, allow_private=True, actor="test")
        raise_one()
        assert alarms_deliver() == 1
        assert len(hook.received) == 1
    ops.refresh_from_db()
    assert (ops.failures, ops.last_answer) == (1, "451 4.3.0 Come back later")
    assert "451 4.3.0 Come back later" in ops.last_trouble
    waits = []
    ahead = 0.0
    for _ in range(6):
        assert alarms_deliver() == 0
        assert ops.next_attempt_at is not None
        waits.append(round((ops.next_attempt_at - clock.now()).total_seconds() / 60))
        ahead += (ops.next_attempt_at - clock.now()).total_seconds() + 1
        move_clock(ahead)
        alarms_deliver()
        ops.refresh_from_db()
    assert waits == [1, 5, 15, 30, 60, 60]
    raise_one(2)
    mail.moods.answer = ""
    move_clock(ahead + 3601)
    assert alarms_deliver() == 1
    assert subjects(mail) == ["Notice: n1.example: its renewal fails, and 1 more"]
    ops.refresh_from_db()
    assert (ops.failures, ops.last_trouble, ops.last_answer) == (0, "", "250 2.0.0 Ok: queued as 4F2A")


def test_retry_after_is_kept_to_but_not_for_ever(move_clock: Callable[[float], None]) -> None:
    with HookServer(status=429, headers={"Retry-After": "1200"}) as hook:
        chat = channel_create("webhook", name="Chat", values={"url": hook.url}, allow_private=True, actor="test")
        raise_one()
        alarms_deliver()
        move_clock(1100)
        alarms_deliver()
        assert len(hook.received) == 1
        hook.headers = {"Retry-After": "999999999"}
        move_clock(1205)
        alarms_deliver()
        assert len(hook.received) == 2
    chat.refresh_from_db()
    assert chat.next_attempt_at is not None
    assert chat.next_attempt_at - clock.now() <= timedelta(hours=6)


def test_a_fault_of_a_channel_is_its_own(monkeypatch: pytest.MonkeyPatch, mail: MailServer) -> None:
    def fault(self: Webhook, message: Message) -> str:
        raise RuntimeError("boom")

    monkeypatch.setattr(Webhook, "send", fault)
    chat = channel_create("webhook", name="Chat", values={"url": "https://x.example/"}, actor="test")
    mailing(mail)
    raise_one()
    assert alarms_deliver() == 1
    chat.refresh_from_db()
    assert chat.last_trouble == "An unexpected fault: RuntimeError. See the log."


def test_one_whose_secrets_cannot_be_opened_says_so_and_harms_nobody(mail: MailServer) -> None:
    broken = mailing(mail, "Broken")
    Channel.objects.filter(pk=broken.pk).update(sealed="nonsense")
    mailing(mail)
    raise_one()
    assert alarms_deliver() == 1
    broken.refresh_from_db()
    assert broken.failures == 1
    assert broken.last_trouble


def test_alarms_never_stand_in_the_way_of_the_tick(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault() -> None:
        raise RuntimeError("boom")

    fault.__name__ = "alarms_sweep"
    done: list[bool] = []
    monkeypatch.setattr(tasks, "AFTER_ORDERS", (fault, lambda: done.append(True)))
    monkeypatch.setattr(tasks, "orders_run", lambda: 3)
    assert tasks.run_orders() == 3
    assert done == [True]
    assert "alarms_sweep failed" in caplog.text


def test_switched_off_it_gets_nothing(mail: MailServer) -> None:
    ops = mailing(mail)
    raise_one()
    channel_switch(ops, on=False, actor="test")
    assert alarms_deliver() == 0
    assert mail.received == []


# Send test


def test_a_test_message_shows_the_servers_answer_and_frees_what_waits(mail: MailServer) -> None:
    ops = mailing(mail, password="wrong")
    raise_one()
    alarms_deliver()
    with pytest.raises(BinderyError, match="535"):
        channel_test(ops, actor="alice@example.com")
    ops.refresh_from_db()
    assert ops.last_answer.startswith("535")
    values = mail.options | {"password": PASSWORD}
    channel_change(ops, name="Ops", values=values, allow_private=True, actor="test")
    assert channel_test(ops, actor="alice@example.com") == "250 2.0.0 Ok: queued as 4F2A"
    assert subjects(mail) == ["Notice: This is a test"]
    assert "alice@example.com asked for it" in mail.received[0].text
    assert alarms_deliver() == 1
    results = list(AuditEvent.objects.filter(action="channel.test").order_by("pk").values_list("result", flat=True))
    assert results == ["failed", "ok"]


# Killed


def in_a_process_that_is_killed(at: str) -> None:
    """`alarms_deliver` in a child whose life ends at that function of the module."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        setattr(alarm_delivery, at, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        try:
            alarms_deliver()
        finally:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize(("at", "mails"), [("_send", 1), ("_record", 2)])
def test_killed_before_or_after_the_sending_no_alarm_is_lost(
    mail: MailServer, move_clock: Callable[[float], None], at: str, mails: int
) -> None:
    """Killed after it, the mail comes twice, with the same id: at least once is what can be had."""
    mailing(mail)
    raise_one()
    in_a_process_that_is_killed(at)
    assert len(mail.received) == mails - 1
    assert alarms_deliver() == 0  # it may still be under way elsewhere
    move_clock(3 * 60 + 1)
    assert alarms_deliver() == 1
    assert len({got.mail["Message-ID"] for got in mail.received}) == 1
    assert len(mail.received) == mails


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_two_processes_one_sends(mail: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have read the same before either took the turn."""
    mailing(mail)
    alarm_note(Trouble("account:1", Level.NOTICE, "ca: it had lost our account", "x"))
    first, second = (list(alarm_delivery._waiting()) for _ in range(2))
    assert alarm_delivery._pack(*first[0]) is not None
    assert alarm_delivery._pack(*second[0]) is None
