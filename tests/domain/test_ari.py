"""What is kept of the CA's suggestion: read leniently, chosen once per window."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certs.domain.ari import Suggestion, moment_read, url_read

START = datetime(2026, 12, 1, tzinfo=UTC)
END = START + timedelta(days=2)
WHY = "https://ca.example/why"


def given(start: datetime = START, end: datetime = END) -> Suggestion:
    return Suggestion(start, end, None, start, WHY)


def test_it_is_kept_as_json_and_read_back() -> None:
    full = Suggestion(START, END, START, END, WHY, "no answer")
    assert Suggestion.from_json(full.as_json()) == full
    assert Suggestion().as_json() == {}
    assert Suggestion.from_json({}) == Suggestion()


@pytest.mark.parametrize(
    "stored", [None, [], "x", {"start": 7, "selected": [], "retry_at": "soon", "explanation": {}, "end": None}]
)
def test_what_makes_no_sense_is_as_if_it_were_not_there(stored: Any) -> None:
    assert Suggestion.from_json(stored) == Suggestion()


def test_the_time_is_chosen_again_only_when_the_window_has_changed() -> None:
    first = Suggestion().answered(given(), lambda: 0.25)
    assert first.selected == START + timedelta(hours=12)
    again = first.answered(replace(given(), retry_at=END, explanation=""), lambda: 0.75)
    assert (again.selected, again.retry_at, again.explanation) == (first.selected, END, "")
    moved = again.answered(given(end=END + timedelta(days=2)), lambda: 0.75)
    assert moved.selected == START + timedelta(days=3)


def test_a_failure_keeps_what_was_known_unless_the_ca_knows_nothing() -> None:
    known = Suggestion().answered(given(), lambda: 0.5)
    lost = known.failed("it is down", END, unknown=False)
    assert (lost.selected, lost.trouble, lost.retry_at) == (known.selected, "it is down", END)
    assert lost.answered(given(), lambda: 0.9) == known
    assert known.failed("gone", END, unknown=True) == Suggestion(retry_at=END, trouble="gone")


def test_an_answer_is_old_when_its_time_has_come_or_there_is_none() -> None:
    assert Suggestion().is_old(START)
    assert Suggestion(retry_at=START).is_old(START)
    assert not Suggestion(retry_at=END).is_old(START)


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "x", "", None, 5, {}])
def test_moments_out_of_range_are_none(text: object) -> None:
    assert moment_read(text) is None


@pytest.mark.parametrize(
    "text",
    ["javascript:alert(1)", "//x", "https://", "https://a b", "https://a/\n", "https://[x", "x" * 501, None, 7, {}],
)
def test_only_web_addresses_are_shown_as_links(text: object) -> None:
    assert url_read(text) == ""
    assert url_read(WHY) == WHY
