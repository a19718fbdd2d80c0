"""What is kept for CAs: only the work of signing, within bounds, and never whether there is an answer."""

import pytest
from django.db import OperationalError

from certs.models import Challenge
from portal.server import challenging
from portal.server.challenging import ChallengeAnswers
from tests.harness.portal_data import challenge

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's transaction lives on this thread's connection."""
    monkeypatch.setattr(challenging, "close_old_connections", lambda: None)


def test_a_context_is_made_once_for_an_answer() -> None:
    challenge("a.test", "one.thumb")
    answers = ChallengeAnswers()
    first = answers.context("a.test")
    assert first is not None
    assert answers.context("A.test.") is first
    challenge("a.test", "two.thumb")
    assert answers.context("a.test") not in {first, None}


def test_a_kept_context_is_no_answer() -> None:
    challenge("a.test", "one.thumb")
    answers = ChallengeAnswers()
    assert answers.context("a.test")
    Challenge.objects.all().delete()
    assert answers.context("a.test") is None


def test_the_least_used_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(challenging, "KEPT", 2)
    for name in ("a.test", "b.test", "c.test"):
        challenge(name, f"{name}.thumb")
    answers = ChallengeAnswers()
    first = answers.context("a.test")
    answers.context("b.test")
    assert answers.context("a.test") is first
    answers.context("c.test")
    assert answers.context("a.test") is first
    assert [name for name, _ in answers._contexts] == ["c.test", "a.test"]


def test_only_tls_challenges_that_wait_are_answered() -> None:
    challenge("a.test", "one.thumb")
    Challenge.objects.update(type="http-01")
    assert ChallengeAnswers().context("a.test") is None


def test_a_database_that_is_away_is_no_fault_of_the_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_name: str) -> str:
        raise OperationalError("no such host")

    monkeypatch.setattr(challenging, "tls_challenge_answer", away)
    monkeypatch.setattr(challenging.connection, "close", lambda: None)
    assert ChallengeAnswers().context("a.test") is None


@pytest.mark.parametrize("name", ["", "a\0.test", "a\n.test"])
def test_what_is_no_name_is_not_asked_of_the_database(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL refuses a NUL: anybody could fill the log with it, and cost us a connection each time."""
    asked: list[str] = []
    monkeypatch.setattr(challenging, "tls_challenge_answer", asked.append)
    assert ChallengeAnswers().context(name) is None
    assert not asked
