"""Answers to challenges: any node gives them, as often as asked, until their order ends."""

from datetime import timedelta
from typing import Any, ClassVar

import pytest

from certs.domain.errors import Unavailable
from certs.models import AcmeAccount, Challenge, Order
from certs.services.accounts import account_get_or_create
from certs.services.certificates import certificate_new
from certs.services.challenges import (
    challenge_answer,
    challenge_present,
    challenge_task,
    challenges_clean,
    challenges_clear,
    challenges_store,
    solver_kinds,
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


def test_a_token_shared_by_two_orders_is_answered_for_both(account: AcmeAccount, order: Order) -> None:
    put(order)
    other = certificate_new(name="", names=["a.example.test", "b.example.test"], account=account, actor="test")
    put(order_create(other, reason="asked", actor="test"))
    assert challenge_answer("token-1") == "token-1.thumb"


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

    def present(self, task: Task) -> dict[str, Any]:
        return {"id": 7}

    def clean(self, task: Task, data: Any) -> None:
        if self.trouble:
            raise self.trouble.pop()
        self.cleaned.append((task.name, dict(data)))

    def look(self, task: Task) -> Evidence:
        return Evidence("", "", "")


@pytest.fixture
def remembering(monkeypatch: pytest.MonkeyPatch) -> type[Remembering]:
    found = {**solver_kinds(), "remembering": Remembering}
    monkeypatch.setattr("certs.services.challenges.solver_kinds", lambda: found)
    Remembering.cleaned, Remembering.trouble = [], []
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
