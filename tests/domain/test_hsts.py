from datetime import UTC, datetime, timedelta

import pytest

from certs.domain import hsts

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
GOOD = hsts.Answering(False, NOW - timedelta(days=1), NOW + timedelta(days=60), True)


def situation(**changes: object) -> hsts.Situation:
    fields = {"host": "portal.example.com", "https_port": 443, "http_port": 80, "answering": GOOD, **changes}
    return hsts.Situation(**fields)  # type: ignore[arg-type]


def test_nothing_stands_against_a_good_certificate_on_the_usual_ports() -> None:
    assert hsts.obstacles(situation(), NOW) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host": ""}, "not an https:// address"),
        ({"host": "192.0.2.1"}, "IP address"),
        ({"host": "[2001:db8::1]"}, "IP address"),
        ({"host": "portal"}, "not a full DNS name"),
        ({"https_port": 8443}, "port 8443"),
        ({"http_port": 8000}, "Plain HTTP is on port 8000"),
        ({"http_port": 0}, "Nothing shows"),
        ({"answering": None}, "placeholder"),
        ({"answering": hsts.Answering(True, GOOD.not_before, GOOD.not_after, True)}, "self-signed"),
        ({"answering": hsts.Answering(False, GOOD.not_before, NOW - timedelta(seconds=1), True)}, "expired"),
        ({"answering": hsts.Answering(False, NOW + timedelta(days=1), GOOD.not_after, True)}, "not valid before"),
        ({"answering": hsts.Answering(False, GOOD.not_before, GOOD.not_after, False)}, "not for portal.example.com"),
    ],
)
def test_each_lock_out_is_seen(changes: dict[str, object], words: str) -> None:
    found = hsts.obstacles(situation(**changes), NOW)
    assert len(found) == 1
    assert words in found[0]


def test_the_ramp_runs_from_five_minutes_to_a_year() -> None:
    assert [step.seconds for step in hsts.STEPS] == [300, 3600, 86_400, 31_536_000]
    assert hsts.STEPS[hsts.step_limit(public=True)].label == "1 year"
    assert hsts.STEPS[hsts.step_limit(public=False)].label == "1 day"


def test_a_step_is_earned_by_a_whole_day_and_never_above_the_limit() -> None:
    day_ago = NOW - timedelta(days=1)
    assert hsts.step_is_earned(0, hsts.LAST, day_ago, NOW)
    assert not hsts.step_is_earned(0, hsts.LAST, day_ago + timedelta(seconds=1), NOW)
    assert not hsts.step_is_earned(0, hsts.LAST, None, NOW)
    assert not hsts.step_is_earned(hsts.ONE_DAY, hsts.ONE_DAY, day_ago, NOW)
    assert not hsts.step_is_earned(hsts.LAST, 99, day_ago, NOW)


def test_silence_is_no_proof_of_health() -> None:
    assert hsts.day_restarts(None, NOW)
    assert hsts.day_restarts(NOW - timedelta(hours=2), NOW)
    assert not hsts.day_restarts(NOW - timedelta(minutes=5), NOW)


def test_the_header_speaks_for_this_host_only() -> None:
    assert hsts.header_value(300) == "max-age=300"
