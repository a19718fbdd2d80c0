"""ACME accounts: the key is made and stored first; the CA is asked when a flow needs it, again where it forgot."""

import json
import re
from base64 import b64decode, b64encode, urlsafe_b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from certs.acme.client import MAC_ALGORITHMS, AcmeClient, ExternalAccount
from certs.acme.directories import DirectoryInfo, directory_label
from certs.acme.network import Network
from certs.acme.sessions import Account, directory_fetch, session
from certs.domain.errors import AcmeRefused, AcmeRetry, InputError
from certs.domain.roles import Place, Right
from certs.models import AcmeAccount, AcmeDirectory, Organization
from certs.models.organization import DEFAULT_ORGANIZATION
from certs.services.access import Actor, needs, require
from certs.services.asking import asking_still
from certs.services.events import audit_record
from certs.services.holds import directory_asked
from certs.services.keys import key_create, key_open
from certs.services.secrets import secret_open, secret_seal
from certs.transports.connections import trust_context
from certs.transports.outbound import url_check
from portal import clock

DIRECTORY_SECONDS = 8.0  # a person waits for the page
ACCOUNT_KEY_TYPE = "ec-p256"
LONGEST_KID = 255
SHORTEST_HMAC_KEY = 16  # bytes
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")


def directory_read(url: str, *, ca_bundle: str = "", allow_private: bool = False) -> DirectoryInfo:
    """Ask the directory; network, at most about 10 s.

    Raises InputError for an address or bundle that cannot be used, AcmeRefused for an answer that is no directory or a
    certificate that is not trusted, AcmeRetry when nothing answers, or the CA wants to be left alone.
    """
    with directory_asked(url):
        return directory_look(url, ca_bundle=ca_bundle, allow_private=allow_private)


def directory_look(url: str, *, ca_bundle: str = "", allow_private: bool = False) -> DirectoryInfo:
    """The same for a thread without a database; its caller has looked whether the CA may be asked."""
    network = Network(
        label=directory_label(url),
        version=settings.VERSION,
        ca_bundle=ca_bundle,
        allow_private=allow_private or settings.ALLOW_PRIVATE_CA,
        read_seconds=DIRECTORY_SECONDS,
        retries=0,
    )
    try:
        return directory_fetch(network, url).info
    finally:
        network.close()


@needs(Right.ACCOUNT)
def account_get_or_create(
    *,
    directory_url: str,
    email: str,
    ca_bundle: str = "",
    allow_private: bool = False,
    terms_url: str = "",
    eab: ExternalAccount | None = None,
    organization: Organization | None = None,
    actor: Actor,
) -> AcmeAccount:
    """The account of the organization (the default one) for this directory and address, its key made here.

    No network: the flow registers it at the CA.

    A `terms_url` means that the person has accepted these terms. `eab` binds it to an account that the person has
    elsewhere; it is kept until the CA has taken it. Raises InputError.
    """
    place = organization.pk if organization else DEFAULT_ORGANIZATION
    require(actor, Right.ACCOUNT, Place(place))
    email_check(email)
    url_check(directory_url)  # its shape only: the name is looked up by whoever asks it
    trust_context(ca_bundle)
    fields: dict[str, object] = {"ca_bundle": ca_bundle, "allow_private": allow_private}
    if terms_url:
        fields |= {"terms_url": terms_url}
    here: dict[str, Any] = {"organization_id": place, "directory_url": directory_url, "email": email}
    held = AcmeAccount.objects.filter(**here, deactivated_at=None)
    found = held.first()
    if found is None:
        key = key_create(ACCOUNT_KEY_TYPE)
        agreed = {"terms_agreed_at": clock.now()} if terms_url else {}
        try:
            with transaction.atomic():
                made = AcmeAccount.objects.create(**here, key=key, **fields, **agreed)
                audit_record(actor, "account.create", made, after={"terms": terms_url})
                if eab is not None:
                    account_eab_store(made, eab, actor=actor)
            return made
        except IntegrityError:
            found = held.first()
            if found is None:
                raise
    changed = {name: value for name, value in fields.items() if getattr(found, name) != value}
    if terms_url and (found.terms_agreed_at is None or "terms_url" in changed):
        changed["terms_agreed_at"] = clock.now()
    if changed:
        with transaction.atomic():
            AcmeAccount.objects.filter(pk=found.pk).update(**changed)
            audit_record(actor, "account.change", found, after={name: str(value) for name, value in changed.items()})
        found.refresh_from_db()
    if eab is not None and not found.account_url:
        account_eab_store(found, eab, actor=actor)
    return found


def email_check(email: str) -> None:
    """Of an account, "" for none. Raises InputError."""
    try:
        if email:
            validate_email(email)
    except ValidationError as error:
        raise InputError(
            f"“{email[:60]}” is no e-mail address.", advice="Type it like name@example.com.", code="email"
        ) from error


