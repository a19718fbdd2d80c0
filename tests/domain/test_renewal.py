"""The 21-day rule and its cadence, with an injected clock and dice."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.domain.renewal import (
    Code,
    RenewalInput,
    ari_select,
    backoff,
    decide,
    due_at,
    next_check,
    order_life,
    renew_before,
)
from tests.harness.rounds import property_hold, rounds

START = datetime(2026, 11, 21, 9, 17, tzinfo=UTC)
TICK = timedelta(minutes=5)
HOURS = timedelta(hours=1)
DAYS = timedelta(days=1)
# Lifetime, and how long before its end it is renewed: the table of the issue.
TABLE = [
    (12 * HOURS, 6 * HOURS),
    (24 * HOURS, 12 * HOURS),
    (160 * HOURS, 80 * HOURS),
    (45 * DAYS, 21 * DAYS),
    (47 * DAYS, 21 * DAYS),
    (64 * DAYS, 21 * DAYS),
    (90 * DAYS, 21 * DAYS),
    (398 * DAYS, 21 * DAYS),
]
LIVES = [life for life, _ in TABLE]


def issued(life: timedelta = 90 * DAYS, *, at: datetime = START, now: datetime | None = None) -> RenewalInput:
    return RenewalInput(now=now or at, not_before=at, not_after=at + life)


def half() -> float:
    return 0.5


@pytest.mark.parametrize(("life", "before"), TABLE)
def test_due_exactly_at_renew_before(life: timedelta, before: timedelta) -> None:
    assert renew_before(life) == before
    moment = START + life - before
    assert decide(issued(life, now=moment), half).code == Code.DUE_DATE
    assert decide(issued(life, now=moment), half).due
    early = decide(issued(life, now=moment - timedelta(microseconds=1)), half)
    assert (early.code, early.due) == (Code.NOT_DUE, False)


def _a_life_of_ticks_never_expires_and_never_renews_twice_within_a_quarter(
    life: timedelta, seed: int, offset: timedelta, backdated: bool
) -> None:
    dice = Random(seed)
    now = START + offset
    skew = life / 24 if backdated else timedelta(0)
    cert = issued(life, at=now - skew, now=now)
    renewals: list[datetime] = []
    while len(renewals) < 4:
        decision = decide(cert, dice.random)
        assert decision.next_check_at > now
        assert decision.code != Code.EXPIRED
        if decision.due:
            due = due_at(cert)
            # Looked at just after it became due: a tick, a tenth of the cadence and the way round the peaks.
            assert due is not None
            assert timedelta(0) <= now - due <= min(DAYS, life / 40) / 5 + TICK + timedelta(minutes=40)
            renewals.append(now)
            cert = replace(
                cert, not_before=now - skew, not_after=now - skew + life, last_success=now, next_attempt_at=None
            )
        wait = decide(replace(cert, now=now), dice.random).next_check_at - now
        now += TICK * -(-wait // TICK)
        cert = replace(cert, now=now)
        assert cert.not_after is not None
        assert now < cert.not_after
    gaps = [later - earlier for earlier, later in pairwise(renewals)]
    assert all(gap >= life / 4 for gap in gaps)


@rounds("examples", 60, 3000)
def test_a_life_of_ticks_never_expires_and_never_renews_twice_within_a_quarter(examples: int) -> None:
    property_hold(
        _a_life_of_ticks_never_expires_and_never_renews_twice_within_a_quarter,
        examples,
        life=st.sampled_from(LIVES),
        seed=st.integers(0, 2**32),
        offset=st.timedeltas(timedelta(0), timedelta(days=1)),
        backdated=st.booleans(),
    )


def _a_ca_that_was_down_is_tried_within_limits_and_in_time(life: timedelta, seed: int, down: float) -> None:
    """The CA fails from the due moment for a part of the time that is left; afterwards it must still be in time."""
    dice = Random(seed)
    cert = issued(life)
    due = due_at(cert)
    assert due is not None
    assert cert.not_after is not None
    until = due + (cert.not_after - due) * down
    now, failures, tries = due, 0, list[datetime]()
    while True:
        cert = replace(cert, now=now, tries=tuple(moment for moment in tries if moment > now - HOURS))
        decision = decide(cert, dice.random)
        if decision.due:
            tries.append(now)
            if now >= until:
                break
            failures += 1
            cert = replace(cert, next_attempt_at=now + backoff(failures, cert.not_after - now))
        now += TICK
        assert now < cert.not_after, "expired while the CA was up again"
    assert all(len([other for other in tries if moment <= other < moment + HOURS]) <= 4 for moment in tries), (
        "more than 4 tries within an hour"
    )


@rounds("examples", 60, 1000)
def test_a_ca_that_was_down_is_tried_within_limits_and_in_time(examples: int) -> None:
    property_hold(
        _a_ca_that_was_down_is_tried_within_limits_and_in_time,
        examples,
        life=st.sampled_from(LIVES),
        seed=st.integers(0, 2**32),
        down=st.floats(0, 0.95),
    )


def _a_window_of_the_ca_that_is_always_past_cannot_make_a_loop(life: timedelta, seed: int) -> None:
    dice = Random(seed)
    now = START
    cert = replace(issued(life), last_success=START, ari_selected=START - DAYS)
    renewals = [START]
    for _ in range(400):
        now += life / 400
        cert = replace(cert, now=now)
        if decide(cert, dice.random).due:
            renewals.append(now)
            cert = replace(issued(life, at=now), last_success=now, last_replaced=now, ari_selected=now - DAYS)
    least = min(life / 4, 36 * HOURS)
    assert all(later - earlier >= least for earlier, later in pairwise(renewals[1:]))
    assert len(renewals) > 1


@rounds("examples", 30, 1500)
def test_a_window_of_the_ca_that_is_always_past_cannot_make_a_loop(examples: int) -> None:
    property_hold(
        _a_window_of_the_ca_that_is_always_past_cannot_make_a_loop,
        examples,
        life=st.sampled_from(LIVES),
        seed=st.integers(0, 2**32),
    )


@given(
    life=st.sampled_from(LIVES),
    now=st.timedeltas(timedelta(0), timedelta(days=800)).map(lambda later: START + later),
    age=st.floats(0, 1.2),
    seed=st.integers(0, 2**32),
    retry=st.none() | st.timedeltas(timedelta(seconds=-1), timedelta(days=9)),
)
def test_the_next_look_is_soon_enough_and_never_at_a_peak(
    life: timedelta, now: datetime, age: float, seed: int, retry: timedelta | None
) -> None:
    cert = replace(issued(life, at=now - life * age, now=now), ari_retry_at=now + retry if retry else None)
    moment = next_check(cert, Random(seed).random)
    cadence = min(DAYS, life / 40)
    assert now < moment <= now + cadence * 1.1 + timedelta(minutes=70)
    assert moment.minute != 0
    assert not (moment.hour == 0 and moment.minute < 10)
    assert not (moment.hour == 23 and moment.minute >= 55)


def test_the_next_look_follows_the_ca_within_an_hour_and_a_day() -> None:
    cert = issued(90 * DAYS)
    for retry, expected in ((timedelta(minutes=1), HOURS), (6 * HOURS, 6 * HOURS), (9 * DAYS, DAYS)):
        assert next_check(replace(cert, ari_retry_at=START + retry), half) == START + expected


def test_the_person_s_settings_are_upper_bounds() -> None:
    assert renew_before(90 * DAYS, 30) == 30 * DAYS
    assert renew_before(47 * DAYS, 30) == 23.5 * DAYS
    assert next_check(replace(issued(398 * DAYS), check_hours=2), half) == START + 2 * HOURS
    assert next_check(replace(issued(12 * HOURS), check_hours=2), half) == START + timedelta(minutes=18)


OLD = START + 80 * DAYS  # ten days left of ninety


@pytest.mark.parametrize(
    ("changes", "code", "due"),
    [
        ({"now": START + 91 * DAYS}, Code.EXPIRED, True),
        ({"now": START + 91 * DAYS, "renewable": False, "can_ask": False}, Code.EXPIRED, False),
        ({"key_here": False}, Code.KEY_MISSING, True),
        ({"key_here": False, "renewable": False, "can_ask": False}, Code.KEY_MISSING, False),
        ({"revoked": True}, Code.REVOKED, True),
        ({"now": OLD}, Code.DUE_DATE, True),
        ({"now": OLD, "renewable": False}, Code.MANUAL, False),
        ({"now": OLD, "renewable": False, "asked": True}, Code.DUE_DATE, True),
        ({"now": OLD, "renewable": False, "can_ask": False, "asked": True, "forced": True}, Code.MANUAL, False),
        ({"now": START + 60 * DAYS, "ari_selected": START + 60 * DAYS}, Code.DUE_ARI, True),
        ({"now": START + 60 * DAYS, "ari_selected": START + 60 * DAYS, "last_success": START}, Code.DUE_ARI, True),
        ({"ari_selected": START + HOURS}, Code.NOT_DUE, False),
        ({"asked": True}, Code.ASKED, True),
        ({"asked": True, "renewable": False, "can_ask": False}, Code.MANUAL, False),
        ({"asked": True, "order_open": True}, Code.BUSY, False),
        ({"order_open": True}, Code.NOT_DUE, False),
        ({"not_after": None, "not_before": None}, Code.NOT_ISSUED, False),
        ({"not_after": None, "not_before": None, "asked": True}, Code.ASKED, True),
        ({"not_after": None, "not_before": None, "key_here": False, "asked": True}, Code.ASKED, True),
        ({"asked": True, "last_success": START - DAYS}, Code.HELD_BACK, False),
        ({"asked": True, "forced": True, "last_success": START - DAYS}, Code.ASKED, True),
        ({"forced": True}, Code.NOT_DUE, False),
        # Mass revocation: the CA moves its window to the day after issue, and revokes. Nothing waits for a quarter.
        ({"ari_selected": START - HOURS, "last_success": START}, Code.RECALLED, True),
        ({"ari_selected": START + HOURS, "last_success": START, "now": START + 2 * HOURS}, Code.RECALLED, True),
        ({"revoked": True, "last_success": START - HOURS}, Code.REVOKED, True),
        ({"key_here": False, "last_success": START - HOURS}, Code.KEY_MISSING, True),
        # But a CA that recalls or revokes what it has just issued as a replacement makes no loop.
        ({"revoked": True, "last_success": START, "last_replaced": START - 37 * HOURS}, Code.REVOKED, True),
        ({"revoked": True, "last_success": START, "last_replaced": START - 35 * HOURS}, Code.HELD_BACK, False),
        ({"ari_selected": START, "last_success": START, "last_replaced": START}, Code.HELD_BACK, False),
        # What the CA's rate limits leave, nothing goes past.
        ({"asked": True, "budget_hold": (START + HOURS, "none left.")}, Code.HELD_BACK, False),
        ({"asked": True, "forced": True, "budget_hold": (START + HOURS, "none left.")}, Code.HELD_BACK, False),
        ({"now": START + 91 * DAYS, "budget_hold": (START + 92 * DAYS, "none left.")}, Code.HELD_BACK, False),
        ({"asked": True, "use_last": True, "budget_hold": (START + HOURS, "none.")}, Code.HELD_BACK, False),
        # Before the last one is spent a person is asked; the schedule is not.
        ({"asked": True, "budget_last": "1 left of 5"}, Code.LAST_ONE, False),
        ({"asked": True, "forced": True, "budget_last": "1 left of 5"}, Code.LAST_ONE, False),
        ({"asked": True, "budget_last": "1 left of 5", "use_last": True}, Code.ASKED, True),
        ({"not_before": None, "not_after": None, "failed": True}, Code.ASKED, True),
        ({"not_before": None, "not_after": None, "failed": True, "renewable": False}, Code.NOT_ISSUED, False),
        ({"not_before": None, "not_after": None, "failed": True, "budget_last": "1 of 5"}, Code.LAST_ONE, False),
        ({"now": OLD, "budget_last": "1 left of 5"}, Code.DUE_DATE, True),
        ({"now": OLD, "next_attempt_at": OLD + HOURS}, Code.HELD_BACK, False),
        ({"now": OLD, "next_attempt_at": OLD}, Code.DUE_DATE, True),
        ({"now": OLD, "next_attempt_at": OLD + HOURS, "forced": True}, Code.DUE_DATE, True),
        # Less than L/20 left overrides the back-off, but not the CA's own word.
        ({"now": START + 86 * DAYS, "next_attempt_at": START + 87 * DAYS}, Code.DUE_DATE, True),
        ({"now": START + 86 * DAYS, "retry_after_at": START + 87 * DAYS}, Code.HELD_BACK, False),
        ({"now": OLD, "forced": True, "retry_after_at": OLD + HOURS}, Code.HELD_BACK, False),
        ({"now": OLD, "forced": True, "tries": (OLD,) * 4}, Code.HELD_BACK, False),
        ({"now": OLD, "tries": (OLD - HOURS,) * 4}, Code.DUE_DATE, True),
        ({"now": OLD, "tries": (OLD,) * 3}, Code.DUE_DATE, True),
    ],
)
def test_decisions(changes: dict[str, object], code: Code, due: bool) -> None:
    decision = decide(replace(issued(), **changes), half)
    assert (decision.code, decision.due) == (code, due)
    assert decision.text.endswith(".")
    assert decision.text[0].isupper()


def test_a_hold_says_until_when_and_is_looked_at_then() -> None:
    held = decide(replace(issued(now=OLD), next_attempt_at=OLD + HOURS), half)
    assert "Held back until 9 February 2027, 10:17 UTC: the last try failed." in held.text
    assert OLD + HOURS <= held.next_check_at < OLD + 3 * HOURS


def test_an_order_takes_no_more_than_half_of_the_time_that_is_left() -> None:
    assert order_life(DAYS, None) == DAYS
    assert order_life(DAYS, 21 * DAYS) == DAYS
    assert order_life(DAYS, 6 * HOURS) == 3 * HOURS
    assert order_life(HOURS, 6 * HOURS) == HOURS
    for left in (10 * TICK, timedelta(0), -DAYS):
        assert order_life(DAYS, left) == HOURS / 2


@pytest.mark.parametrize(("life", "early"), TABLE)
def test_there_is_time_for_several_orders_that_all_get_stuck(life: timedelta, early: timedelta) -> None:
    left, orders = early, 0
    while left > HOURS / 2:
        left -= order_life(DAYS, left) + backoff(orders + 1, left)
        orders += 1
    assert orders >= 3, life


def test_backoff_grows_by_count_and_shrinks_with_the_time_left() -> None:
    ample = 400 * DAYS
    assert [backoff(count, ample) for count in (1, 2, 3, 4, 5, 99)] == [
        timedelta(minutes=1),
        timedelta(minutes=10),
        timedelta(minutes=100),
        6 * HOURS,
        24 * HOURS,
        24 * HOURS,
    ]
    assert backoff(5, 8 * HOURS) == HOURS
    assert backoff(5, timedelta(minutes=2)) == timedelta(minutes=1)
    assert backoff(5, -DAYS) == timedelta(minutes=1)
    assert backoff(0, ample) == timedelta(minutes=1)


def test_a_senseless_window_falls_back_to_the_date_rule() -> None:
    assert ari_select(START, START, half) is None
    assert ari_select(START, START - HOURS, half) is None
    assert ari_select(START, START + 2 * HOURS, half) == START + HOURS
