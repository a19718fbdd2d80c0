"""Answers to challenges: any node gives them, as often as asked, until their order ends."""

import pytest

from certs.models import AcmeAccount, Challenge, Order
from certs.services.accounts import account_get_or_create
from certs.services.certificates import certificate_new
from certs.services.challenges import ChallengeRows, challenge_answer, challenges_clear, solver_get
from certs.services.orders import order_cancel, order_create
from certs.solvers.base import Task

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> AcmeAccount:
    return account_get_or_create(directory_url="https://ca.example/directory", email="", actor="test")


@pytest.fixture
def order(account: AcmeAccount) -> Order:
    certificate = certificate_new(name="", names=["a.example.test"], account=account, actor="test")
    return order_create(certificate, reason="asked", actor="test")


def put(order: Order, token: str = "token-1", answer: str = "token-1.thumb") -> Task:
    rows = ChallengeRows(order)
    rows.expect(token, authorization_url="https://ca/authz/1", challenge_url="https://ca/challenge/1")
    task = Task("a.example.test", token, answer)
    solver_get("http01").present(task, rows)
    rows.save()
    return task


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
    task = put(order)
    for _ in range(2):
        solver_get("http01").clean(task, ChallengeRows(order))
        challenges_clear(order.pk)
    assert not Challenge.objects.exists()
