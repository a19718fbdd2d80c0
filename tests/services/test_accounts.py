"""Accounts: one per directory and address, its key made before the CA is asked, terms only when accepted."""

from typing import Any

import pytest

from certs.acme.directories import DirectoryInfo
from certs.domain.errors import AcmeRefused, InputError
from certs.models import AcmeAccount, AuditEvent, PrivateKey
from certs.services.account_changes import account_terms_accept, account_terms_new
from certs.services.accounts import account_get_or_create, account_register, account_session
from tests.harness import pki

pytestmark = pytest.mark.django_db
DIRECTORY = "https://ca.example/directory"


def make(**options: Any) -> AcmeAccount:
    return account_get_or_create(**{"directory_url": DIRECTORY, "email": "a@example.test", "actor": "test", **options})


def test_the_same_account_is_found_again_with_its_key() -> None:
    first, second = make(), make()
    assert first == second
    assert first.key == second.key
    assert first.key.key_type == "ec-p256"
    assert PrivateKey.objects.count() == 1
    assert AuditEvent.objects.filter(action="account.create").count() == 1


def test_another_address_or_directory_is_another_account() -> None:
    assert len({make().pk, make(email="").pk, make(directory_url="https://other.example/d").pk}) == 3


def test_what_is_given_anew_replaces_what_was_stored() -> None:
    first = make()
    root = pki.authority().pem
    second = make(ca_bundle=root, allow_private=True, terms_url="https://ca.example/terms")
    assert (second.pk, second.ca_bundle, second.allow_private) == (first.pk, root, True)
    assert second.terms_agreed_at is not None
    agreed = second.terms_agreed_at
    assert make(terms_url="https://ca.example/terms").terms_agreed_at == agreed
    assert make(terms_url="https://ca.example/terms/2").terms_agreed_at > agreed


def test_terms_once_accepted_stay_so_when_not_named_again() -> None:
    make(terms_url="https://ca.example/terms")
    kept = make()
    assert kept.terms_url == "https://ca.example/terms"
    assert kept.terms_agreed_at is not None


@pytest.mark.parametrize(
    "url", ["http://ca.example/directory", "", "ca.example", "https://", "https://u:p@ca.example/"]
)
def test_only_https_directories(url: str) -> None:
    with pytest.raises(InputError):
        make(directory_url=url)
    assert not AcmeAccount.objects.exists()
    assert not PrivateKey.objects.exists()


def test_a_bundle_that_cannot_be_read_stores_nothing() -> None:
    with pytest.raises(InputError, match="CA bundle"):
        make(ca_bundle="nonsense")
    assert not AcmeAccount.objects.exists()


class Client:
    def __init__(self, terms: str = "") -> None:
        self.info = DirectoryInfo(terms_url=terms)
        self.told: list[dict[str, Any]] = []

    def account_register(self, **told: Any) -> str:
        self.told.append(told)
        return "https://ca.example/account/1"


def test_registration_stores_the_accounts_address() -> None:
    account, client = make(terms_url="https://ca.example/terms"), Client("https://ca.example/terms")
    account_register(client, account)  # type: ignore[arg-type]
    assert AcmeAccount.objects.get().account_url == "https://ca.example/account/1"
    assert client.told == [{"email": "a@example.test", "terms_agreed": True}]


def test_other_terms_than_those_accepted_are_not_agreed_to() -> None:
    """The CA may have changed them before it lost the account; its staging directory may name its own."""
    account, client = make(terms_url="https://ca.example/terms"), Client("https://ca.example/terms/2")
    with pytest.raises(AcmeRefused, match="have changed since") as caught:
        account_register(client, account)  # type: ignore[arg-type]
    assert "https://ca.example/terms/2" in caught.value.advice
    assert client.told == []
    assert account_terms_new(account) == "https://ca.example/terms/2"
    account_terms_accept(account, account_terms_new(account), actor="test")
    account_register(client, account)  # type: ignore[arg-type]
    assert client.told == [{"email": "a@example.test", "terms_agreed": True}]


def test_terms_nobody_accepted_are_not_agreed_to() -> None:
    client = Client("https://ca.example/terms")
    with pytest.raises(AcmeRefused, match="have not been accepted") as caught:
        account_register(client, make())  # type: ignore[arg-type]
    assert "https://ca.example/terms" in caught.value.advice
    assert not client.told


def test_a_session_opens_the_key_only_when_it_is_needed(settings: Any) -> None:
    settings.ALLOW_PRIVATE_CA = False
    account = make()
    wanted = account_session(account)
    assert wanted.key is not None
    assert wanted.key().key_size == 256  # type: ignore[union-attr]
    assert not wanted.allow_private
    assert str(account.key.pk) in wanted.uid
    settings.ALLOW_PRIVATE_CA = True
    assert account_session(account).allow_private
