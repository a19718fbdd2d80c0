"""Revoking a version at its CA, whoever that is, and finding out from its list that somebody else has revoked one."""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.db import transaction
from django.db.models import Q

from certs.domain.certinfo import is_issued_by
from certs.domain.errors import AcmeRefused, BinderyError, InputError
from certs.domain.pem import certificates_read
from certs.domain.revocation import (
    HOLD,
    KEY_COMPROMISE,
    OWN_REASONS,
    CrlRefused,
    crl_entry,
    crl_read,
    crl_urls,
    reason_number,
)
from certs.domain.roles import Right
from certs.models import (
    AcmeAccount,
    Authority,
    Certificate,
    CertificateVersion,
    IssuedCertificate,
    Order,
    PrivateKey,
)
from certs.services.access import Actor, needs, require
from certs.services.account_changes import account_ready
from certs.services.accounts import account_client, account_session
from certs.services.asking import asking_require
from certs.services.authorities import authority_of
from certs.services.crls import crl_refresh
from certs.services.events import audit_record
from certs.services.keys import key_open
from certs.services.register import (
    COMPROMISED,
    issued_find,
    issued_of,
    issued_release,
    issued_revoke,
    issued_versions,
)
from certs.services.sweeps import sweep_run
from certs.transports.line import CRL
from certs.transports.outbound import CRL_BYTES, fetch
from portal import clock

By = Literal["account", "key"]
log = logging.getLogger("bindery.revocation")
ALREADY = "acme-alreadyRevoked"
EVERY = timedelta(hours=24)
SECONDS, FETCH_SECONDS = 30.0, 10.0  # for one look in all, and for one list
MOST = 500  # versions of one look


@needs(Right.CERTIFICATE_CHANGE)
def version_revoke(
    version: CertificateVersion,
    reason: str,
    *,
    by: By = "account",
    actor: Actor,
    unsigned: set[Authority] | None = None,
) -> None:
    """Have the CA revoke it: one of our own through its register, any other as the account that ordered it or with the
    certificate's own key (network).

    What is revoked already stays as it is, but for a key that turns out to be compromised. That key is marked first,
    whatever the CA says: no order uses it again, and whatever else uses it is due at once. A current version that was
    revoked is replaced at once where its certificate renews by itself. The list of an own CA is signed at once; whoever
    revokes many gives `unsigned`, and signs one list of each CA in it (`crl_refresh`) in the end.

    Raises InputError, NotAllowed, KeyRefused for a key that is not here, AcmeFailure.
    """
    issued = issued_of(version) or _issued_elsewhere(version, actor)
    if issued is not None:
        _may_revoke(issued, version, actor)
        _issued_revoke(issued, reason, actor=actor, unsigned=unsigned)
        version.refresh_from_db()
        return
    _self_signed_refuse(version)
    number = reason_number(reason)
    if reason == KEY_COMPROMISE and version.key is not None:
        key_compromised(version.key, actor=actor)
    worse = reason == KEY_COMPROMISE and version.revocation_reason != KEY_COMPROMISE
    if version.revoked_at is not None and not worse:
        return
    account = _account(version)
    leaf = version.leaf
    key = key_open(version.key) if by == "key" and version.key is not None else None
    if by == "key" and key is None:
        raise InputError("Its private key is not here.", advice="Revoke it as the account.", code="key-not-here")
    if by == "account" and account.deactivated_at is None:
        account_ready(account)
    try:
        with account_client(account_session(account)) as client:
            client.certificate_revoke(leaf.public_bytes(Encoding.DER), number, key=key)
    except AcmeRefused as error:
        if error.code != ALREADY:
            raise
    _revoked(version, clock.now(), reason, actor, by=by)
    _replace([version], actor)


@needs(Right.CERTIFICATE_CHANGE)
def revocation_foresee(version: CertificateVersion, reason: str, *, actor: Actor) -> Authority | None:
    """Our own CA that would revoke it; None: one outside would be asked. Raises what `version_revoke` raises before it
    does anything."""
    issued = issued_of(version)
    if issued is not None:
        _may_revoke(issued, version, actor)
        reason_number(reason, OWN_REASONS)
        return issued.authority
    _self_signed_refuse(version)
    reason_number(reason)
    _account(version)
    return None


@needs(Right.AUTHORITY)
def serial_revoke(authority: Authority, serial: str, reason: str, *, actor: Actor) -> IssuedCertificate:
    """Revoke what an authority of ours has signed, stored or not. Raises InputError."""
    issued = issued_find(authority, serial)
    _issued_revoke(issued, reason, actor=actor)
    return issued


@needs(Right.CERTIFICATE_CHANGE)
def version_release(version: CertificateVersion, *, actor: Actor) -> None:
    """Take back a hold of one of our own CAs. Raises InputError, NotAllowed, ConflictError (code "not-on-hold")."""
    issued = issued_of(version)
    if issued is None:
        raise InputError("No CA of your own has signed this certificate, so none can release it.")
    _may_revoke(issued, version, actor)
    _issued_release(issued, actor=actor)
    version.refresh_from_db()


