"""Configuration ➜ CA accounts: what each page shows, who may change, and what becomes of each action."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from certs.acme.directories import DirectoryInfo
from certs.domain.errors import AcmeRetry
from certs.forms import accounts as accounts_forms
from certs.models import AcmeAccount, AcmeDirectory, AuditEvent
from certs.services import accounts
from certs.services.accounts import account_eab_store, external_account
from certs.services.ledger import limits_of
from portal import clock
from tests import stock
from tests.acme.fake_ca import FakeCa

LIST = "/configuration/accounts/"
NEW = "/configuration/accounts/new/"
TERMS = "https://acme.example/t"
HMAC = "A" * 43
ACTIONS = ("register", "contacts", "terms", "eab", "rollover", "staging", "limits", "deactivate")


@pytest.fixture(autouse=True)
def ca(monkeypatch: pytest.MonkeyPatch) -> FakeCa:
    fake = FakeCa(terms=TERMS)
    monkeypatch.setattr(accounts, "session", fake.session)
    return fake


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def say(info: DirectoryInfo | Exception) -> None:
        def read(url: str, **_: Any) -> DirectoryInfo:
            if isinstance(info, Exception):
                raise info
            return info

        monkeypatch.setattr(accounts_forms, "directory_read", read)

    return say


def at(account: AcmeAccount, action: str = "") -> str:
    return reverse(f"ca-account-{action}" if action else "ca-account", args=[account.pk])


def text(response: Any) -> str:
    page: str = response.content.decode()
    return page


def registered(**fields: Any) -> AcmeAccount:
    account = stock.account()
    AcmeAccount.objects.filter(pk=account.pk).update(**{"account_url": "https://acme.example/acct/7", **fields})
    account.refresh_from_db()
    return account


def given(**fields: Any) -> dict[str, Any]:
    said = {"directory": "letsencrypt", "email": "", "accept_terms": "on", "terms_seen": TERMS}
    return {**said, "directory_url": "", "ca_bundle": "", "eab_kid": "", "eab_hmac": "", **fields}


def test_everybody_sees_and_administrators_change(client: Client, onlooker: Client, stranger: Client) -> None:
    account = registered()
    for page in (LIST, at(account)):
        assert client.get(page).status_code == onlooker.get(page).status_code == 200
        assert stranger.get(page).status_code == 302
        assert "Give up" not in text(onlooker.get(page))
    for address in (NEW, *(at(account, action) for action in ACTIONS)):
        assert onlooker.post(address).status_code == 403
        assert stranger.post(address).status_code == 302
    assert AcmeAccount.objects.get().deactivated_at is None
    assert client.post(reverse("ca-account-register", args=[uuid4()])).status_code == 404


def test_the_list_says_what_is_known_and_what_is_wrong(client: Client) -> None:
    assert "There is none yet" in text(client.get(LIST))
    account = registered(eab_kid="kid-77")
    stock.issued("www.example.com")
    page = text(client.get(LIST))
    for words in ("acme.example", "https://acme.example/acct/7", "registered"):
        assert words in page
    AcmeDirectory.objects.create(directory_url=account.directory_url, terms_url="https://acme.example/t2")
    page = text(client.get(LIST))
    assert "The terms of service have changed: https://acme.example/t2" in page
    assert "1 of 1 with something to look at" in text(client.get("/configuration/"))
    page = text(client.get(at(account)))
    for words in ("kid-77", "used and dropped", "www.example.com", TERMS):
        assert words in page


def test_the_hmac_key_is_never_shown(client: Client) -> None:
    account = stock.account()
    response = client.post(at(account, "eab"), {"eab_kid": "kid-1", "eab_hmac": HMAC, "eab_algorithm": "HS384"})
    assert response.status_code == 302
    kept = AcmeAccount.objects.get()
    assert kept.eab_kid == "kid-1"
    assert HMAC not in kept.eab_sealed
    page = text(client.get(at(account)))
    assert "kid-1" in page
    assert "waits for the registration" in page
    assert HMAC not in page
    refused = text(client.post(at(account, "eab"), {"eab_kid": "kid-1", "eab_hmac": "secret-but-no-base64!"}))
    assert "cannot be read" in refused
    assert "secret-but" not in refused
    assert "secret" not in str(list(AuditEvent.objects.values_list("after", flat=True)))


def test_an_account_is_made_and_registered_once_the_terms_are_accepted(
    client: Client, ca: FakeCa, directory: Callable[..., None]
) -> None:
    directory(DirectoryInfo(terms_url=TERMS))
    page = text(client.post(NEW, given(accept_terms="")))
    assert f"Read the terms at {TERMS}" in page
    page = text(client.post(NEW, given(terms_seen="https://acme.example/older")))
    assert "changed meanwhile" in page
    assert not AcmeAccount.objects.exists()
    response = client.post(NEW, given(email="A@Example.com"), follow=True)
    assert "is registered at its CA" in text(response)
    account = AcmeAccount.objects.get()
    assert (account.email, account.terms_url) == ("a@example.com", TERMS)
    assert account.account_url == "https://ca/account/1"
    assert ca.calls["account_register"] == 1


def test_a_ca_that_wants_an_external_account_gets_one(client: Client, directory: Callable[..., None]) -> None:
    directory(DirectoryInfo(terms_url=TERMS, eab_required=True))
    assert "needs an external account" in text(client.post(NEW, given()))
    assert client.post(NEW, given(eab_kid="k", eab_hmac=HMAC)).status_code == 302
    account = AcmeAccount.objects.get()
    assert (account.eab_kid, account.eab_sealed) == ("k", ""), "used and dropped"


def test_a_ca_that_does_not_answer_is_named_and_nothing_is_stored(
    client: Client, directory: Callable[..., None]
) -> None:
    directory(AcmeRetry("It cannot be reached."))
    assert "It cannot be reached" in text(client.post(NEW, given()))
    assert "Type the address" in text(client.post(NEW, given(directory="other")))
    assert not AcmeAccount.objects.exists()


def test_a_registration_that_fails_keeps_the_account_and_says_why(
    client: Client, ca: FakeCa, directory: Callable[..., None]
) -> None:
    directory(DirectoryInfo(terms_url=TERMS))
    ca.fail["account_register"] = [AcmeRetry("Too busy.")]
    page = text(client.post(NEW, given(), follow=True))
    assert "Too busy." in page
    account = AcmeAccount.objects.get()
    assert "is registered at its CA" in text(client.post(at(account, "register"), follow=True))


def test_the_email_is_changed_at_the_ca_first(client: Client, ca: FakeCa) -> None:
    account = registered()
    ca.fail["account_update"] = [AcmeRetry("Not now.")]
    assert "Not now." in text(client.post(at(account, "contacts"), {"email": "n@example.com"}))
    assert AcmeAccount.objects.get().email == ""
    client.post(at(account, "contacts"), {"email": "N@example.com"})
    assert (AcmeAccount.objects.get().email, ca.contact) == ("n@example.com", "n@example.com")
    assert "valid email" in text(client.post(at(account, "contacts"), {"email": "no"}))


def test_an_email_that_another_account_has_is_refused(client: Client, ca: FakeCa) -> None:
    account = registered()
    other = AcmeAccount.objects.create(directory_url=account.directory_url, email="o@example.com", key=account.key)
    assert "has o@example.com already" in text(client.post(at(account, "contacts"), {"email": other.email}))
    assert ca.calls["account_update"] == 0


def test_only_the_terms_that_were_shown_are_accepted(client: Client) -> None:
    account = registered()
    AcmeDirectory.objects.create(directory_url=account.directory_url, terms_url="https://acme.example/t2")
    assert "New terms of service" in text(client.get(at(account)))
    assert "Read them again" in text(client.post(at(account, "terms"), {"terms": "https://acme.example/t1"}))
    assert AcmeAccount.objects.get().terms_url == TERMS
    client.post(at(account, "terms"), {"terms": "https://acme.example/t2"})
    assert AcmeAccount.objects.get().terms_url == "https://acme.example/t2"
    assert "New terms of service" not in text(client.get(at(account)))


def test_terms_that_are_no_web_address_are_no_link(client: Client) -> None:
    account = registered(terms_url="javascript:alert(1)")
    AcmeDirectory.objects.create(directory_url=account.directory_url, terms_url="javascript:alert(2)")
    assert 'href="javascript' not in text(client.get(at(account)))


def test_the_key_is_changed(client: Client) -> None:
    account = registered()
    assert "has a new key" in text(client.post(at(account, "rollover"), follow=True))
    assert AcmeAccount.objects.get().key != account.key
    bare = AcmeAccount.objects.create(directory_url="https://other.example/d", key=account.key)
    assert "not registered yet" in text(client.post(at(bare, "rollover"), follow=True))


def test_limits_of_ones_own_are_set_and_shown(client: Client) -> None:
    account = registered()
    assert "none known" in text(client.get(at(account)))
    for wrong in ("set", "sets=5/168", "set=0/168", "set=5/168\nset=4/168"):
        assert client.post(at(account, "limits"), {"limits": wrong}).status_code == 200
        assert limits_of(stock.DIRECTORY) == []
    client.post(at(account, "limits"), {"limits": "set=5/168\n\n account=100/3 "})
    page = text(client.get(at(account)))
    assert "5 certificates per exact set of names in 7 days<br>100 orders per account in 3 hours" in page
    assert "set=5/168\naccount=100/3</textarea>" in page
    client.post(at(account, "limits"), {"limits": ""})
    assert limits_of(stock.DIRECTORY) == []


def test_a_staging_directory_is_set_for_a_ca_that_nobody_knows(client: Client) -> None:
    account = registered()
    for wrong in ("http://x.example/d", "no", account.directory_url):
        assert client.post(at(account, "staging"), {"staging": wrong}).status_code == 200
    client.post(at(account, "staging"), {"staging": "https://staging.example/d"})
    assert AcmeDirectory.objects.get().rehearsal_url == "https://staging.example/d"
    assert "https://staging.example/d" in text(client.get(at(account)))
    assert AuditEvent.objects.filter(action="account.staging").count() == 1


def test_giving_up_wants_the_name_typed_and_no_certificate_left(client: Client, ca: FakeCa) -> None:
    account = registered()
    certificate = stock.issued("www.example.com")
    assert "not the same" in text(client.post(at(account, "deactivate"), {"typed": "x"}))
    page = text(client.post(at(account, "deactivate"), {"typed": "acme.example"}))
    assert "Certificates renew with this account: www.example.com" in page
    assert ca.calls["account_deactivate"] == 0
    type(certificate).objects.update(auto_renew=False)
    assert "given up" in text(client.post(at(account, "deactivate"), {"typed": "acme.example"}, follow=True))
    assert AcmeAccount.objects.get().deactivated_at is not None
    page = text(client.get(at(account)))
    assert "Give up this account" not in page
    for action in ("register", "rollover", "contacts"):
        assert "was deactivated" in text(client.post(at(account, action), {"email": "z@example.com"}, follow=True))


def test_the_admin_hides_the_sealed_key_and_acts_through_services(client: Client, ca: FakeCa) -> None:
    account = stock.account()
    account_eab_store(account, external_account("kid-1", HMAC), actor="test")
    page = text(client.get(f"/admin/certs/acmeaccount/{account.pk}/change/"))
    assert "kid-1" in page
    assert account.eab_sealed not in page
    page = text(
        client.post(
            "/admin/certs/acmeaccount/", {"action": "register", "_selected_action": str(account.pk)}, follow=True
        )
    )
    assert "is registered" in page
    assert AcmeAccount.objects.get().account_url
    page = text(
        client.post(
            "/admin/certs/acmeaccount/", {"action": "change_key", "_selected_action": str(account.pk)}, follow=True
        )
    )
    assert "gets a new key" in page
    AcmeAccount.objects.update(deactivated_at=clock.now())
    assert "given up" in text(client.get("/admin/certs/acmeaccount/"))
