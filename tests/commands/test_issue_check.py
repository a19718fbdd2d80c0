"""issue --check: what a look before the order found, and what the shell is told."""

from typing import Any

import pytest

from certs.domain.preflight import Finding, Level
from certs.models import AcmeAccount, Certificate, Order
from certs.services import issuing
from certs.services.preflight_names import Target
from tests import stock
from tests.commands.running import run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_worker")]
GOOD = Finding("directory", Level.OK, "", "The CA answers.", "https://ca.example/dir")
UNSURE = Finding("ipv4", Level.UNKNOWN, "a.example", "Nothing answered.", "GET …: refused", "Open the port.")
BAD = Finding(
    "caa", Level.ERROR, "a.example", "CAA forbids it.", "the record", "Add this.", 'a.example. CAA 0 issue "x"'
)


class Look:
    def __init__(self) -> None:
        self.findings: list[Finding] = [GOOD]
        self.asked: list[tuple[tuple[str, ...], Target, dict[str, Any]]] = []

    def __call__(self, names: list[str], target: Target, **options: Any) -> list[Finding]:
        self.asked.append((tuple(names), target, options))
        return self.findings


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Look:
    made = Look()
    monkeypatch.setattr(issuing, "preflight_run", made)
    return made


def test_it_orders_nothing_and_needs_no_worker_and_no_terms(look: Look) -> None:
    ran = run("issue", "a.example,www.a.example", "b.example", "--check")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "ok: The CA answers.",
        "a.example, www.a.example: 1 ok. Nothing was ordered.",
        "ok: The CA answers.",
        "b.example: 1 ok. Nothing was ordered.",
    ]
    assert not any(model.objects.exists() for model in (AcmeAccount, Certificate, Order))
    assert [names for names, _, _ in look.asked] == [("a.example", "www.a.example"), ("b.example",)]


def test_what_would_fail_ends_with_4_and_says_what_to_add(look: Look) -> None:
    look.findings = [BAD, UNSURE, GOOD]
    ran = run("issue", "a.example", "--check")
    assert ran.code == 4
    assert ran.out.splitlines() == [
        "would fail: CAA forbids it.",
        "    seen: the record",
        "    Add this.",
        '    a.example. CAA 0 issue "x"',
        "could not check: Nothing answered.",
        "    seen: GET …: refused",
        "    Open the port.",
        "ok: The CA answers.",
        "a.example: 1 would fail, 1 could not check, 1 ok. Nothing was ordered.",
    ]


def test_what_could_not_be_checked_is_no_failure(look: Look) -> None:
    look.findings = [UNSURE]
    assert run("issue", "a.example", "--check").code == 0


def test_programs_get_all_of_it(look: Look) -> None:
    look.findings = [BAD, GOOD]
    ran = run("issue", "a.example", "--check", "--json")
    assert (ran.code, ran.json["exit_code"], ran.json["result"]) == (4, 4, "error")
    (check,) = ran.json["checks"]
    assert check["names"] == ["a.example"]
    assert check["findings"][0]["record"] == BAD.record


def test_the_account_that_is_known_is_looked_at_with_what_was_typed(look: Look) -> None:
    account = stock.account("https://ca.example/dir")
    run("issue", "a.example", "--check", "--directory", account.directory_url, "--allow-private-ca")
    run("issue", "a.example", "--check", "--directory", "https://other.example/dir")
    (_, known, _), (_, new, _) = look.asked
    assert known.account == account
    assert known.allow_private
    assert (new.directory_url, new.allow_private) == ("https://other.example/dir", False)


def test_the_challenge_that_was_chosen_is_looked_at(look: Look) -> None:
    method = stock.method(name="zone")
    run("issue", "*.a.example", "--check", "--challenge", "zone")
    assert look.asked[0][2]["method"] == method


def test_a_certificate_that_is_there_is_a_renewal(look: Look) -> None:
    certificate = stock.issued("a.example")
    assert certificate.account is not None
    run("issue", "a.example", "--check", "--directory", certificate.account.directory_url)
    assert look.asked[0][2]["certificate"] == certificate
