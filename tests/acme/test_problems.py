import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.acme.problems import Problem, advice_for, failure, is_transient, poll_delay, retry_after, retry_at
from certs.domain.errors import AcmeRefused, AcmeRetry

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
URN = "urn:ietf:params:acme:error:"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("1", 1),
        (" 30 ", 30),
        ("86400", 86400),
        ("99999999999999999999", 86400),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("Sat, 21 Nov 2026 12:00:10 GMT", 10),
        ("Sat, 21 Nov 2026 13:00:10 +0100", 10),
        ("Sat, 21 Nov 2026 12:00:10 -0000", 10),
        ("Saturday, 21-Nov-26 12:00:10 GMT", 10),
        ("Sat Nov 21 12:00:10 2026", 10),
        ("Sat, 21 Nov 2026 11:59:00 GMT", None),
        ("Sat, 21 Nov 2099 12:00:00 GMT", 86400),
        ("Sat, 99 Nov 2026 12:00:10 GMT", None),
        ("+0100", None),
    ],
)
def test_retry_after_is_an_aware_moment_in_utc(header: str | None, seconds: int | None) -> None:
    expected = None if seconds is None else NOW + timedelta(seconds=seconds)
    assert retry_after(header, NOW) == expected


@given(st.text(max_size=60))
def test_retry_after_never_raises_and_never_goes_past_a_day(header: str) -> None:
    moment = retry_after(header, NOW)
    assert moment is None or (moment.utcoffset() == timedelta(0) and NOW <= moment <= NOW + timedelta(hours=24))


@pytest.mark.parametrize(("asked", "waits"), [(0, 1), (1, 1), (5, 5), (60, 60), (86400, 60), (-10, 1)])
def test_polls_wait_as_asked_but_between_one_second_and_one_minute(asked: int, waits: int) -> None:
    assert poll_delay(NOW + timedelta(seconds=asked), 0.03, NOW) == waits


def test_a_ca_that_asks_for_nothing_is_polled_at_our_own_pace() -> None:
    assert poll_delay(None, 0.03, NOW) == 0.03


@pytest.mark.parametrize(
    ("sent", "said", "seconds"),
    [
        ("Sat, 21 Nov 2026 13:00:00 GMT", "Sat, 21 Nov 2026 13:00:30 GMT", 30),
        ("Sat, 21 Nov 2026 11:00:00 GMT", "Sat, 21 Nov 2026 11:00:30 GMT", 30),
        ("Sat, 21 Nov 2026 11:00:00 -0000", "Sat, 21 Nov 2026 12:00:30 +0100", 30),
        ("Sat, 21 Nov 2026 11:00:00 GMT", "120", 120),
        ("yesterday", "Sat, 21 Nov 2026 12:00:30 GMT", 30),
        ("Sat, 21 Nov 2026 13:00:00 GMT", "Sat, 21 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_a_date_is_by_the_clock_of_the_ca_that_gave_it(sent: str, said: str, seconds: int | None) -> None:
    expected = None if seconds is None else NOW + timedelta(seconds=seconds)
    assert retry_at({"Date": sent, "Retry-After": said}, NOW) == expected


def test_what_can_be_neither_stored_nor_shown_is_taken_out() -> None:
    document = {
        "type": f"{URN}{'x' * 100}",
        "detail": "a\x00b\x1b[31m\ud800" + "long " * 2000,
        "odd\x00": [1, float("nan"), {"deep\udfff": "\r\n"}, *range(500)],
    }
    problem = Problem.from_document(document)
    assert problem.code == ""
    assert problem.detail.startswith("a b [31m ")
    assert problem.sentence.isprintable()
    assert len(problem.sentence) == 2000
    kept = json.dumps(problem.document, ensure_ascii=False, allow_nan=False)
    assert kept.encode().decode().isprintable()
    assert len(kept) < 10_000


def test_a_document_nested_without_end_is_no_document() -> None:
    assert Problem.from_answer(400, "[" * 100_000).document["status"] == 400


def test_a_problem_keeps_what_it_does_not_know() -> None:
    document = {
        "type": URN + "brandNew",
        "detail": "Something new",
        "instance": "https://ca.example/terms",
        "subproblems": [
            {"type": URN + "caa", "detail": "forbidden", "identifier": {"type": "otherwise", "value": "a.example"}}
        ],
    }
    problem = Problem.from_document(document, 403)

    assert (problem.code, problem.status, problem.instance) == ("brandNew", 403, "https://ca.example/terms")
    assert problem.sentence == "Something new a.example: forbidden"
    assert problem.document == {"status": 403, **document}


@pytest.mark.parametrize(
    "body", ["", "<html>Bad gateway</html>", "[1, 2]", "null", "3", '"no"', '{"type": 3, "detail": []}']
)
def test_an_answer_that_is_no_problem_document_is_survived(body: str) -> None:
    error = failure(Problem.from_answer(502, body), "Our CA")
    assert isinstance(error, AcmeRetry)
    assert "Our CA" in error.message
    assert error.message.strip().endswith(("502", "]", "3", "no", "None")) or body in error.message


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "detail", "identifier", "subproblems", "status", "value", "title", "instance"]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=12,
    )
)
def test_no_document_whatever_breaks_the_reading(document: object) -> None:
    problem = Problem.from_document(document, 400)
    assert problem.sentence
    assert failure(problem, "Our CA").message


@pytest.mark.parametrize(
    ("code", "status", "final"),
    [
        ("rateLimited", 429, False),
        ("rateLimited", 400, False),
        ("serverInternal", 500, False),
        ("badNonce", 400, False),
        ("", 503, False),
        ("", 429, False),
        ("unauthorized", 403, True),
        ("rejectedIdentifier", 400, True),
        ("alreadyReplaced", 409, True),
        ("brandNew", 418, True),
    ],
)
def test_what_is_worth_trying_again_is_told_from_what_is_not(code: str, status: int, final: bool) -> None:
    problem = Problem(code=code, status=status, detail="because")
    assert is_transient(problem) is not final
    error = failure(problem, "Our CA", retry_at=NOW)
    assert isinstance(error, AcmeRefused if final else AcmeRetry)
    assert error.code == (f"acme-{code}" if code else "acme")
    assert "Our CA" in error.message
    assert "because" in error.message
    if isinstance(error, AcmeRetry):
        assert error.retry_at == NOW


def test_new_terms_are_named() -> None:
    error = failure(Problem(code="userActionRequired", instance="https://ca.example/terms"), "Our CA")
    assert "https://ca.example/terms" in error.advice


def test_the_usual_problems_have_advice() -> None:
    for code in ("caa", "connection", "dns", "unauthorized", "rateLimited", "rejectedIdentifier"):
        assert advice_for(code)