@needs(Right.AUTHORITY)
def serial_release(authority: Authority, serial: str, *, actor: Actor) -> IssuedCertificate:
    """The same by serial number."""
    issued = issued_find(authority, serial)
    _issued_release(issued, actor=actor)
    return issued


def _issued_elsewhere(version: CertificateVersion, actor: Actor) -> IssuedCertificate | None:
    """A row for what one of our CAs signed without this register: before it was imported, or after the copy was made
    from which this database was restored. None for another CA's. Raises NotAllowed."""
    authority = authority_of(version.leaf)
    if authority is None:
        return None
    require(actor, Right.AUTHORITY, authority)
    asking_require()
    known = {"subject": version.subject[:500], "not_after": version.not_after}
    return IssuedCertificate.objects.get_or_create(authority=authority, serial=version.serial, defaults=known)[0]


def _may_revoke(issued: IssuedCertificate, version: CertificateVersion, actor: Actor) -> None:
    """Anybody can import somebody else's certificate: whoever revokes it must own the one that was issued, or the CA.
    A CA itself is revoked by those who may make one."""
    owner = version.certificate
    if version.is_ca or owner.source != Certificate.Source.INTERNAL or owner.authority_id is None:
        require(actor, Right.AUTHORITY, issued.authority)


def _issued_revoke(
    issued: IssuedCertificate, reason: str, *, actor: Actor, unsigned: set[Authority] | None = None
) -> None:
    reason_number(reason, OWN_REASONS)
    asking_require()
    versions = issued_versions(issued)
    if reason in COMPROMISED:
        for key in {version.key.pk: version.key for version in versions if version.key is not None}.values():
            key_compromised(key, actor=actor)
    if not issued_revoke(issued, reason, actor=actor):
        return
    if unsigned is None:
        crl_refresh(issued.authority)
    else:
        unsigned.add(issued.authority)
    if reason != HOLD:
        _replace(versions, actor)


def _issued_release(issued: IssuedCertificate, *, actor: Actor) -> None:
    asking_require()
    issued_release(issued, actor=actor)
    crl_refresh(issued.authority)


def _replace(versions: Iterable[CertificateVersion], actor: Actor) -> None:
    """Where one of them is in use and renews by itself, its successor is had at once."""
    current = Certificate.objects.filter(current__in=[version.pk for version in versions], deleted_at=None)
    if found := list(current.values_list("pk", flat=True)):
        sweep_run(only=found, asked=False, actor=actor)


def key_compromised(key: PrivateKey, *, actor: Actor) -> None:
    """Mark it; every certificate whose current version uses it is looked at next."""
    with transaction.atomic():
        marked = PrivateKey.objects.filter(pk=key.pk, compromised_at=None).update(compromised_at=clock.now())
        if not marked:
            return
        Certificate.objects.filter(current__key=key).update(next_check_at=clock.now())
        audit_record(actor, "key.compromised", key)
    key.refresh_from_db()


def same_key_names(version: CertificateVersion) -> list[str]:
    """The other certificates whose current version has the same key, by name."""
    if version.key_id is None:
        return []
    others = Certificate.objects.filter(current__key=version.key_id, deleted_at=None).exclude(pk=version.certificate_id)
    return sorted(others.values_list("name", flat=True))


def version_find(word: str) -> CertificateVersion:
    """By the beginning of its SHA-256 fingerprint (8 digits or more, colons or not). Raises InputError."""
    digits = word.replace(":", "").lower()
    found: list[CertificateVersion] = []
    if len(digits) >= 8 and set(digits) <= set("0123456789abcdef"):
        # A range of the index, which a LIKE is not.
        begin_so = Q(fingerprint_sha256__gte=digits, fingerprint_sha256__lt=f"{digits}g")
        rows = CertificateVersion.objects.filter(begin_so, certificate__deleted_at=None)
        found = list(rows.select_related("certificate", "key")[:2])
    if len(found) != 1:
        several = "Several certificates have" if found else "No certificate has"
        raise InputError(f"{several} the fingerprint {word}.", advice="Its page shows the whole fingerprint.")
    return found[0]


def revocation_check_run(*, seconds: float = SECONDS) -> int:
    """Look the current versions up in their CA's lists, each once a day; returns how many were found revoked.

    A list is asked for once, however many it is about. What could not be checked keeps its reason; nothing raises. A
    step of the tick; network, at most `seconds` in all.
    """
    until = time.monotonic() + seconds
    lists: dict[tuple[str, bool], list[_Look]] = defaultdict(list)
    for version in _due(clock.now()):
        look = _look(version)
        if isinstance(look, _Look):
            lists[look.url, look.allow_private].append(look)
        else:
            _unchecked([version], look)
    found = 0
    for (url, allow_private), about in lists.items():
        if time.monotonic() >= until:
            break  # the rest keeps its turn
        found += _look_up(url, about, allow_private, min(FETCH_SECONDS, max(1.0, until - time.monotonic())))
    return found


