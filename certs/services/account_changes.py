"""What people change about an account at a CA: register it, its e-mail, its terms, its key, and its end."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from certs.acme.client import AcmeClient
from certs.acme.directories import directory_label
from certs.domain.errors import AcmeRefused, AcmeRetry, BinderyError, ConflictError, InputError
from certs.domain.roles import Right
from certs.models import AcmeAccount, AcmeDirectory, Certificate, Order, PrivateKey
from certs.services.access import Actor, needs
from certs.services.accounts import (
    ACCOUNT_KEY_TYPE,
    account_client,
    account_missing,
    account_register,
    account_session,
    email_check,
)
from certs.services.events import audit_record
from certs.services.holds import directory_obey
from certs.services.keys import key_create, key_open
from certs.services.ledger import ledger_account
from certs.transports.outbound import url_check
from portal import clock

log = logging.getLogger("bindery.accounts")
_SHOWN = 5  # names in a sentence


@needs(Right.ACCOUNT)
def account_register_now(account: AcmeAccount, *, actor: Actor) -> None:
    """At the CA, without waiting for an order. One that is registered is asked for, and made again where the CA has
    lost it. Network. Raises AcmeFailure, ConflictError."""
    _active(account)
    with _client(account) as client:
        if account.account_url and _still_known(client, account):
            return
        try:
            account_register(client, account, actor=actor)
        except AcmeRetry as error:
            directory_obey(account.directory_url, error, limits=True)
            raise
    ledger_account(account)


def _still_known(client: AcmeClient, account: AcmeAccount) -> bool:
    try:
        status = client.account_read().status
    except (AcmeRefused, AcmeRetry) as error:
        if account_missing(error):
            return False
        raise
    if status not in {"valid", ""}:
        raise AcmeRefused(
            f"{directory_label(account.directory_url)} shows this account as {status}.",
            advice="Make another account, and give the certificates to it.",
            code="acme-account-status",
        )
    return True


@needs(Right.ACCOUNT)
def account_contacts(account: AcmeAccount, email: str, *, actor: Actor) -> None:
    """Another address for the CA to write to, "" for none. Network.

    Raises InputError, AcmeFailure, ConflictError; that one (code "changed") also where another person was quicker: then
    the CA has theirs.
    """
    _active(account)
    email = email.strip()
    email_check(email)
    before = account.email
    if email == before:
        return
    same = AcmeAccount.objects.filter(
        organization=account.organization_id, directory_url=account.directory_url, email=email, deactivated_at=None
    )
    taken = ConflictError(
        f"Another account at {directory_label(account.directory_url)} has {email or 'no e-mail'} already.",
        advice="Give the certificates to that account, or choose another address.",
    )
    if same.exists():
        raise taken
    _contact_tell(account, email)
    try:
        with transaction.atomic():
            changed = AcmeAccount.objects.filter(pk=account.pk, email=before).update(email=email)
            if changed:
                audit_record(actor, "account.contacts", account, before={"email": before}, after={"email": email})
    except IntegrityError as error:
        raise taken from error
    account.refresh_from_db(fields=["email"])
    if not changed:
        _contact_tell(account, account.email)
        raise ConflictError("Somebody else has changed it meanwhile.", advice="Look at it again.", code="changed")


def _contact_tell(account: AcmeAccount, email: str) -> None:
    """The CA, where it knows the account."""
    if account.account_url:
        with _client(account) as client:
            client.account_update(email=email)


@needs(Right.ACCOUNT)
def account_terms_accept(account: AcmeAccount, terms_url: str, *, actor: Actor) -> None:
    """A person has read and accepted them, under the address given. No network: a CA counts the registration."""
    _active(account)
    before = {"terms": account.terms_url}
    now = clock.now()
    with transaction.atomic():
        AcmeAccount.objects.filter(pk=account.pk).update(terms_url=terms_url, terms_agreed_at=now)
        audit_record(actor, "account.terms", account, before=before, after={"terms": terms_url})
    account.terms_url, account.terms_agreed_at = terms_url, now


def account_terms_new(account: AcmeAccount) -> str:
    """The address of terms that the CA names now, where they are not those that were accepted; else ""."""
    row = AcmeDirectory.objects.filter(directory_url=account.directory_url).only("terms_url").first()
    now = row.terms_url if row else ""
    return now if now and (account.terms_agreed_at is None or now != account.terms_url) else ""


@needs(Right.ACCOUNT)
def account_rollover(account: AcmeAccount, *, actor: Actor) -> bool:
    """A new key for the account (RFC 8555 §7.3.5). True once the CA has it; False while orders under way still sign
    with the old one: the schedule then goes on with it. Network. Raises ConflictError, AcmeFailure."""
    _active(account)
    if not account.account_url:
        raise ConflictError("The account is not registered yet.", advice="Its key can be changed after that.")
    if account.next_key_id is None:
        key = key_create(ACCOUNT_KEY_TYPE)
        with transaction.atomic():
            # Stored before the CA is asked: whatever happens then, one of the two is the account's key.
            begun = AcmeAccount.objects.filter(pk=account.pk, key=account.key_id, next_key=None, deactivated_at=None)
            if begun.update(next_key=key):
                audit_record(actor, "account.rollover", account, result="begun")
        account.refresh_from_db()
    return account_rollover_settle(account, actor=actor)


@needs(Right.ACCOUNT)
def account_rollover_settle(account: AcmeAccount, *, actor: Actor = "schedule", order: Order | None = None) -> bool:
    """Go on with a change of key that was begun, also by a process that was killed: the new key is tried first, then
    the old one asks for the change. Any number may do so at once.

    False while other orders than `order` are under way, which still sign with the old key. Raises AcmeRetry where the
    CA cannot say, AcmeRefused where it does not want the new key; the old one then stays, if the CA knows that.
    """
    if account.next_key is None:
        return True
    if _under_way(account, order).exists():
        return False
    if not _holds(account, account.next_key):
        try:
            with account_client(account_session(account)) as client:
                client.account_rollover(key_open(account.next_key))
        except AcmeRefused as error:
            # Also where a lost answer was asked for again: the CA no longer takes what the old key signs.
            if not _holds(account, account.next_key):
                _rollover_drop(account, error, actor)
                raise
    _rollover_done(account, actor)
    return True


def account_ready(account: AcmeAccount, order: Order | None = None) -> None:
    """Before a flow signs as the account: a change of its key that was begun is brought to its end.

    Raises AcmeRefused for an account that was given up, AcmeRetry (code "acme-waiting") while neighbours hold the
    change up.
    """
    if account.deactivated_at is not None:
        raise AcmeRefused(
            f"The account at {directory_label(account.directory_url)} was deactivated.",
            advice="Choose another account for this certificate.",
            code="acme-deactivated",
        )
    if account.next_key_id is None:
        return
    try:
        settled = account_rollover_settle(account, order=order)
    except AcmeRefused:
        account.refresh_from_db()
        if account.next_key_id is not None:
            raise
        return  # the CA did not want it: the old key goes on
    if not settled:
        raise AcmeRetry("The key of the account is being changed.", code="acme-waiting")


def accounts_settle() -> int:
    """Changes of keys that were begun and not brought to their end; returns how many are now. A step of the tick."""
    done = 0
    begun = AcmeAccount.objects.filter(next_key__isnull=False, deactivated_at=None)
    held = AcmeDirectory.objects.filter(retry_after_at__gt=clock.now()).values("directory_url")
    for account in begun.exclude(directory_url__in=held).select_related("key"):
        try:
            done += account_rollover_settle(account)
        except BinderyError as error:
            log.warning("The key of %s could not be changed yet: %s", account, error)
    return done


@needs(Right.ACCOUNT)
def account_deactivate(account: AcmeAccount, *, actor: Actor) -> None:
    """Give it up for good, at the CA too (RFC 8555 §7.3.6). Network.

    Raises ConflictError while certificates renew with it or an order is under way, AcmeFailure. An account that the CA
    does not take any more counts as given up.
    """
    _active(account)
    users = Certificate.objects.filter(deleted_at=None).filter(
        Q(account=account, auto_renew=True) | Q(fallbacks__account=account)
    )
    names = sorted(set(users.values_list("name", flat=True)))
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise ConflictError(
            f"Certificates renew with this account: {', '.join(names[:_SHOWN])}{more}.",
            advice="Give them another account, or delete them, first.",
        )
    if Order.objects.filter(account=account, finished_at=None).exists():
        raise ConflictError("An order is under way with this account.", advice="Wait for its end, or cancel it.")
    if account.account_url:
        try:
            with _client(account) as client:
                client.account_deactivate()
        except AcmeRefused as error:
            # "unauthorized" is what a CA answers to a deactivated account (RFC 8555 §7.3.6): an answer was lost.
            if not account_missing(error) and error.code != "acme-unauthorized":
                raise
    now = clock.now()
    with transaction.atomic():
        AcmeAccount.objects.filter(pk=account.pk).update(deactivated_at=now, eab_sealed="", next_key=None)
        audit_record(actor, "account.deactivate", account, before={"url": account.account_url})
    account.deactivated_at = now


@needs(Right.ACCOUNT)
def account_staging(account: AcmeAccount, url: str, *, actor: Actor) -> None:
    """Where the CA of this account lets orders be rehearsed; "" for what is known of it. Raises InputError."""
    url = url.strip()
    if url:
        url_check(url)
    if url == account.directory_url:
        raise InputError("This is the directory itself.", advice="Give that of its staging environment.")
    row, _ = AcmeDirectory.objects.get_or_create(directory_url=account.directory_url)
    if row.rehearsal_url == url:
        return
    with transaction.atomic():
        AcmeDirectory.objects.filter(pk=row.pk).update(rehearsal_url=url)
        before, after = {"staging": row.rehearsal_url}, {"staging": url}
        audit_record(actor, "account.staging", account.directory_url, before=before, after=after)


def account_trouble(account: AcmeAccount) -> str:
    """What is to be known or done about it, in a sentence; "" where all is well."""
    label = directory_label(account.directory_url)
    directory = AcmeDirectory.objects.filter(directory_url=account.directory_url).first()
    if account.next_key_id is not None:
        return "A change of its key was begun and is not at its end."
    if account.terms_agreed_at is not None and (terms := account_terms_new(account)):
        return f"The terms of service have changed: {terms}"
    if directory is not None and directory.trouble:
        return directory.trouble
    if not account.account_url and account.eab_sealed:
        return f"Not registered yet; {label} gets the external account binding with the first order."
    return ""


@contextmanager
def _client(account: AcmeAccount) -> Iterator[AcmeClient]:
    """Signs with the key that the CA has: of one that is being changed, no answer to the other would mean anything."""
    account_ready(account)
    with account_client(account_session(account)) as client:
        yield client


def _active(account: AcmeAccount) -> None:
    if account.deactivated_at is not None:
        raise ConflictError("This account was deactivated.", advice="Make a new one.")


def _under_way(account: AcmeAccount, but: Order | None) -> QuerySet[Order]:
    live = Order.objects.filter(account=account, finished_at=None, lease_until__gt=clock.real())
    return live.exclude(pk=but.pk) if but is not None else live


def _holds(account: AcmeAccount, key: PrivateKey) -> bool:
    """Whether the CA has an account for this key."""
    asked = replace(account_session(account), uid=f"{account.pk}/{key.pk}", url="", key=lambda: key_open(key))
    with account_client(asked) as client:
        return bool(client.account_find())


def _rollover_done(account: AcmeAccount, actor: Actor) -> None:
    new = account.next_key
    with transaction.atomic():
        # Also where another process took the new key for refused: the CA has it. One that went on to a next key is
        # ahead of us.
        changed = AcmeAccount.objects.filter(pk=account.pk, key=account.key_id)
        if changed.update(key=new, next_key=None):
            audit_record(actor, "account.rollover", account, after={"key": str(new)})
    account.refresh_from_db()


def _rollover_drop(account: AcmeAccount, error: AcmeRefused, actor: Actor) -> None:
    """Only where the old key is known to hold: otherwise both are kept until the CA can say."""
    if not _holds(account, account.key):
        return
    with transaction.atomic():
        mine = AcmeAccount.objects.filter(pk=account.pk, next_key=account.next_key_id)
        if mine.update(next_key=None):
            audit_record(actor, "account.rollover", account, after={"why": error.message}, result="failed")
    account.refresh_from_db()
