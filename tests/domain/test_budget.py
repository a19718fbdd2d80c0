"""Token buckets against an independent model, the words of a budget, and what counts as a registered domain."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.domain.budget import (
    Budget,
    Event,
    Limit,
    Scope,
    budget_of,
    budgets_sorted,
    limit_keys,
    names_digest,
    registered_domain,
)
from certs.domain.errors import InputError

NOW = datetime(2026, 11, 20, 14, 20, tzinfo=UTC)  # a Friday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SET = Limit(Event.CERTIFICATE, Scope.SET, 5, 7 * DAY)
FAILURES = Limit(Event.FAILURE, Scope.NAME, 5, HOUR)


def of(limit: Limit, *ages: timedelta) -> Budget:
    return budget_of(limit, "www.example.com", [NOW - age for age in ages], NOW)


def test_a_full_bucket_says_no_moment() -> None:
    assert of(SET).text == "5 left of 5 for this set"
    assert of(SET, 7 * DAY).text == "5 left of 5 for this set"


def test_what_was_spent_comes_back_one_by_one() -> None:
    one = of(SET, HOUR)
    assert (one.left, one.used, one.next_at) == (4, 1, NOW - HOUR + SET.interval)
    assert one.text == "4 left of 5 for this set until Saturday 22:56 UTC"
    five = of(SET, *[HOUR] * 5)
    assert (five.left, five.refuses, five.free_at) == (0, True, NOW - HOUR + SET.interval)
    assert of(SET, *[SET.interval] * 5).left == 1  # exactly when it comes back
    assert of(SET, *[SET.interval - timedelta(microseconds=1)] * 5).left == 0


def test_a_bucket_holds_no_more_than_it_holds() -> None:
    """A year of rest saves up nothing: five at once are five at once."""
    assert of(SET, *[100 * DAY] * 3, *[HOUR] * 5).left == 0


def test_more_than_the_ca_can_have_granted_waits_longer() -> None:
    seven = of(SET, *[HOUR] * 7)
    assert (seven.left, seven.free_at) == (0, NOW - HOUR + 3 * SET.interval)


def test_the_last_failure_is_never_risked() -> None:
    three, four, five = (of(FAILURES, *[timedelta(minutes=5)] * count) for count in (3, 4, 5))
    assert (three.left, three.refuses) == (2, False)
    assert (four.left, four.refuses, four.free_at) == (1, True, NOW + timedelta(minutes=7))
    assert (five.left, five.refuses, five.free_at) == (0, True, NOW + timedelta(minutes=19))
    assert four.text == "1 left of 5 failures of www.example.com until Friday 14:27 UTC"
    assert not four.is_last, "nobody is asked whether to risk it"


@pytest.mark.parametrize("limit", [SET, FAILURES, Limit(Event.ORDER, Scope.ACCOUNT, 300, 3 * HOUR)])
@given(gaps=st.lists(st.timedeltas(timedelta(0), 3 * DAY), max_size=40))
def test_it_agrees_with_a_bucket_that_is_filled_and_emptied(limit: Limit, gaps: list[timedelta]) -> None:
    """The textbook's bucket, in exact fractions; what it would not grant is not asked of it."""
    moments, moment = list[datetime](), NOW - limit.window * 3
    level, last = Fraction(limit.count), moment
    rate = Fraction(limit.count) / _microseconds(limit.window)
    for gap in gaps:
        moment += gap
        if moment > NOW:
            break
        level = min(Fraction(limit.count), level + rate * _microseconds(moment - last))
        last = moment
        if level >= 1:
            level -= 1
            moments.append(moment)
    level = min(Fraction(limit.count), level + rate * _microseconds(NOW - last))
    found = budget_of(limit, "", reversed(moments), NOW)
    assert found.left == level // 1
    if found.next_at is not None:
        wait = found.next_at - NOW
        wanted = found.left + 1 + (limit.reserve if found.left < limit.reserve else 0)
        assert abs(level + rate * _microseconds(wait) - wanted) < Fraction(1, 10**6)


def _microseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def test_the_worst_comes_first() -> None:
    full, last, none, longer = of(SET), of(SET, *[HOUR] * 4), of(FAILURES, *[HOUR / 60] * 5), of(SET, *[HOUR] * 5)
    assert budgets_sorted([full, none, last, longer]) == [longer, none, last, full]
    assert last.is_last
    assert not none.is_last


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("www.example.com", "example.com"),
        ("*.shop.example.co.uk", "example.co.uk"),
        ("example.com", "example.com"),
        ("a.github.io", "a.github.io"),  # the private part of the list: each of its customers is its own
        ("co.uk", "co.uk"),
        ("localhost", "localhost"),
        ("WWW.Example.COM", "example.com"),
        ("www.xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ],
)
def test_registered_domains(name: str, domain: str) -> None:
    assert registered_domain(name) == domain


def test_what_an_order_spends() -> None:
    names = ["b.example.com", "*.b.example.com", "a.example.org"]
    assert limit_keys(Limit(Event.CERTIFICATE, Scope.DOMAIN, 50, DAY), names, "account") == [
        "example.com",
        "example.org",
    ]
    assert limit_keys(SET, names, "account") == [names_digest(reversed(names))]
    assert limit_keys(SET, [], "account") == [], "no names are no set"
    assert limit_keys(FAILURES, names, "account") == ["a.example.org", "b.example.com"]
    assert limit_keys(Limit(Event.ORDER, Scope.ACCOUNT, 300, DAY), names, "account") == ["account"]
    assert len(names_digest(names)) > 63, "never taken for a domain"


def test_limits_of_the_operator_as_json() -> None:
    stored = {"event": "certificate", "scope": "domain", "count": 20, "hours": 24.0, "renewals": False}
    limit = Limit.from_json(stored)
    assert limit.as_json() == stored
    assert limit.text == "20 certificates per registered domain in 1 day"
    assert Limit.from_json(SET.as_json()) == SET


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [],
        {},
        {"event": "certificate"},
        {"event": "certificate", "scope": "set", "count": 0, "hours": 1},
        {"event": "certificate", "scope": "set", "count": 5, "hours": 0},
        {"event": "certificate", "scope": "set", "count": 5, "hours": "nan"},
        {"event": "certificate", "scope": "set", "count": 5, "hours": 1e300},
        {"event": "certificate", "scope": "account", "count": 5, "hours": 1},
        {"event": "order", "scope": "set", "count": 5, "hours": 1},
        {"event": "order", "scope": "account", "count": "many", "hours": 1},
        {"event": ["order"], "scope": "account", "count": 1, "hours": 1},
    ],
)
def test_what_is_no_limit_is_refused_with_a_sentence(stored: object) -> None:
    with pytest.raises(InputError) as error:
        Limit.from_json(stored)
    assert error.value.advice
