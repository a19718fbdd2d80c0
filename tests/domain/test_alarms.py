"""When to tell and how urgently, and what people read."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.domain.alarms import (
    SHOWN_IN_FULL,
    SUBJECT_LONGEST,
    Item,
    Level,
    message_make,
    reminder_level,
    renewal_level,
    sentence,
    span_shown,
    subject_make,
    subject_well,
)

NOW = datetime(2026, 11, 21, 13, 0, tzinfo=UTC)
PORTAL = "https://portal.example.com"


def renewal(life: float, left: float, *, failing: bool = True, days: int = 21) -> Level | None:
    """Days of life, and of what is left of it."""
    end = NOW + timedelta(days=left)
    return renewal_level(
        now=NOW, not_before=end - timedelta(days=life), not_after=end, renew_before_days=days, failing=failing
    )


@pytest.mark.parametrize(
    ("life", "left", "level"),
    [
        (90, 20, Level.NOTICE),
        (90, 15.1, Level.NOTICE),
        (90, 15, Level.WARNING),
        (90, 7.5, Level.URGENT),
        (90, 0, Level.OUTAGE),
        (90, -3, Level.OUTAGE),
        (45, 7.4, Level.WARNING),
        (45, 3.7, Level.URGENT),
        (160 / 24, 3.3, Level.NOTICE),
        (160 / 24, 1.1, Level.WARNING),
        (160 / 24, 0.5, Level.URGENT),
        (1, 0.4, Level.NOTICE),
        (1, 0.16, Level.WARNING),
    ],
)
def test_a_failing_renewal_climbs_with_the_part_of_the_life_that_is_left(
    life: float, left: float, level: Level
) -> None:
    assert renewal(life, left) == level


@pytest.mark.parametrize(
    ("life", "left", "days", "level"),
    [
        (90, 60, 21, None),
        (90, 20, 21, None),  # due, and about to be renewed
        (90, 15.8, 21, None),
        (90, 14.9, 21, Level.WARNING),
        (90, 7, 21, Level.URGENT),
        (90, 6, 5, None),  # the operator wants it so late
        (90, 3.7, 5, Level.URGENT),
        (160 / 24, 3.3, 21, None),
        (160 / 24, 1.1, 21, Level.WARNING),
        (90, -1, 21, Level.OUTAGE),
    ],
)
def test_one_that_is_overdue_counts_as_failing_whatever_the_reason(
    life: float, left: float, days: int, level: Level | None
) -> None:
    assert renewal(life, left, failing=False, days=days) == level


def test_one_never_issued_is_told_once_where_it_fails() -> None:
    for failing, level in ((True, Level.NOTICE), (False, None)):
        found = renewal_level(now=NOW, not_before=None, not_after=None, renew_before_days=21, failing=failing)
        assert found == level


@given(life=st.floats(0.05, 825), days=st.integers(1, 180), failing=st.booleans())
def test_the_level_never_falls_while_time_passes(life: float, days: int, failing: bool) -> None:
    levels = [renewal(life, life * part / 200, failing=failing, days=days) or 0 for part in range(200, -10, -1)]
    assert levels == sorted(levels)
    assert levels[-1] == Level.OUTAGE
    # Nothing is told of a certificate that is not to be renewed yet.
    assert failing or levels[0] == 0


@pytest.mark.parametrize(
    ("life", "left", "level"),
    [
        (365, 22, None),
        (365, 21, Level.NOTICE),
        (365, 14, Level.REMINDER),
        (365, 7, Level.WARNING),
        (365, 3, Level.PRESSING),
        (365, 1, Level.URGENT),
        (365, 0, Level.OUTAGE),
        (30, 20, None),  # more than half of it is left
        (30, 15, Level.NOTICE),
        (6, 5.9, None),
        (6, 3, Level.PRESSING),
    ],
)
def test_what_nobody_renews_is_told_of_at_21_14_7_3_and_1_days(life: float, left: float, level: Level | None) -> None:
    end = NOW + timedelta(days=left)
    assert reminder_level(now=NOW, not_before=end - timedelta(days=life), not_after=end) == level


def item(number: int = 1, level: Level = Level.WARNING, **more: object) -> Item:
    given = {
        "id": str(number),
        "level": level,
        "subject": f"n{number}.example: its renewal fails",
        "happened": "The CA cannot be reached.",
        "raised_at": NOW + timedelta(seconds=number),
        "tried": "ca.example by HTTP.",
        "next_try_at": NOW + timedelta(hours=1),
        "advice": "Wait.",
        "url": f"{PORTAL}/activity/{number}/",
    }
    return Item(**{**given, **more})  # type: ignore[arg-type]


def message(*items: Item) -> tuple[str, str]:
    made = message_make(items, portal=PORTAL, url=f"{PORTAL}/activity/alarms/", at=NOW)
    return made.subject, made.text


def test_one_alarm_says_all_five_things() -> None:
    subject, text = message(item())
    assert subject == "[Bindery portal.example.com] Warning: n1.example: its renewal fails"
    for line in (
        "WARNING: n1.example: its renewal fails",
        "What happened: The CA cannot be reached.",
        "What was tried: ca.example by HTTP.",
        "Next try: 21 November 2026, 14:00 UTC",
        "What to do: Wait.",
        f"{PORTAL}/activity/1/",
        f"All alarms: {PORTAL}/activity/alarms/",
    ):
        assert line in text.splitlines()


def test_what_is_tried_no_more_says_so() -> None:
    assert "Next try: none by itself" in message(item(next_try_at=None))[1]
    assert "Next try" not in message(item(level=Level.WELL))[1]


def test_a_hundred_are_one_message_with_the_most_urgent_first() -> None:
    subject, text = message(*(item(n) for n in range(98)), item(98, Level.OUTAGE), item(99, Level.WELL))
    assert subject == "[Bindery portal.example.com] Outage: n98.example: its renewal fails, and 98 more; 1 over"
    assert text.startswith("OUTAGE: n98.example")
    assert text.count("What happened:") == SHOWN_IN_FULL
    assert "And 80 more (warning: 79, well again: 1)." in text


def test_good_news_has_a_subject_of_its_own() -> None:
    well = subject_well(subject_make("a.example", "its renewal fails"))
    assert well == "a.example: well again"
    assert message(item(level=Level.WELL, subject=well))[0].endswith("] a.example: well again")
    assert message(*(item(n, Level.WELL) for n in (1, 2)))[0].endswith("] 2 alarms are over")


def test_the_id_is_that_of_the_alarms_whatever_their_order() -> None:
    one, two = (
        message_make(items, portal=PORTAL, url="", at=NOW).id for items in ((item(1), item(2)), (item(2), item(1)))
    )
    assert one == two != message_make([item(1)], portal=PORTAL, url="", at=NOW).id


def test_a_subject_is_one_line_of_bounded_length() -> None:
    subject, _ = message(item(subject="x\r\ny: " + "z" * 400))
    assert "\n" not in subject
    assert "\r" not in subject
    assert len(subject) == SUBJECT_LONGEST


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(days=14, hours=23), "14 days"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(minutes=119), "119 minutes"),
        (timedelta(seconds=70), "a minute"),
    ],
)
def test_spans_are_rounded_down(span: timedelta, words: str) -> None:
    assert span_shown(span) == words


def test_sentences_end() -> None:
    assert [sentence(text) for text in ("a", "a.", "a?", "", " a ")] == ["a.", "a.", "a?", "", "a."]
