"""The button Check first: a fragment beside the form, which it neither changes nor holds up."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from certs.domain.preflight import Finding, Level
from certs.models import AcmeAccount, Certificate, Order, User
from certs.services import issuing
from certs.services.preflight_names import Target
from tests import stock
from tests.standing import HOST, stand

GOOD = Finding("directory", Level.OK, "", "The CA answers.", "https://ca.example/dir")
BAD = Finding(
    "ipv6", Level.ERROR, HOST, "Something else answers.", "<script>alert(1)</script>", "Remove it.", f"{HOST}. AAAA ::1"
)


class Look:
    def __init__(self) -> None:
        self.findings: list[Finding] = [GOOD]
        self.asked: list[tuple[list[str], Target, dict[str, Any]]] = []

    def __call__(self, names: list[str], target: Target, **options: Any) -> list[Finding]:
        self.asked.append((list(names), target, options))
        return self.findings


@pytest.fixture(autouse=True)
def look(monkeypatch: pytest.MonkeyPatch, alice: User) -> Look:
    stand(url="http://192.0.2.1:8000", http=8000, https=8443)
    made = Look()
    monkeypatch.setattr(issuing, "preflight_run", made)
    return made


def check(client: Client, **given: object) -> str:
    form = {"directory": "letsencrypt", "dns_names": HOST, "email": "Alice@example.com", **given}
    response = client.post(reverse("lets-encrypt-check"), form)
    assert response.status_code == 200
    return response.content.decode()


def test_both_forms_have_the_button_which_sends_no_form(client: Client) -> None:
    stock.account()
    AcmeAccount.objects.update(terms_agreed_at="2026-01-01T00:00Z")
    for page, url in (
        ("lets-encrypt-configure", "lets-encrypt-check"),
        ("certificate-request", "certificate-request-check"),
    ):
        text = client.get(reverse(page)).content.decode()
        assert f'<button type="button" class="btn btn-outline-primary" hx-post="{reverse(url)}"' in text


def test_what_was_found_is_shown_with_its_proof_and_the_record(client: Client, look: Look) -> None:
    look.findings = [BAD, GOOD]
    text = check(client)
    assert "The CA would probably refuse" in text
    assert '<span class="state state-danger">would fail</span> Something else answers.' in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert f'<pre class="command mb-1">{HOST}. AAAA ::1</pre>' in text
    assert "You may go on in any case." in text
    assert "<summary>1 in order</summary>" in text


def test_when_all_is_well_it_says_so(client: Client) -> None:
    text = check(client)
    assert "Nothing stands against it" in text
    assert "You may go on" not in text


def test_the_form_is_taken_as_it_is_and_nothing_is_stored(client: Client, look: Look) -> None:
    check(client, directory="other", directory_url="https://ca.example/dir", allow_private_ca="on")
    names, target, options = look.asked[0]
    assert names == [HOST]
    assert (target.directory_url, target.allow_private) == ("https://ca.example/dir", True)
    assert (options["method"], options["method_kind"]) == (None, "")
    assert not any(model.objects.exists() for model in (AcmeAccount, Certificate, Order))


def test_a_challenge_that_is_being_set_up_counts(client: Client, look: Look) -> None:
    check(client, challenge="new:dns01_manual", dns_names=f"*.{HOST}")
    assert look.asked[0][2]["method_kind"] == "dns01_manual"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dns_names": ""}, "Type at least one DNS name"),
        ({"dns_names": "a b"}, "Not checked"),
        ({"directory": "other", "directory_url": "http://ca.example"}, "https://"),
    ],
)
def test_what_cannot_be_looked_at_is_said(client: Client, look: Look, given: dict[str, str], words: str) -> None:
    text = check(client, **given)
    assert "Not checked" in text
    assert words in text
    assert not look.asked


def test_a_request_is_looked_at_with_its_account(client: Client, look: Look) -> None:
    account = stock.account()
    AcmeAccount.objects.update(terms_agreed_at="2026-01-01T00:00Z")
    given = {"names": "a.example.com", "account": str(account.pk)}
    assert "Nothing stands" in client.post(reverse("certificate-request-check"), given).content.decode()
    assert look.asked[0][:2] == (["a.example.com"], Target.of(AcmeAccount.objects.get()))
    assert "Not checked" in client.post(reverse("certificate-request-check"), {"names": ""}).content.decode()


@pytest.mark.parametrize("name", ["lets-encrypt-check", "certificate-request-check"])
def test_only_administrators_may_look(onlooker: Client, look: Look, name: str) -> None:
    assert onlooker.post(reverse(name), {"dns_names": HOST}).status_code in {302, 403}
    assert not look.asked
