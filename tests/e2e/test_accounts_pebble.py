"""Accounts at pebble: external binding, contacts, change of key under kills, the end, and an account the CA lost."""

import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from os import urandom
from uuid import uuid4

import pytest
from django.db import connection

from certs.acme.client import AcmeClient
from certs.acme.sessions import session, sessions_forget
from certs.domain import states
from certs.domain.errors import AcmeRefused, AcmeRetry, ConflictError
from certs.models import AcmeAccount, AuditEvent, Certificate, LedgerEntry, Order
from certs.services import account_changes
from certs.services.account_changes import (
    account_contacts,
    account_deactivate,
    account_register_now,
    account_rollover,
    account_rollover_settle,
    accounts_settle,
)
from certs.services.accounts import account_eab_store, account_get_or_create, account_session, external_account
from certs.services.keys import key_open
from tests.harness.issuing import Responder, account_at, advance, order_for
from tests.harness.need import need
from tests.harness.pebble import Pebble

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True, serialized_rollback=True)]
TERMS = "data:text/plain,Do%20what%20thou%20wilt"
HMAC = urlsafe_b64encode(urandom(32)).rstrip(b"=").decode()


class Killed(BaseException):
    """kill -9, as far as a process can play it: nothing after it runs, nothing catches it."""


@pytest.fixture
def responder() -> Iterator[Responder]:
    with Responder() as running:
        yield running
    sessions_forget()


@pytest.fixture
def ca(responder: Responder) -> Iterator[Pebble]:
    need("pebble")
    with Pebble(http_port=responder.port) as running:
        yield running


def registered(ca: Pebble, email: str = "") -> AcmeAccount:
    account = account_at(ca, email)
    account_register_now(account, actor="test")
    return AcmeAccount.objects.get(pk=account.pk)


def works(account: AcmeAccount) -> bool:
    """Whether the CA takes what is signed with the account's key, by a session that knows nothing yet."""
    sessions_forget()
    with session(account_session(AcmeAccount.objects.get(pk=account.pk))) as client:
        return client.account_read().status == "valid"


def test_an_external_account_key_is_used_once_and_dropped(responder: Responder) -> None:
    need("pebble")
    with Pebble(http_port=responder.port, eab={"kid-1": HMAC}) as ca:
        bare = account_at(ca)
        with pytest.raises(AcmeRefused, match="needs an external account binding") as caught:
            account_register_now(bare, actor="test")
        assert "CA accounts" in caught.value.advice

        account_eab_store(bare, external_account("kid-1", urlsafe_b64encode(urandom(32)).decode()), actor="test")
        with pytest.raises(AcmeRefused):
            account_register_now(bare, actor="test")
        kept = AcmeAccount.objects.get()
        assert kept.eab_sealed, "a key that did not work is kept until another is given"

        account_eab_store(kept, external_account("kid-1", HMAC + "=="), actor="test")
        order = advance(order_for(kept))
        assert order.state == states.DONE, order.error_message
        after = AcmeAccount.objects.get()
        assert (after.eab_kid, after.eab_sealed) == ("kid-1", "")
        assert after.account_url
        # The answer was lost: the account is found again, without any binding.
        AcmeAccount.objects.update(account_url="")
        account_register_now(AcmeAccount.objects.get(), actor="test")
        assert AcmeAccount.objects.get().account_url == after.account_url


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_every_mac_algorithm_of_the_rfc(responder: Responder, algorithm: str) -> None:
    need("pebble")
    key = urlsafe_b64encode(urandom(64)).rstrip(b"=").decode()
    with Pebble(http_port=responder.port, eab={"k": key}) as ca:
        account = account_get_or_create(
            directory_url=ca.directory_url,
            email="",
            ca_bundle=ca.ca_bundle_pem,
            allow_private=True,
            terms_url=TERMS,
            eab=external_account("k", key, algorithm),
            actor="test",
        )
        account_register_now(account, actor="test")
        assert works(account)


