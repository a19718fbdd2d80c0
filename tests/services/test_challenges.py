"""Answers to challenges: any node gives them, as often as asked, until their order ends."""

import threading
from collections.abc import Callable
from datetime import timedelta
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from django.db import connection, transaction
from pytest_django import DjangoAssertNumQueries, Settings

from certs.domain.errors import AcmeRetry, Unavailable
from certs.models import AcmeAccount, Challenge, Order
from certs.services import challenges, order_answers
from certs.services.accounts import account_get_or_create
from certs.services.certificates import certificate_new
from certs.services.challenges import (
    TLS_TURN,
    challenge_answer,
    challenge_present,
    challenge_task,
    challenges_clean,
    challenges_clear,
    challenges_store,
    site_get,
    solver_kinds,
    tls_challenge_answer,
)
from certs.services.orders import order_cancel, order_create
from certs.services.prune import prune_run
from certs.solvers.base import Evidence, Solver, Task
from portal import clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> AcmeAccount:
    return account_get_or_create(directory_url="https://ca.example/directory", email="", actor="test")


@pytest.fixture
def order(account: AcmeAccount) -> Order:
    certificate = certificate_new(name="", names=["a.example.test"], account=account, actor="test")
    return order_create(certificate, reason="asked", actor="test")


def put(order: Order, token: str = "token-1", answer: str = "token-1.thumb", **fields: Any) -> Challenge:
    row = Challenge(
        token=token,
        order=order,
        name="a.example.test",
        key_authorization=answer,
        authorization_url="https://ca/authz/1",
        challenge_url="https://ca/challenge/1",
        **fields,
    )
    challenges_store([row])
    return row


def test_an_answer_is_given_as_often_as_it_is_asked_for(order: Order) -> None:
    put(order)
    assert [challenge_answer("token-1") for _ in range(3)] == ["token-1.thumb"] * 3


@pytest.mark.parametrize("token", ["", "token-2", "token-1 ", "TOKEN-1", "%", "token-1\x01", "x" * 5000, "é"])
def test_what_is_not_ours_is_not_answered(order: Order, token: str) -> None:
    put(order)
    assert challenge_answer(token) is None


def test_the_same_challenge_may_be_presented_twice(order: Order) -> None:
    put(order)
    put(order)
    assert Challenge.objects.count() == 1


def another(account: AcmeAccount) -> Order:
    certificate = certificate_new(name="", names=["a.example.test", "b.example.test"], account=account, actor="test")
    return order_create(certificate, reason="asked", actor="test")


def test_a_token_shared_by_two_orders_is_one_after_the_other(account: AcmeAccount, order: Order) -> None:
    put(order)
    other = another(account)
    with pytest.raises(AcmeRetry, match=r"Another order is proving a\.example\.test") as waiting:
        put(other)
    assert waiting.value.code == "acme-waiting"
    assert Challenge.objects.get().order == order
    assert challenge_answer("token-1") == "token-1.thumb"
    order_cancel(order, actor="test")
    put(other)
    assert Challenge.objects.get().order == other


TLS_ROW = {"kind": "tlsalpn01", "type": "tls-alpn-01"}


def test_of_two_tls_challenges_for_a_name_the_second_waits_for_the_first(account: AcmeAccount, order: Order) -> None:
    """A handshake carries one answer: that of the other order would fail it."""
    put(order, "one", "one.thumb", **TLS_ROW)
    other = another(account)
    for _ in range(2):
        with pytest.raises(AcmeRetry, match=r"Another order is proving a\.example\.test") as waiting:
            put(other, "two", "two.thumb", **TLS_ROW)
        assert waiting.value.code == "acme-waiting"
        assert tls_challenge_answer("a.example.test") == "one.thumb"
    put(order, "one", "one.thumb", **TLS_ROW)  # stored again, as after a kill
    put(other, "three", "three.thumb")  # by HTTP there is room for both
    challenges_clear(order.pk)
    put(other, "two", "two.thumb", **TLS_ROW)
    assert tls_challenge_answer("a.example.test") == "two.thumb"


def test_an_order_that_came_to_a_halt_does_not_keep_the_name(
    account: AcmeAccount, order: Order, move_clock: Any
) -> None:
    put(order, "one", "one.thumb", **TLS_ROW)
    move_clock(TLS_TURN.total_seconds() + 1)
    put(another(account), "two", "two.thumb", **TLS_ROW)
    assert tls_challenge_answer("a.example.test") == "two.thumb"


