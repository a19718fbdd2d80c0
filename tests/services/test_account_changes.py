"""Changes of an account: never signed with a key that the CA may have given up, never asked of one that wants rest."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certs.acme.problems import Problem, failure
from certs.domain.errors import AcmeRetry, ConflictError
from certs.models import AcmeAccount, AuditEvent, PrivateKey
from certs.services import accounts
from certs.services.account_changes import (
    account_contacts,
    account_deactivate,
    account_register_now,
    account_rollover,
    account_rollover_settle,
)
from certs.services.accounts import directory_read
from certs.services.holds import HELD, directory_held, directory_hold
from certs.services.keys import key_create
from certs.services.preflight import preflight_run
from certs.services.preflight_names import Target
from certs.services.revocations import version_revoke
from tests import stock
from tests.acme.fake_ca import FakeCa

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


class KeyedCa(FakeCa):
    """Notes which key each session signs with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.signed: list[str] = []

    @contextmanager
    def session(self, account: Any) -> Iterator["FakeCa"]:
        self.signed.append(account.uid.partition("/")[2])
        with super().session(account) as ca:
            yield ca


@pytest.fixture
def ca(monkeypatch: pytest.MonkeyPatch) -> KeyedCa:
    fake = KeyedCa(accounts={"https://acme.example/acct/7"})
    monkeypatch.setattr(accounts, "session", fake.session)
    return fake


@pytest.fixture
def account() -> AcmeAccount:
    row = stock.account()
    AcmeAccount.objects.filter(pk=row.pk).update(account_url="https://acme.example/acct/7")
    return AcmeAccount.objects.get(pk=row.pk)


def overloaded() -> AcmeRetry:
    problem = Problem.from_document({"type": "urn:ietf:params:acme:error:serverInternal"}, 503)
    error = failure(problem, "acme.example", retry_at=datetime.now(UTC) + HOUR)
    assert isinstance(error, AcmeRetry)
    return error


@pytest.mark.parametrize(
    "change",
    [
        lambda row: account_deactivate(row, actor="test"),
        lambda row: account_contacts(row, "n@example.com", actor="test"),
        lambda row: account_register_now(row, actor="test"),
    ],
    ids=["deactivate", "contacts", "register"],
)
def test_a_key_that_the_ca_has_taken_already_signs(
    ca: KeyedCa, account: AcmeAccount, change: Callable[[AcmeAccount], None]
) -> None:
    """Its answer was lost. To the old key the CA says “unauthorized”, as it does of an account that was given up."""
    account.next_key = new = key_create("ec-p256")
    account.save()
    change(account)
    assert set(ca.signed) == {str(new.pk)}
    row = AcmeAccount.objects.get()
    assert (row.key, row.next_key) == (new, None)


def test_of_two_who_change_the_address_the_first_is_told_to_the_ca_last(ca: KeyedCa, account: AcmeAccount) -> None:
    """No lock is held while the CA is asked."""

    def another() -> None:
        ca.on.pop("account_update")
        account_contacts(AcmeAccount.objects.get(), "first@example.com", actor="test")

    ca.on["account_update"] = another
    with pytest.raises(ConflictError, match="Somebody else"):
        account_contacts(account, "second@example.com", actor="test")
    assert (AcmeAccount.objects.get().email, ca.contact) == ("first@example.com", "first@example.com")
    assert AuditEvent.objects.filter(action="account.contacts").count() == 1


def test_who_comes_late_does_not_bring_back_a_former_key(ca: KeyedCa, account: AcmeAccount) -> None:
    account.next_key = key_create("ec-p256")
    account.save()
    late = AcmeAccount.objects.get()
    account_rollover_settle(account, actor="test")
    account_rollover(account, actor="test")
    newest = AcmeAccount.objects.get().key
    assert newest not in {late.key, late.next_key}
    account_rollover_settle(late, actor="test")
    assert AcmeAccount.objects.get().key == newest
    assert PrivateKey.objects.filter(pk=newest.pk).exists()


def test_nothing_is_asked_of_a_ca_that_wants_rest(ca: KeyedCa, account: AcmeAccount) -> None:
    version = stock.issued("a.example").current
    assert version is not None
    version.certificate.account = account
    version.certificate.save()
    directory_hold(account.directory_url, HOUR)
    wishes: list[Callable[[], object]] = [
        lambda: account_contacts(account, "n@example.com", actor="test"),
        lambda: account_register_now(account, actor="test"),
        lambda: account_rollover(account, actor="test"),
        lambda: account_deactivate(AcmeAccount.objects.create(directory_url=account.directory_url, **known), actor="t"),
        lambda: version_revoke(version, "superseded", actor="test"),
        lambda: directory_read(account.directory_url),
    ]
    known = {"email": "o@example.com", "key": account.key, "account_url": "https://acme.example/acct/8"}
    for wish in wishes:
        with pytest.raises(AcmeRetry, match="left alone until") as refused:
            wish()
        assert refused.value.code == HELD
    assert not ca.calls
    version.refresh_from_db()
    assert version.revoked_at is None
    found = preflight_run(["a.example"], Target.of(account), seconds=0.1)
    assert any("left alone until" in one.sentence for one in found)


def test_what_the_ca_says_to_one_wish_holds_for_all(ca: KeyedCa, account: AcmeAccount) -> None:
    ca.fail["account_update"] = [overloaded()]
    with pytest.raises(AcmeRetry):
        account_contacts(account, "n@example.com", actor="test")
    assert directory_held(account.directory_url) is not None
    with pytest.raises(AcmeRetry, match="left alone"):
        account_contacts(account, "n@example.com", actor="test")
    assert ca.calls["account_update"] == 1


def test_a_limit_of_new_accounts_is_kept_to(ca: KeyedCa) -> None:
    row = stock.account()
    limited = failure(Problem.from_document({}, 429), "acme.example", retry_at=datetime.now(UTC) + HOUR)
    ca.fail["account_register"] = [limited]
    for _ in range(2):
        with pytest.raises(AcmeRetry):
            account_register_now(row, actor="test")
    assert ca.calls["account_register"] == 1
