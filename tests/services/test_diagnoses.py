"""The frame: side by side, each with its own end, and no check that fails takes another with it."""

import threading
import time
from collections.abc import Iterator

import pytest
from django.db import DatabaseError

from certs.domain.diagnosis import Line, Look, Situation, State, fine, look
from certs.domain.errors import Unavailable
from certs.services import diagnoses

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@look("files", database=False)
def well(situation: Situation) -> Iterator[Line]:
    """Whether all is well."""
    yield fine("well", "All is well.")


@look("files", seconds=0.2, database=False)
def endless(situation: Situation) -> Iterator[Line]:
    """Whether it ends."""
    threading.Event().wait(30)
    yield fine("endless", "It has ended.")


def raising(error: Exception) -> Look:
    @look("files")
    def broken(situation: Situation) -> Iterator[Line]:
        """Whether it breaks."""
        yield fine("broken", "Not yet.")
        raise error

    return broken


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> object:
    def diagnosis(*looks: Look) -> list[Line]:
        monkeypatch.setattr(diagnoses, "declared", lambda *_: looks)
        return diagnoses.diagnosis_run()

    return diagnosis


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Unavailable("Nobody is there."), "Whether it breaks: Nobody is there."),
        (OSError(28, "No space left on device", "/x"), "Whether it breaks: No space left on device (/x)."),
        (DatabaseError("no such column: a"), "Whether it breaks: the database refuses (no such column: a)."),
        (ZeroDivisionError("by zero"), "Whether it breaks: the check itself failed (ZeroDivisionError: by zero)."),
    ],
)
def test_a_check_that_raises_could_not_be_checked_and_takes_no_other_with_it(
    run: object, error: Exception, words: str
) -> None:
    lines = run(raising(error), well)  # type: ignore[operator]
    assert [(line.state, line.sentence) for line in lines] == [(State.UNKNOWN, words), (State.OK, "All is well.")]


def test_a_check_without_an_end_holds_nobody_up(run: object) -> None:
    began = time.monotonic()
    lines = run(endless, well)  # type: ignore[operator]
    assert time.monotonic() - began < 5
    assert [line.sentence for line in lines] == ["Whether it ends: no end within 0.2 seconds.", "All is well."]


def test_without_a_database_only_what_needs_one_is_left_open(run: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnoses, "database_problem", lambda: Unavailable("It is away."))
    lines = run(raising(ZeroDivisionError()), well)  # type: ignore[operator]
    assert [line.sentence for line in lines] == [
        "Whether it breaks: not known without the database.",
        "All is well.",
    ]


def test_every_check_is_found_and_has_a_code_of_its_own() -> None:
    found = diagnoses.looks()
    codes = [each.code for each in found]
    assert len(set(codes)) == len(codes)
    assert {"database", "key-ring"} <= set(codes)
    assert [each.code for each in diagnoses.looks({"database"})] == [
        each.code for each in found if each.topic == "database"
    ]
    assert all(each.about.startswith("Whether ") for each in found)


def test_many_checks_take_few_connections_and_all_are_made(run: object, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def made(number: int) -> Look:
        def check(situation: Situation) -> Iterator[Line]:
            """Whether there is room."""
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.05)
            with lock:
                inside -= 1
            yield fine(f"n{number}", "Yes.")

        return look("files", database=False, seconds=0.5)(check)

    looks = [made(number) for number in range(60)]
    assert len(run(*looks)) == len(looks)  # type: ignore[operator]
    assert most <= diagnoses.AT_ONCE