def test_one_that_was_quicker_by_a_moment_is_waited_for(
    account: AcmeAccount, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certs.services.challenges._await_turn", lambda _: None)
    put(order, "one", "one.thumb", **TLS_ROW)
    with pytest.raises(AcmeRetry, match="Another order is proving"), transaction.atomic():
        put(another(account), "two", "two.thumb", **TLS_ROW)


def test_answers_go_with_their_order(order: Order) -> None:
    put(order)
    order_cancel(order, actor="test")
    assert challenge_answer("token-1") is None


def test_cleaning_up_twice_is_no_error(order: Order) -> None:
    put(order)
    for _ in range(2):
        challenges_clear(order.pk)
        challenges_clean(order.pk)
    assert not Challenge.objects.exists()


class Remembering(Solver):
    """A solver that has something to take away; `trouble` is raised by its next cleanings."""

    label = "Remembering"
    challenge_types = ("dns-01",)
    cleaned: ClassVar[list[tuple[str, Any]]] = []
    trouble: ClassVar[list[Exception]] = []

    stands: ClassVar[set[str]] = set()  # what is in place
    meanwhile: ClassVar[dict[str, Callable[[], None]]] = {}  # what others do during "present" or "clean"

    def present(self, task: Task) -> dict[str, Any]:
        self.meanwhile.pop("present", lambda: None)()
        self.stands.add(task.key_authorization)
        return {"id": 7}

    def clean(self, task: Task, data: Any) -> None:
        if self.trouble:
            raise self.trouble.pop()
        self.stands.discard(task.key_authorization)
        self.meanwhile.pop("clean", lambda: None)()
        self.cleaned.append((task.name, dict(data)))

    def look(self, task: Task) -> Evidence:
        return Evidence("", "", "")


@pytest.fixture
def remembering(monkeypatch: pytest.MonkeyPatch) -> type[Remembering]:
    found = {**solver_kinds(), "remembering": Remembering, "other": Remembering}
    monkeypatch.setattr("certs.services.challenges.solver_kinds", lambda: found)
    Remembering.cleaned, Remembering.trouble = [], []
    Remembering.stands, Remembering.meanwhile = set(), {}
    return Remembering


def present(order: Order) -> None:
    row = put(order, kind="remembering", type="dns-01")
    challenge_present(row, Remembering(), challenge_task(row))


def test_what_a_crash_left_in_place_is_swept(order: Order, remembering: type[Remembering]) -> None:
    present(order)
    assert challenges_clean() == 0  # still needed
    challenges_clear(order.pk)
    assert Challenge.objects.count() == 1  # not forgotten before it is taken away
    assert challenges_clean() == 1
    assert remembering.cleaned == [("a.example.test", {"id": 7})]
    assert not Challenge.objects.exists()


def test_what_was_killed_before_it_could_remember_is_cleaned_without_it(
    order: Order, remembering: type[Remembering]
) -> None:
    put(order, kind="remembering", type="dns-01")
    challenges_clear(order.pk)
    challenges_clean()
    assert remembering.cleaned == [("a.example.test", {})]


@pytest.mark.parametrize("trouble", [Unavailable("The DNS server does not answer."), KeyError("secret-token")])
def test_what_cannot_be_taken_away_is_tried_again_later(
    order: Order, remembering: type[Remembering], monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    present(order)
    challenges_clear(order.pk)
    remembering.trouble = [trouble]
    assert challenges_clean() == 0
    row = Challenge.objects.get()
    assert row.trouble
    assert "secret-token" not in row.trouble
    assert row.clean_at is not None
    assert row.clean_at > clock.now()
    assert challenges_clean() == 0  # not before its time
    later = row.clean_at + timedelta(seconds=1)
    monkeypatch.setattr("certs.services.challenges.clock.now", lambda: later)
    assert challenges_clean() == 1
    assert len(remembering.cleaned) == 1


def test_an_order_is_kept_while_something_of_it_is_left(order: Order, remembering: type[Remembering]) -> None:
    present(order)
    order_cancel(order, actor="test")
    Order.objects.update(finished_at=clock.now() - timedelta(days=1000))
    prune_run()
    assert Order.objects.count() == 1
    challenges_clean()
    prune_run()
    assert not Order.objects.exists()


# Two at once. `stands` is what the CA sees.


def test_nothing_is_put_there_for_an_order_that_ended(order: Order, remembering: type[Remembering]) -> None:
    row = put(order, kind="remembering", type="dns-01")
    order_cancel(order, actor="test")
    challenge_present(row, Remembering(), challenge_task(row))
    assert not remembering.stands
    challenges_clean()
    challenge_present(row, Remembering(), challenge_task(row))
    assert not remembering.stands


def test_an_order_cancelled_while_its_answer_is_put_there(order: Order, remembering: type[Remembering]) -> None:
    remembering.meanwhile["present"] = lambda: order_cancel(order, actor="test")
    present(order)
    assert remembering.stands
    assert challenges_clean() == 1
    assert remembering.cleaned == [("a.example.test", {"id": 7})]
    assert not remembering.stands


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_what_is_just_being_put_there_is_taken_away_after_that(order: Order, remembering: type[Remembering]) -> None:
    """A worker whose provider is slow, a person who cancels, and the sweeper."""
    swept: list[int] = []

    def sweep() -> None:
        swept.append(challenges_clean())
        connection.close()

    sweeper = threading.Thread(target=sweep)

    def cancel() -> None:
        order_cancel(order, actor="test")
        sweeper.start()
        sweeper.join(0.5)
        assert sweeper.is_alive()

    remembering.meanwhile["present"] = cancel
    present(order)
    sweeper.join(10)
    assert swept == [1]
    assert not remembering.stands
    assert not Challenge.objects.exists()


def test_what_is_just_being_taken_away_is_put_there_anew_for_the_next(
    account: AcmeAccount, order: Order, remembering: type[Remembering]
) -> None:
    present(order)
    order_cancel(order, actor="test")
    other = another(account)
    remembering.meanwhile["clean"] = lambda: put(other, kind="remembering", type="dns-01") and None
    assert challenges_clean() == 0
    row = Challenge.objects.get()
    assert (row.order, row.clean_at, row.presented_at) == (other, None, None)
    challenge_present(row, Remembering(), challenge_task(row))
    assert remembering.stands
    assert challenges_clean() == 0
    order_cancel(other, actor="test")
    assert challenges_clean() == 1
    assert not remembering.stands


def test_a_worker_in_the_place_of_a_killed_one_puts_nothing_there_twice(
    order: Order, remembering: type[Remembering]
) -> None:
    present(order)
    remembering.stands.clear()
    present(order)
    assert not remembering.stands
    assert Challenge.objects.get().data == {"id": 7}


@pytest.mark.parametrize("kind", ["http01", "other"])
def test_a_challenge_met_again_and_answered_in_another_way(
    account: AcmeAccount, order: Order, remembering: type[Remembering], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """What the first way left there is not forgotten, nor taken away from under the second, which may be the same."""
    present(order)
    order_cancel(order, actor="test")
    other = another(account)
    put(other, kind=kind, type="http-01" if kind == "http01" else "dns-01")
    row = Challenge.objects.get(order=other)
    challenge_present(row, solver_kinds()[kind]() if kind == "http01" else Remembering(), challenge_task(row))
    challenges_clean()
    assert remembering.stands
    assert Challenge.objects.count() == 2
    assert challenge_answer("token-1") == ("token-1.thumb" if kind == "http01" else None)
    order_cancel(other, actor="test")
    later = clock.now() + timedelta(hours=1)
    monkeypatch.setattr("certs.services.challenges.clock.now", lambda: later)
    challenges_clean()
    assert not remembering.stands
    assert not Challenge.objects.exists()
    assert remembering.cleaned[0] == ("a.example.test", {"id": 7})


def test_what_somebody_else_has_overwritten_is_put_there_again(
    order: Order, remembering: type[Remembering], monkeypatch: pytest.MonkeyPatch
) -> None:
    puts: list[str] = []
    monkeypatch.setattr(remembering, "present", lambda self, task: puts.append(task.name) or {"id": len(puts)})
    row = put(order, kind="remembering", type="dns-01")
    for minutes in (0, 5, 16, 17, 40):
        later = clock.now() + timedelta(minutes=minutes)
        with monkeypatch.context() as patch:
            patch.setattr("certs.services.challenges.clock.now", lambda later=later: later)
            challenge_present(row, Remembering(), challenge_task(row))
    assert len(puts) == 3
    assert Challenge.objects.get().data == {"id": 3}


def _slow(monkeypatch: pytest.MonkeyPatch, module: ModuleType, seconds: float) -> Callable[[], None]:
    """Call it: for `module` it has taken longer than that. A real clock would also count what the machine does."""
    taken = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: sum(taken)))
    return lambda: taken.append(seconds + 1)


def test_a_provider_that_stalls_keeps_the_rest_of_the_tick_waiting_no_longer(
    order: Order, remembering: type[Remembering], monkeypatch: pytest.MonkeyPatch
) -> None:
    """People are told of alarms after it, in the same task."""
    for number in range(3):
        put(order, f"token-{number}", f"token-{number}.thumb", kind="remembering", type="dns-01")
    challenges_clear(order.pk)
    remembering.meanwhile["clean"] = _slow(monkeypatch, challenges, challenges.CLEAN_SECONDS)
    assert challenges_clean() == 1
    assert Challenge.objects.filter(clean_tries=0).count() == 2  # their turn is not lost
    assert challenges_clean() == 2


def test_many_names_at_a_slow_provider_take_several_turns(
    order: Order, remembering: type[Remembering], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue would end a process that is at it for too long, and all its orders with it."""
    rows = [put(order, f"token-{n}", f"token-{n}.thumb", kind="remembering", type="dns-01") for n in range(3)]
    remembering.meanwhile["present"] = _slow(monkeypatch, order_answers, order_answers.PRESENT_SECONDS)
    with pytest.raises(AcmeRetry) as caught:
        order_answers._present(rows, Remembering())
    assert caught.value.code == "acme-waiting"
    assert len(remembering.stands) == 1
    order_answers._present(list(Challenge.objects.all()), Remembering())
    assert len(remembering.stands) == 3


@pytest.mark.django_db
def test_what_only_a_look_needs_is_not_asked_for_each_order(
    settings: Settings, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        site = site_get()
    settings.ALLOW_PRIVATE_CA = False
    with django_assert_num_queries(1):
        assert not site.allow_private()