def test_contacts_are_changed_at_the_ca(ca: Pebble) -> None:
    account = registered(ca, "old@example.test")
    account_contacts(account, "new@example.test", actor="test")
    with session(account_session(account)) as client:
        assert client.account_read().contacts == ("mailto:new@example.test",)
    account_contacts(account, "", actor="test")
    with session(account_session(account)) as client:
        assert client.account_read().contacts == ()
    assert AcmeAccount.objects.get().email == ""


def test_a_new_key_signs_the_next_order(ca: Pebble) -> None:
    account = registered(ca)
    before = account.key
    assert account_rollover(account, actor="test")
    after = AcmeAccount.objects.get()
    assert after.key != before
    assert after.next_key is None
    assert works(after)
    order = advance(order_for(after))
    assert order.state == states.DONE, order.error_message
    assert AuditEvent.objects.filter(action="account.rollover", result="ok").count() == 1


def test_the_old_key_is_worth_nothing_after_the_change(ca: Pebble) -> None:
    account = registered(ca)
    key = key_open(account.key)
    old = replace(account_session(account), key=lambda: key)
    account_rollover(account, actor="test")
    sessions_forget()
    with pytest.raises((AcmeRefused, AcmeRetry)), session(old) as client:
        client.account_read()


KILLS = ["after the key is stored", "before the CA is asked", "after the CA has changed it", "before it is written"]


@pytest.mark.parametrize("moment", KILLS)
@pytest.mark.parametrize("by", ["tick", "order", "again"])
def test_a_change_of_key_survives_a_kill_at_each_step(
    ca: Pebble, monkeypatch: pytest.MonkeyPatch, moment: str, by: str
) -> None:
    account = registered(ca)
    with monkeypatch.context() as patch:
        _kill(patch, moment)
        with pytest.raises(Killed):
            account_rollover(account, actor="test")
    sessions_forget()
    assert AcmeAccount.objects.get().next_key is not None, "stored before the CA is asked"

    if by == "tick":
        assert accounts_settle() == 1
    elif by == "order":
        order = advance(order_for(AcmeAccount.objects.get()))
        assert order.state == states.DONE, order.error_message
    else:
        assert account_rollover(AcmeAccount.objects.get(), actor="test")
    after = AcmeAccount.objects.get()
    assert after.next_key is None
    assert after.key != account.key or moment in KILLS[:2]
    assert after.account_url == account.account_url
    assert works(after)


def _kill(patch: pytest.MonkeyPatch, moment: str) -> None:
    def die(*_: object, **__: object) -> None:
        raise Killed

    change = AcmeClient.account_rollover

    def change_and_die(client: AcmeClient, key: object) -> None:
        change(client, key)  # type: ignore[arg-type]
        raise Killed

    match moment:
        case "after the key is stored":
            patch.setattr(account_changes, "account_rollover_settle", die)
        case "before the CA is asked":
            patch.setattr(AcmeClient, "account_rollover", die)
        case "after the CA has changed it":
            patch.setattr(AcmeClient, "account_rollover", change_and_die)
        case _:
            patch.setattr(account_changes, "_rollover_done", die)


def test_a_ca_that_does_not_want_the_new_key_leaves_the_old_one(ca: Pebble, monkeypatch: pytest.MonkeyPatch) -> None:
    account = registered(ca)

    def refuse(*_: object) -> None:
        raise AcmeRefused("No.", code="acme-badPublicKey")

    with monkeypatch.context() as patch:
        patch.setattr(AcmeClient, "account_rollover", refuse)
        with pytest.raises(AcmeRefused):
            account_rollover(account, actor="test")
    after = AcmeAccount.objects.get()
    assert (after.key, after.next_key) == (account.key, None)
    assert works(after)
    assert AuditEvent.objects.filter(action="account.rollover", result="failed").exists()


def test_a_silent_ca_leaves_both_keys(ca: Pebble, monkeypatch: pytest.MonkeyPatch) -> None:
    account = registered(ca)

    def silent(*_: object, **__: object) -> None:
        raise AcmeRetry("Gone.", code="acme-unreachable")

    with monkeypatch.context() as patch:
        patch.setattr(AcmeClient, "account_rollover", silent)
        with pytest.raises(AcmeRetry):
            account_rollover(account, actor="test")
        assert accounts_settle() == 0
    assert AcmeAccount.objects.get().next_key is not None
    assert accounts_settle() == 1
    assert works(account)