def external_account(kid: str, hmac_key: str, algorithm: str = "") -> ExternalAccount:
    """As the CA hands it out: the key in base64url, or in plain base64. Raises InputError."""
    kid, algorithm = kid.strip(), algorithm.strip() or "HS256"
    text = "".join(hmac_key.split()).rstrip("=").translate(str.maketrans("+/", "-_"))
    try:
        key = urlsafe_b64decode(text + "=" * (-len(text) % 4)) if _BASE64URL.fullmatch(text) else b""
    except ValueError:
        key = b""
    if not kid or len(kid) > LONGEST_KID or not kid.isprintable():
        raise InputError(
            "The key ID of the external account is missing or no key ID.", advice="Copy it from the CA.", code="eab"
        )
    if len(key) < SHORTEST_HMAC_KEY:
        raise InputError(
            "The HMAC key of the external account cannot be read.",
            advice="Copy the whole of it from the CA; it is text in base64url.",
            code="eab",
        )
    if algorithm not in MAC_ALGORITHMS:
        raise InputError(f"“{algorithm}” is no MAC algorithm.", advice=f"Use one of {', '.join(MAC_ALGORITHMS)}.")
    return ExternalAccount(kid, key, algorithm)


@needs(Right.ACCOUNT)
def account_eab_store(account: AcmeAccount, eab: ExternalAccount, *, actor: Actor) -> None:
    """To be used at the next registration, once. Never shown again, but for its key ID."""
    secret = json.dumps({"key": b64encode(eab.hmac_key).decode(), "algorithm": eab.algorithm}).encode()
    account.eab_kid, account.eab_sealed = eab.kid, secret_seal(AcmeAccount.EAB_PURPOSE, account.pk, secret)
    with transaction.atomic():
        AcmeAccount.objects.filter(pk=account.pk).update(eab_kid=account.eab_kid, eab_sealed=account.eab_sealed)
        audit_record(actor, "account.eab", account, after={"kid": eab.kid})


def account_register(client: AcmeClient, account: AcmeAccount, *, actor: Actor = "schedule") -> None:
    """Register at the CA, or find the account of this key there again, and store its URL; drop the external account
    key, which has done its work.

    Raises AcmeRefused, also for terms that are not those that were accepted; AcmeRetry. Asked twice, the CA gives the
    same account (RFC 8555 §7.3.1).
    """
    terms = client.info.terms_url
    if terms and (account.terms_agreed_at is None or account.terms_url != terms):
        AcmeDirectory.objects.update_or_create(  # the page of the account asks for consent to these
            directory_url=account.directory_url, defaults={"terms_url": terms}
        )
        done = "have changed since they were" if account.terms_agreed_at else "have not been"
        raise AcmeRefused(
            f"The terms of {directory_label(account.directory_url)} {done} accepted.",
            advice=f"Read them at {terms}, and accept them.",
            code="acme-terms",
        )
    url = _register(client, account)
    with transaction.atomic():
        AcmeAccount.objects.filter(pk=account.pk).update(account_url=url, eab_sealed="")
        audit_record(actor, "account.register", account, after={"url": url})
    account.account_url, account.eab_sealed = url, ""


def _register(client: AcmeClient, account: AcmeAccount) -> str:
    """An external account key is good for one use: after a lost answer the account is there, and the key is spent."""
    needs_eab = client.info.eab_required
    eab = _eab_open(account)
    if (eab or needs_eab) and (found := client.account_find()):
        return found
    if needs_eab and eab is None:
        raise AcmeRefused(
            f"{directory_label(account.directory_url)} needs an external account binding.",
            advice="Get a key ID and an HMAC key from the CA, and give both under Configuration ➜ CA accounts.",
            code="acme-externalAccountRequired",
        )
    agreed = account.terms_agreed_at is not None
    return client.account_register(email=account.email, terms_agreed=agreed, **({"eab": eab} if eab else {}))


def _eab_open(account: AcmeAccount) -> ExternalAccount | None:
    if not account.eab_sealed:
        return None
    stored = json.loads(secret_open(AcmeAccount.EAB_PURPOSE, account.pk, account.eab_sealed))
    return ExternalAccount(account.eab_kid, b64decode(stored["key"]), stored["algorithm"])


@contextmanager
def account_client(account: Account) -> Iterator[AcmeClient]:
    """For what is wanted of a CA beside orders. Raises AcmeRetry (code HELD) while it wants to be left alone."""
    with directory_asked(account.directory_url), session(account) as client:
        yield client


def account_session(account: AcmeAccount) -> Account:
    """What `certs.acme.sessions.session` wants to know of an account. Raises AcmeRetry while nothing may be asked of a
    CA: whatever signs as an account comes through here."""
    asking_still()
    return Account(
        uid=f"{account.pk}/{account.key_id}",
        directory_url=account.directory_url,
        url=account.account_url,
        version=settings.VERSION,
        ca_bundle=account.ca_bundle,
        allow_private=account.allow_private or settings.ALLOW_PRIVATE_CA,
        key=lambda: key_open(account.key),
    )


def account_missing(error: AcmeRefused | AcmeRetry) -> bool:
    return error.code == "acme-accountDoesNotExist"