@dataclass(frozen=True)
class _Look:
    version: CertificateVersion
    leaf: x509.Certificate
    issuer: x509.Certificate
    url: str
    allow_private: bool


def _due(moment: datetime) -> list[CertificateVersion]:
    due = CertificateVersion.objects.filter(
        Q(revocation_checked_at=None) | Q(revocation_checked_at__lte=moment - EVERY),
        current_of__deleted_at=None,
        current_of__isnull=False,
        revoked_at=None,
        self_signed=False,
        not_after__gt=moment,
        certificate__authority=None,  # what our own CAs have revoked is known from their registers
    )
    return list(due.select_related("certificate__account").order_by("revocation_checked_at", "pk")[:MOST])


def _look(version: CertificateVersion) -> _Look | str:
    """Where to look, or why that is no use."""
    try:
        leaf, *others = certificates_read(version.fullchain_pem.encode())
        urls = [url for url in crl_urls(leaf) if url.startswith(("http://", "https://"))]
    except (BinderyError, ValueError) as error:
        return str(error)
    issuer = next((other for other in others if is_issued_by(leaf, other)), None)
    if not urls:
        return "The certificate names no revocation list."
    if issuer is None:
        return "The certificate of its issuer is not here, so no list could be trusted."
    account = version.certificate.account
    private = bool(account and account.allow_private) or bool(settings.ALLOW_PRIVATE_CA)
    return _Look(version, leaf, issuer, urls[0], private)


def _look_up(url: str, about: Sequence[_Look], allow_private: bool, seconds: float) -> int:
    try:
        answer = fetch(
            url,
            purpose=CRL,
            allow_private=allow_private,
            plain_http=True,
            redirects=3,
            limit=CRL_BYTES,
            seconds=seconds,
            version=settings.VERSION,
        )
    except BinderyError as error:
        _unchecked([look.version for look in about], str(error))
        return 0
    if not answer.ok:
        _unchecked([look.version for look in about], f"{url} answered with status {answer.status}.")
        return 0
    found, lists = 0, dict[bytes, x509.CertificateRevocationList | CrlRefused]()
    for look in about:
        name = look.issuer.public_bytes(Encoding.DER)
        if name not in lists:
            try:
                lists[name] = crl_read(answer.body, look.issuer, url, clock.real())
            except CrlRefused as error:
                lists[name] = error
        crl = lists[name]
        if isinstance(crl, CrlRefused):
            _unchecked([look.version], f"{url}: {crl.message}")
            continue
        entry = crl_entry(crl, look.leaf.serial_number)
        CertificateVersion.objects.filter(pk=look.version.pk).update(
            revocation_checked_at=clock.now(), revocation_trouble=""
        )
        if entry is not None:
            found += 1
            log.warning("%s was revoked by its CA at %s (%s)", look.version.certificate.name, entry.at, entry.reason)
            _revoked(look.version, entry.at, entry.reason, "schedule", by="the CA's list")
    return found


def _unchecked(versions: Iterable[CertificateVersion], trouble: str) -> None:
    rows = CertificateVersion.objects.filter(pk__in=[version.pk for version in versions])
    rows.update(revocation_checked_at=clock.now(), revocation_trouble=trouble)


def _revoked(version: CertificateVersion, at: datetime, reason: str, actor: Actor, *, by: str) -> None:
    before = (
        {"revoked": version.revoked_at.isoformat(), "reason": version.revocation_reason} if version.revoked_at else {}
    )
    moment = version.revoked_at or at
    with transaction.atomic():
        Certificate.objects.filter(current=version).update(next_check_at=clock.now())
        CertificateVersion.objects.filter(pk=version.pk).update(revoked_at=moment, revocation_reason=reason)
        audit_record(
            actor,
            "certificate.revoke",
            version.certificate,
            before=before,
            after={"fingerprint": version.fingerprint_sha256, "reason": reason, "by": by},
        )
        if reason == KEY_COMPROMISE and version.key is not None:
            key_compromised(version.key, actor=actor)
    version.revoked_at, version.revocation_reason = moment, reason


def _self_signed_refuse(version: CertificateVersion) -> None:
    if version.self_signed:
        advice = "Take it out of the trust stores, and retire it here." if version.is_ca else "Stop using it."
        raise InputError("A self-signed certificate has no CA that could revoke it.", advice=advice)


def _account(version: CertificateVersion) -> AcmeAccount:
    """The one that ordered it; where that was given up, the certificate's present one can still hand in its key.

    Raises InputError (code "no-account").
    """
    order = Order.objects.filter(version=version).select_related("account__key").first()
    account = order.account if order is not None else version.certificate.account
    if account is None:
        raise InputError(
            "It is not known which CA could be asked: this certificate was not ordered here.",
            advice="Revoke it where it was ordered.",
            code="no-account",
        )
    return account