def test_the_key_does_not_change_under_an_order(ca: Pebble) -> None:
    account = registered(ca)
    order = order_for(account)
    Order.objects.update(lease_owner=uuid4(), lease_until=datetime.now(UTC) + timedelta(minutes=1))
    assert not account_rollover(account, actor="test")
    assert AcmeAccount.objects.get().key == account.key
    assert accounts_settle() == 0
    Order.objects.update(lease_owner=None, lease_until=None)
    order = advance(order)
    assert order.state == states.DONE, order.error_message
    assert AcmeAccount.objects.get().key != account.key
    assert works(account)


def test_an_account_is_given_up_at_the_ca_but_not_while_certificates_need_it(ca: Pebble) -> None:
    account = registered(ca)
    order = advance(order_for(account))
    with pytest.raises(ConflictError, match=order.certificate.name):
        account_deactivate(account, actor="test")
    Certificate.objects.update(auto_renew=False)
    account_deactivate(account, actor="test")
    assert AcmeAccount.objects.get().deactivated_at is not None
    sessions_forget()
    with pytest.raises(AcmeRefused), session(account_session(account)) as client:
        client.account_read()
    AcmeAccount.objects.update(deactivated_at=None)
    with pytest.raises(AcmeRefused, match="deactivated"):
        account_register_now(AcmeAccount.objects.get(), actor="test")
    # The answer was lost: the second time finds it done.
    AcmeAccount.objects.update(deactivated_at=None)
    account_deactivate(AcmeAccount.objects.get(), actor="test")
    assert AcmeAccount.objects.get().deactivated_at is not None
    # Its place is free for a new one.
    again = registered(ca)
    assert again.pk != account.pk
    assert works(again)


def test_an_order_with_an_account_given_up_says_so(ca: Pebble) -> None:
    account = registered(ca)
    order = order_for(account)
    AcmeAccount.objects.update(deactivated_at=datetime.now(UTC))
    order = advance(order)
    assert (order.state, order.error_code) == (states.FAILED, "acme-deactivated")


def test_the_same_address_at_two_cas_is_two_accounts(ca: Pebble, responder: Responder) -> None:
    with Pebble(http_port=responder.port) as other:
        first, second = registered(ca, "a@example.test"), registered(other, "a@example.test")
        assert first.pk != second.pk
        assert first.key != second.key
        assert advance(order_for(first)).state == states.DONE
        assert advance(order_for(second)).state == states.DONE


def test_an_account_that_the_ca_lost_is_made_again(ca: Pebble) -> None:
    account = registered(ca)
    ca.stop()
    ca.start()
    sessions_forget()
    order = advance(order_for(account))
    assert order.state == states.DONE, order.error_message
    assert AcmeAccount.objects.get().key == account.key
    assert works(account)


def test_asking_for_an_account_finds_it_or_makes_it_again(ca: Pebble) -> None:
    account = registered(ca)
    url, made = account.account_url, LedgerEntry.objects.count()
    account_register_now(account, actor="test")
    assert (AcmeAccount.objects.get().account_url, LedgerEntry.objects.count()) == (url, made)
    ca.stop()
    ca.start()
    sessions_forget()
    account_register_now(account, actor="test")
    assert LedgerEntry.objects.count() == made + 1
    assert works(account)


def test_two_that_settle_the_same_change_at_once_agree(ca: Pebble, monkeypatch: pytest.MonkeyPatch) -> None:
    account = registered(ca)
    with monkeypatch.context() as patch:
        _kill(patch, KILLS[0])
        with pytest.raises(Killed):
            account_rollover(account, actor="test")
    together = threading.Barrier(3)
    wrong: list[Exception] = []

    def settle() -> None:
        try:
            row = AcmeAccount.objects.select_related("key", "next_key").get(pk=account.pk)
            together.wait()
            assert account_rollover_settle(row)
        except Exception as error:
            wrong.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=settle) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    after = AcmeAccount.objects.get()
    assert (after.next_key, after.key != account.key) == (None, True)
    assert works(after)
    assert AuditEvent.objects.filter(action="account.rollover", result="ok").count() == 1
