"""What a program meets before its request is looked at: rate, host, set-up, Force SSL, sessions, unknown addresses."""

from typing import Any

import pytest
from django.test import Client

from certs.models import ApiToken, Certificate, User
from certs.services.https import HttpsPolicy
from portal import clock
from tests import stock
from tests.api.conftest import Program, token

pytestmark = pytest.mark.django_db
PROBLEM = "application/problem+json"


def test_so_many_requests_and_no_more(program: Program, settings: Any) -> None:
    settings.API_RATE = (3, 3600)
    answers = [program.get("/api/certificates") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer["RateLimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0", "r=0"]
    assert answers[0]["RateLimit-Policy"] == '"caller";q=3;w=3600'
    assert 0 < int(answers[3]["Retry-After"]) <= 3600
    assert (answers[3]["Content-Type"], answers[3].json()["code"]) == (PROBLEM, "rate")
    assert token("admin").get("/api/certificates").status_code == 200  # others are not held back
    settings.API_RATE = (0, 60)
    assert program.get("/api/certificates").status_code == 200


@pytest.mark.parametrize("change", ["revoked", "expired", "owner"])
def test_a_token_that_ended_is_refused_and_says_why(program: Program, change: str) -> None:
    row = ApiToken.objects.get()
    if change == "revoked":
        ApiToken.objects.update(revoked_at=clock.now())
    elif change == "expired":
        ApiToken.objects.update(expires_at=clock.now())
    else:
        owner = User.objects.create_user("gone@example.com", "a long pass phrase", is_active=False)
        ApiToken.objects.filter(pk=row.pk).update(owner=owner)
    answer = program.get("/api/certificates")
    assert (answer.status_code, answer.json()["code"]) == (401, f"token-{change}")


def test_an_unknown_host_is_told_in_the_programs_language(program: Program) -> None:
    answer = program.get("/api/certificates", headers={"Host": "elsewhere.example"})
    assert (answer.status_code, answer["Content-Type"], answer.json()["code"]) == (400, PROBLEM, "unknown-host")


def test_before_the_set_up_nothing_is_to_be_had(db: None) -> None:
    answer = Program().get("/api/certificates")
    assert (answer.status_code, answer["Content-Type"], answer.json()["code"]) == (503, PROBLEM, "setup-unfinished")


def test_an_unknown_address_is_a_problem_too(program: Program) -> None:
    for path in ("/api/nothing", "/api/certificates/x/y/z", "/api/jobs/no-uuid"):
        answer = program.get(path)
        assert (answer.status_code, answer["Content-Type"], answer.json()["code"]) == (404, PROBLEM, "not-found")


def test_a_fault_of_ours_is_a_problem_with_an_id_to_quote(program: Program, monkeypatch: Any) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("certs.api.certificates.certificates_found", fail)
    program.raise_request_exception = False
    answer = program.get("/api/certificates")
    assert (answer.status_code, answer["Content-Type"], answer.json()["code"]) == (500, PROBLEM, "internal")
    assert "secret" not in answer.content.decode()


def test_force_ssl_never_sends_a_token_on_by_a_redirect(program: Program, monkeypatch: Any) -> None:
    monkeypatch.setattr("portal.scheme.policy_read", lambda: HttpsPolicy(redirect_to="https://portal.test"))
    asked: list[tuple[str, str, Any]] = [
        ("GET", "/api/certificates", None),
        ("POST", "/api/certificates/_keypair", {}),
        ("GET", "/api/schema", None),
    ]
    for method, path, body in asked:
        answer = program.send(method, path, body)
        assert (answer.status_code, answer.json()["code"]) == (403, "https-required"), path
        assert "Location" not in answer.headers
    assert not Certificate.objects.exists()
    assert program.get("/api/certificates", secure=True).status_code == 200
    assert program.get("/api/docs/").status_code == 307  # a browser is sent on


def session(person: User, **options: Any) -> Client:
    browser = Client(**options)
    browser.force_login(person)
    return browser


def test_who_is_logged_in_on_the_pages_may_ask_too_with_the_token_of_the_forms() -> None:
    person = stock.administrator()
    assert session(person).get("/api/certificates").status_code == 200
    browser = session(person, enforce_csrf_checks=True)
    refused = browser.post("/api/certificates/_keypair", "{}", content_type="application/json")
    assert (refused.status_code, refused.json()["code"]) == (403, "csrf")
    page = browser.get("/api/docs/")
    secret = page.context["csrf_token"]
    made = browser.post(
        "/api/certificates/_keypair", "{}", content_type="application/json", headers={"X-CSRFToken": str(secret)}
    )
    assert made.status_code == 201, made.content


def test_a_session_never_stands_in_for_a_token_that_is_refused() -> None:
    browser = session(stock.administrator())
    assert browser.get("/api/certificates", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_who_was_locked_out_is_not_known_any_more() -> None:
    person = stock.administrator()
    stock.administrator("second@example.com")
    browser = session(person)
    User.objects.filter(pk=person.pk).update(is_active=False)
    assert browser.get("/api/certificates").status_code == 401
