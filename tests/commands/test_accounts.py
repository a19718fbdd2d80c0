"""`manage.py accounts` and `manage.py revoke`."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from certs.acme.directories import DirectoryInfo
from certs.domain.errors import AcmeRetry
from certs.management.commands import accounts as command
from certs.models import AcmeAccount, AcmeDirectory, Certificate, CertificateVersion
from certs.services import accounts
from tests import stock
from tests.acme.fake_ca import FakeCa
from tests.commands.running import run

pytestmark = pytest.mark.django_db
TERMS = "https://acme.example/t"
HMAC = "B" * 43


@pytest.fixture(autouse=True)
def ca(monkeypatch: pytest.MonkeyPatch) -> FakeCa:
    fake = FakeCa(terms=TERMS)
    monkeypatch.setattr(accounts, "session", fake.session)
    monkeypatch.setattr(command, "directory_read", lambda url, **_: DirectoryInfo(terms_url=TERMS))
    return fake


def account(**fields: Any) -> AcmeAccount:
    row = stock.account()
    AcmeAccount.objects.filter(pk=row.pk).update(**{"account_url": "https://acme.example/acct/7", **fields})
    return AcmeAccount.objects.get(pk=row.pk)


def test_none_yet_is_said() -> None:
    assert "no account yet" in run("accounts").out


def test_the_list_tells_what_the_page_tells() -> None:
    row = account(email="a@example.com", eab_kid="kid-3")
    AcmeDirectory.objects.create(directory_url=row.directory_url, trouble="It cannot be reached.")
    ran = run("accounts", "list")
    for words in (
        str(row.pk),
        "acme.example",
        "a@example.com",
        "acct/7",
        "terms accepted",
        "kid-3",
        "cannot be reached",
    ):
        assert words in ran.out
    shown = run("accounts", "list", "--json").json["accounts"]
    assert [(one["id"], one["state"], one["eab_kid"]) for one in shown] == [(str(row.pk), "registered", "kid-3")]


def test_terms_are_accepted_by_the_person_who_registers(ca: FakeCa) -> None:
    ran = run("accounts", "register", "letsencrypt-staging")
    assert (ran.code, AcmeAccount.objects.count()) == (4, 0)
    assert TERMS in ran.err
    ran = run("accounts", "register", "letsencrypt-staging", "--accept-terms", "--email", "A@example.com")
    assert ran.code == 0, ran.err
    row = AcmeAccount.objects.get()
    assert (row.email, row.account_url) == ("a@example.com", "https://ca/account/1")


def test_the_hmac_key_comes_from_a_file_or_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("accounts", "register", "https://ca.example/d", "--accept-terms", "--eab-kid", "k")
    monkeypatch.setattr("sys.stdin", StringIO("no key!"))
    assert "cannot be read" in run(*words).err
    file = tmp_path / "hmac"
    file.write_text(f"{HMAC}\n")
    assert run(*words, "--eab-hmac-file", file).code == 0
    monkeypatch.setattr("sys.stdin", StringIO(HMAC))
    assert run(*words, "--email", "b@example.com").code == 0
    assert [row.eab_sealed for row in AcmeAccount.objects.all()] == ["", ""], "used and dropped"


def test_contacts_key_and_terms_are_changed(ca: FakeCa) -> None:
    row = account()
    assert run("accounts", "contacts", "acme.example", "--email", "n@example.com").code == 0
    assert ca.contact == "n@example.com"
    assert "new key" in run("accounts", "rollover", row.pk).out
    assert AcmeAccount.objects.get().key != row.key
    assert "not changed" in run("accounts", "terms", row.pk).out
    AcmeDirectory.objects.create(directory_url=row.directory_url, terms_url=f"{TERMS}2")
    assert f"{TERMS}2" in run("accounts", "terms", row.pk).out
    assert AcmeAccount.objects.get().terms_url == f"{TERMS}2"


def test_giving_up_wants_a_yes(ca: FakeCa) -> None:
    row = account()
    assert run("accounts", "deactivate", row.pk).code == 4
    assert ca.calls["account_deactivate"] == 0
    assert run("accounts", "deactivate", row.pk, "--yes").code == 0
    assert "given up" in run("accounts").out
    assert run("accounts", "rollover", row.pk).code == 4


def test_an_account_is_not_guessed() -> None:
    row = account()
    AcmeAccount.objects.create(directory_url=row.directory_url, email="o@example.com", key=row.key)
    ran = run("accounts", "rollover", "acme.example")
    assert (ran.code, "fits several" in ran.err) == (4, True)
    assert run("accounts", "rollover", "nobody").code == 4


def test_what_the_ca_says_is_an_exit_code(ca: FakeCa) -> None:
    row = account()
    ca.fail["account_update"] = [AcmeRetry("Too busy.")]
    ran = run("accounts", "contacts", row.pk, "--email", "n@example.com")
    assert (ran.code, "Too busy." in ran.err) == (4, True)


def test_a_certificate_is_revoked_by_name_or_fingerprint(ca: FakeCa) -> None:
    first, second = stock.issued("a.example"), stock.issued("b.example")
    assert second.current is not None
    assert "is revoked" in run("revoke", "a.example", "--reason", "superseded").out
    assert run("revoke", second.current.fingerprint_sha256[:12], "--reason", "keyCompromise", "--by-key").code == 0
    assert ca.revoked == [(4, False), (1, True)]
    assert CertificateVersion.objects.exclude(revoked_at=None).count() == 2
    assert run("revoke", "a.example").code == 0, "revoked already"
    assert len(ca.revoked) == 2
    assert Certificate.objects.get(pk=first.pk).last_decision == "revoked"


def test_what_cannot_be_revoked_says_why(ca: FakeCa) -> None:
    stock.uploaded("own.example")
    for name, why in (("own.example", "not ordered here"), ("nobody.example", "No certificate is called")):
        ran = run("revoke", name)
        assert (ran.code, why in ran.err) == (4, True)
    assert run("revoke", "own.example", "--reason", "whim").code == 2
    assert not ca.revoked
