"""Renewal information from a CA over HTTPS: what is taken, and what of everything else is made."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certs.acme.directories import DIRECTORY_FIELDS
from certs.acme.renewal_info import NoRenewalInfo, RenewalInfo, RenewalInfoReader
from tests.acme.scripted import Answer, Scripted, document, problem

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)  # the portal's clock, which is not that of the answers
HOUR = timedelta(hours=1)
ID = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
WINDOW = {"start": "2026-12-01T00:00:00Z", "end": "2026-12-03T00:00:00.123456789+01:00"}
GOOD = {"suggestedWindow": WINDOW, "explanationURL": "https://ca.example/why"}


Answers = Answer | Callable[[], Answer] | None


@pytest.fixture(scope="module")
def directory() -> Iterator[Scripted]:
    with Scripted() as running:
        yield running


class Asking:
    """A directory whose renewalInfo gives `answers` in turn, and a reader of it."""

    def __init__(self, server: Scripted) -> None:
        self.server = server
        server.requests.clear()

    def directory(self, **fields: str) -> Answer:
        return document({**{name: f"{self.server.url}/{name}" for name in DIRECTORY_FIELDS}, **fields})

    def read(self, *answers: Answers, times: int = 1, **options: Any) -> list[RenewalInfo | NoRenewalInfo]:
        self.server.answers = [self.directory(renewalInfo=f"{self.server.url}/ari/"), *answers]
        return self.read_as_it_is(times, **options)

    def read_as_it_is(self, times: int = 1, **options: Any) -> list[RenewalInfo | NoRenewalInfo]:
        options = {"ca_bundle": self.server.authority.pem, "allow_private": True, **options}
        with RenewalInfoReader(f"{self.server.url}/dir", version="9.9", **options) as made:
            return [made.read(ID, NOW) for _ in range(times)]

    def failed(self, *answers: Answers, **options: Any) -> NoRenewalInfo:
        (answer,) = self.read(*answers, **options)
        assert isinstance(answer, NoRenewalInfo)
        assert answer.reason
        return answer


@pytest.fixture
def ca(directory: Scripted) -> Asking:
    return Asking(directory)


def test_a_window_is_asked_for_by_id_without_an_account(ca: Asking) -> None:
    first, second = ca.read(document(GOOD), times=2)
    assert (
        first
        == second
        == RenewalInfo(
            datetime(2026, 12, 1, tzinfo=UTC),
            datetime(2026, 12, 2, 23, 0, 0, 123456, tzinfo=UTC),
            "https://ca.example/why",
            NOW + 6 * HOUR,
        )
    )
    assert [(method, path) for method, path, _ in ca.server.requests] == [
        ("GET", "/dir"),
        ("GET", f"/ari/{ID}"),
        ("GET", f"/ari/{ID}"),
    ]


@pytest.mark.parametrize(
    ("header", "hours"),
    [("21600", 6), ("60", 1), ("0", 1), ("999999", 24), ("", 6), ("soon", 6), ("-5", 6), ("7200", 2)],
)
def test_retry_after_is_obeyed_between_an_hour_and_a_day(ca: Asking, header: str, hours: float) -> None:
    (answer,) = ca.read(document(GOOD, **{"Retry-After": header}))
    assert abs(answer.retry_at - NOW - hours * HOUR) < timedelta(seconds=2)


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        "x",
        None,
        {"suggestedWindow": []},
        {"suggestedWindow": {"start": WINDOW["start"]}},
        {"suggestedWindow": {**WINDOW, "end": WINDOW["start"]}},
        {"suggestedWindow": {"start": WINDOW["end"], "end": WINDOW["start"]}},
        {"suggestedWindow": {**WINDOW, "end": "9999-12-31T23:59:59-12:00"}},
        {"suggestedWindow": {**WINDOW, "end": "2027-01-01"}},
        {"suggestedWindow": {**WINDOW, "end": "2027-01-01T00:00:00"}},
        {"suggestedWindow": {**WINDOW, "start": 1795000000}},
    ],
)
def test_a_senseless_answer_is_none(ca: Asking, content: object) -> None:
    answer = ca.failed(document(content))
    assert (answer.directory_wide, answer.unknown, answer.retry_at) == (False, False, NOW + 6 * HOUR)


@pytest.mark.parametrize("url", ["javascript:alert(1)", 7, None, "https://a/\n"])
def test_an_explanation_that_is_no_address_is_left_out(ca: Asking, url: object) -> None:
    (answer,) = ca.read(document({**GOOD, "explanationURL": url}))
    assert isinstance(answer, RenewalInfo)
    assert answer.explanation_url == ""


@pytest.mark.parametrize(
    ("answer", "hours", "wide", "unknown"),
    [
        ((200, {"Content-Type": "text/html"}, b"<html>Welcome</html>"), 1, True, False),
        (problem("malformed", 400), 6, False, False),
        (problem("malformed", 404), 24, False, True),
        ((302, {"Location": "http://169.254.169.254/"}, b""), 6, False, False),
        (problem("rateLimited", 429, **{"Retry-After": "18000"}), 5, True, False),
        (problem("serverInternal", 500), 1, True, False),
        ((503, {}, b"busy"), 1, True, False),
        (None, 1, True, False),
    ],
)
def test_a_refusal_is_one_certificate_s_and_a_trouble_the_directory_s(
    ca: Asking, answer: Answer | None, hours: float, wide: bool, unknown: bool
) -> None:
    none = ca.failed(answer)
    assert (none.directory_wide, none.unknown) == (wide, unknown)
    assert abs(none.retry_at - NOW - hours * HOUR) < timedelta(seconds=2)


def test_a_directory_without_it_is_left_for_a_day(ca: Asking) -> None:
    ca.server.answers = [ca.directory()]
    first, second = ca.read_as_it_is(times=2)
    reason = f"localhost:{ca.server.port} gives no renewal information."
    assert first == second == NoRenewalInfo(reason, NOW + 24 * HOUR, directory_wide=True, unknown=True)
    assert len(ca.server.requests) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ca_bundle": ""}, "not trusted"),
        ({"allow_private": False}, "not on the Internet"),
        ({"ca_bundle": "-----BEGIN nonsense"}, "bundle"),
    ],
)
def test_trust_and_address_rules_hold(ca: Asking, options: dict[str, Any], says: str) -> None:
    none = ca.failed(document(GOOD), **options)
    assert says in none.reason
    assert none.directory_wide


def test_a_renewal_info_elsewhere_obeys_the_address_rule(ca: Asking) -> None:
    ca.server.answers = [ca.directory(renewalInfo="http://169.254.169.254/ari")]
    (none,) = ca.read_as_it_is()
    assert isinstance(none, NoRenewalInfo)
    assert "not an https:// address" in none.reason
