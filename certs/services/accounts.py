"""ACME accounts: the key is made and stored first; the CA is asked when a flow needs it, again where it forgot."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, transaction

from certs.acme.client import AcmeClient
from certs.acme.directories import DirectoryInfo, directory_label
from certs.acme.network import Network
from certs.acme.sessions import Account, directory_fetch
from certs.domain.errors import AcmeRefused, AcmeRetry, InputError
from certs.models import AcmeAccount, User
from certs.services.events import audit_record
from certs.services.keys import key_create, key_open
from certs.transports.outbound import trust_context, url_check
from portal import clock

DIRECTORY_SECONDS = 8.0  # a person waits for the page
ACCOUNT_KEY_TYPE = "ec-p256"


def directory_read(url: str, *, ca_bundle: str = "", allow_private: bool = False) -> DirectoryInfo:
    """Ask the directory; network, at most about 10 s.

    Raises InputError for an address or bundle that cannot be used, AcmeRefused for an answer that is no directory or a
    certificate that is not trusted, AcmeRetry when nothing answers.
    """
    network = Network(
        label=directory_label(url),
        version=settings.VERSION,
        ca_bundle=trusted_roots(ca_bundle),
        allow_private=allow_private or settings.ALLOW_PRIVATE_CA,
        read_seconds=DIRECTORY_SECONDS,
        retries=0,
    )
    skews: list[float | None] = []
    network.session.hooks["response"].append(lambda answer, **_: skews.append(_skew(answer.headers.get("Date"))))
    try:
        meta = directory_fetch(network, url)["meta"]
    finally:
        network.close()
    return DirectoryInfo(
        terms_url=str(meta.terms_of_service or ""),
        website=str(meta.website or ""),
        profiles={str(name): str(text) for name, text in (meta.profiles or {}).items()},
        eab_required=bool(meta.external_account_required),
        clock_skew=skews[-1] if skews else None,
    )


def _skew(date: str | None) -> float | None:
    """Against real time; a Date header has whole seconds."""
    try:
        moment = parsedate_to_datetime(date or "")
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round((datetime.now(UTC) - moment).total_seconds(), 1)


def account_get_or_create(
    *,
    directory_url: str,
    email: str,
    ca_bundle: str = "",
    allow_private: bool = False,
    terms_url: str = "",
    actor: User | str | None,
) -> AcmeAccount:
    """The account for this directory and address, its key made here. No network: the flow registers it at the CA.

    A `terms_url` means that the person has accepted these terms. Raises InputError.
    """
    url_check(directory_url)  # its shape only: the name is looked up by whoever asks it
    trust_context(ca_bundle)
    fields: dict[str, object] = {"ca_bundle": ca_bundle, "allow_private": allow_private}
    if terms_url:
        fields |= {"terms_url": terms_url}
    found = AcmeAccount.objects.filter(directory_url=directory_url, email=email).first()
    if found is None:
        key = key_create(ACCOUNT_KEY_TYPE)
        agreed = {"terms_agreed_at": clock.now()} if terms_url else {}
        try:
            with transaction.atomic():
                made = AcmeAccount.objects.create(directory_url=directory_url, email=email, key=key, **fields, **agreed)
                audit_record(actor, "account.create", made, after={"terms": terms_url})
            return made
        except IntegrityError:
            found = AcmeAccount.objects.filter(directory_url=directory_url, email=email).first()
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
    return found


def account_register(client: AcmeClient, account: AcmeAccount) -> None:
    """Register at the CA, or find the account of this key there again, and store its URL.

    Raises AcmeRefused, AcmeRetry. Asked twice, the CA gives the same account (RFC 8555 §7.3.1).
    """
    terms = client.info.terms_url
    if terms and account.terms_agreed_at is None:
        raise AcmeRefused(
            f"The terms of {directory_label(account.directory_url)} have not been accepted.",
            advice=f"Read them at {terms}, and accept them.",
            code="acme-terms",
        )
    url = client.account_register(email=account.email, terms_agreed=account.terms_agreed_at is not None)
    AcmeAccount.objects.filter(pk=account.pk).update(account_url=url)
    account.account_url = url


def account_session(account: AcmeAccount) -> Account:
    """What `certs.acme.sessions.session` wants to know of an account."""
    return Account(
        uid=f"{account.pk}/{account.key_id}",
        directory_url=account.directory_url,
        url=account.account_url,
        version=settings.VERSION,
        ca_bundle=trusted_roots(account.ca_bundle),
        allow_private=account.allow_private or settings.ALLOW_PRIVATE_CA,
        key=lambda: key_open(account.key),
    )


def account_missing(error: AcmeRefused | AcmeRetry) -> bool:
    return error.code == "acme-accountDoesNotExist"


def trusted_roots(ca_bundle: str) -> str:
    """The bundle given, after that of BINDERY_CA_BUNDLE (a path, or PEM itself). Raises InputError."""
    own: str = settings.CA_BUNDLE
    if not own:
        return ca_bundle
    if not own.startswith("-----BEGIN"):
        try:
            own = Path(own).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"BINDERY_CA_BUNDLE names {settings.CA_BUNDLE}, which cannot be read.",
                advice="It is the path of a PEM file.",
            ) from error
    return f"{own}\n{ca_bundle}"
