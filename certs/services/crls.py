"""Revocation lists and OCSP responders of our own CAs: signed, and signed again long before they lapse.

`crl_sweep` is a step of the tick and does so for every CA whose key is at hand. The key of an offline CA is not: what
a person has signed for it lasts as long as was chosen, `alarm_pki` reminds of its end.

Which list counts is decided when it is stored: one whose number is no longer the next is thrown away unseen and made
anew, so that no two lists with the same number ever leave the portal. Numbers follow the clock: they go up even after
a backup was restored (RFC 5280 §5.2.3 asks for that).
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce

from certs.domain.certinfo import serial_hex
from certs.domain.crl import Revoked, crl_build, entries_kept
from certs.domain.errors import BinderyError, InputError, NotAllowed, Unavailable
from certs.domain.keys import Key
from certs.domain.ocsp import responder_certificate
from certs.domain.pem import Chain
from certs.domain.plans import SKEW
from certs.domain.properties import NAME_LIMIT
from certs.domain.roles import Right
from certs.domain.signing import serial_new
from certs.models import Authority, Certificate, IssuedCertificate, PrivateKey
from certs.services.access import Actor, needs
from certs.services.authority_keys import authority_above, authority_certificate, authority_key, authority_version
from certs.services.certificate_properties import Properties
from certs.services.certificates import certificate_take
from certs.services.events import audit_record
from certs.services.keys import key_create, key_open
from certs.services.versions import version_add
from portal import clock

log = logging.getLogger("bindery.pki")
RESPONDER_LIFE = timedelta(days=14)  # of a CA that is at hand; of an offline one as long as its list
LONGEST_LIFE = 3650  # days of a list
REGISTER = timedelta(days=90)  # that an expired certificate stays in the register: OCSP still knows it
_BATCH = 500
_TRIES = 20


@needs(Right.AUTHORITY)
def authority_publish(authority: Authority, passphrase: str = "", *, actor: Actor) -> None:
    """Sign what the world asks for: the certificate of the OCSP responder, then the list. At the creation of a CA, and
    for an offline one whenever a person gives its passphrase.

    Raises KeyRefused (passphrase-needed, passphrase-wrong, key-not-here), NotAllowed for an expired CA.
    """
    key = authority_key(authority, passphrase)
    _expired_check(authority)
    _responder_renew(authority, key)
    _crl_sign(authority, key)
    authority.refresh_from_db()
    audit_record(actor, "authority.publish", authority, after=_shown(authority))


@needs(Right.AUTHORITY)
def crl_sign(authority: Authority, passphrase: str = "", *, actor: Actor) -> None:
    """The list alone, now. Raises as `authority_publish`."""
    key = authority_key(authority, passphrase)
    _expired_check(authority)
    _crl_sign(authority, key)
    authority.refresh_from_db()
    audit_record(actor, "authority.crl", authority, after=_shown(authority))


@needs(Right.AUTHORITY)
def crl_days_change(authority: Authority, days: int, *, actor: Actor) -> None:
    """How long its lists live, and the responder of an offline CA; from the next signature on. Raises InputError."""
    crl_days_check(days)
    before = authority.crl_days
    if before == days:
        return
    with transaction.atomic():
        # Counted as a change of the register: the next tick signs a list of the new life.
        Authority.objects.filter(pk=authority.pk).update(crl_days=days)
        register_changed(authority)
        audit_record(actor, "authority.crl-days", authority, before={"days": before}, after={"days": days})
    authority.refresh_from_db()


def crl_days_check(days: int) -> None:
    if not 1 <= days <= LONGEST_LIFE:
        raise InputError(f"A revocation list lives 1 to {LONGEST_LIFE} days, not {days}.", advice="7 is usual.")


def register_changed(authority: Authority) -> None:
    """Inside the transaction that changed it: the present list does not tell the whole truth any more."""
    Authority.objects.filter(pk=authority.pk).update(register_changes=F("register_changes") + 1)


def crl_refresh(authority: Authority) -> bool:
    """Sign a list because the register has changed, after another responder where its own was revoked; whether there
    is a list that tells so.

    Never raises: what kept it back is remembered, shown and tried again by the sweep, and OCSP tells the truth already.
    """
    row = authorities_publishing(clock.now()).filter(pk=authority.pk).first()
    if row is None or row.offline:
        return False
    if responder_is_due(row, clock.now()):
        _attempt(row, _responder_at_hand)
    return _attempt(row, _list_renew)


def crl_sweep() -> int:
    """Sign again what has lived half of its life, and lists whose register has changed; returns how many were signed.

    No authority's trouble ends the sweep. Where all is well: one query, and no write.
    """
    moment = clock.now()
    signed = 0
    for row in authorities_publishing(moment).filter(offline=False):
        for due, renew in ((responder_is_due, _responder_at_hand), (crl_is_due, _list_renew)):
            if due(row, moment):
                signed += _attempt(row, renew)
    return signed


def crl_is_due(row: Authority, moment: datetime) -> bool:
    if row.crl_this_update is None or row.crl_next_update is None or row.register_changes != row.crl_changes:
        return True
    return not row.crl_this_update <= moment < row.crl_this_update + (row.crl_next_update - row.crl_this_update) / 2


def responder_is_due(row: Authority, moment: datetime) -> bool:
    version = row.responder.current if row.responder else None
    if version is None or version.revoked_at is not None:
        return True
    ends = authority_version(row).not_after
    return version.not_after < ends and moment >= version.not_before + version.lifetime / 2


def register_prune(moment: datetime) -> int:
    """Take out of the registers what expired long ago; returns how many rows went.

    A revoked one stays until a list that was signed well after its end has told of it, as long as there are lists.
    """
    count = 0
    for row in Authority.objects.select_related("certificate__current").defer("crl_der"):
        expired = IssuedCertificate.objects.filter(authority=row, not_after__lt=moment - REGISTER)
        if row.certificate.current is not None and row.certificate.current.not_after > moment:
            told = (row.crl_this_update or row.created_at) - timedelta(days=row.crl_days + 1)
            expired = expired.filter(Q(revoked_at=None) | Q(not_after__lt=told, revoked_at__lt=told))
        while batch := list(expired.order_by("pk").values_list("pk", flat=True)[:_BATCH]):
            count += IssuedCertificate.objects.filter(pk__in=batch).delete()[0]
    return count


def authorities_publishing(moment: datetime) -> QuerySet[Authority]:
    """Those whose certificate has not expired: nobody believes what the others sign; and not those that were deleted,
    of which nothing is valid any more. Without the lists themselves."""
    # Each CA is asked for its end: by the index of ends, all certificates that have not expired would be gone through.
    ends = Coalesce("certificate__current__not_after", None)
    rows = Authority.objects.alias(ends=ends).filter(ends__gt=moment, certificate__deleted_at=None)
    return (
        rows.select_related("certificate__current__key", "responder__current")
        .defer(
            "crl_der",
            "certificate__current__chain_pem",
            "responder__current__leaf_pem",
            "responder__current__chain_pem",
        )
        .order_by("pk")
    )


@dataclass(frozen=True)
class _Due:
    number: int
    der: bytes
    this_update: datetime
    next_update: datetime
    changes: int


def _attempt(row: Authority, renew: Callable[[Authority], None]) -> bool:
    """The outermost frame of one signature of the schedule."""
    field = _TROUBLES[renew]
    try:
        renew(row)
    except BinderyError as error:
        trouble = str(error)
    except Exception as error:
        trouble = f"An unexpected fault ({type(error).__name__}) kept it from being signed; the log tells more."
        log.exception("%s could not sign what it publishes", row)
    else:
        return True
    if getattr(row, field) != trouble:
        log.warning("%s could not sign what it publishes: %s", row, trouble)
        Authority.objects.filter(pk=row.pk).update(**{field: trouble})
    return False


def _list_renew(row: Authority) -> None:
    _crl_sign(row, authority_key(row))


def _responder_at_hand(row: Authority) -> None:
    _responder_renew(row, authority_key(row))


_TROUBLES: dict[Callable[[Authority], None], str] = {
    _list_renew: "crl_trouble",
    _responder_at_hand: "responder_trouble",
}


def _crl_sign(authority: Authority, key: Key) -> None:
    """Raises Unavailable where others sign again and again meanwhile."""
    for _ in range(_TRIES):
        row = Authority.objects.defer("crl_der").get(pk=authority.pk)
        made = _crl_make(row, authority_certificate(authority), key)
        if _crl_store(row, made):
            log.info("%s signed list %s with changes up to %s", authority, made.number, made.changes)
            return
    raise Unavailable(f"Other processes sign lists of {authority} all the time.", advice="It is tried again.")


def _crl_make(row: Authority, issuer: x509.Certificate, key: Key) -> _Due:
    """`row` is read before the register is: what it counts, the list tells."""
    moment = clock.now().replace(microsecond=0)
    life = timedelta(days=row.crl_days)
    number = max(row.crl_number + 1, int(moment.timestamp()))
    entries = entries_kept(_entries(row), previous=row.crl_this_update, life=life)
    der = crl_build(
        issuer,
        key,
        entries,
        number=number,
        this_update=moment,
        next_update=moment + life,
    )
    return _Due(number, der, moment, moment + life, row.register_changes)


def _entries(row: Authority) -> Iterator[Revoked]:
    revoked = IssuedCertificate.objects.filter(authority=row, revoked_at__isnull=False)
    for serial, at, reason, not_after in revoked.values_list("serial", "revoked_at", "reason", "not_after").iterator():
        if at is not None:
            yield Revoked(int(serial, 16), at, reason, not_after)


def _crl_store(row: Authority, made: _Due) -> bool:
    """Whether it became the list: not where another one came since `row` was read."""
    stored = Authority.objects.filter(pk=row.pk, crl_number=row.crl_number).update(
        crl_number=made.number,
        crl_der=made.der,
        crl_this_update=made.this_update,
        crl_next_update=made.next_update,
        crl_changes=made.changes,
        crl_trouble="",
    )
    return bool(stored)


def _responder_renew(authority: Authority, issuer_key: Key) -> None:
    """A new key each time: it signs for a short time only, and nobody can revoke it."""
    issuer, above = authority_certificate(authority), authority_above(authority)
    moment = clock.now().replace(microsecond=0)
    key = key_create("rsa-2048" if isinstance(issuer_key, RSAPrivateKey) else "ec-p256")
    ends = moment + (timedelta(days=authority.crl_days) if authority.offline else RESPONDER_LIFE)
    serial, name = serial_new(), f"OCSP of {authority}"
    # Registered before it is signed, as everything is.
    IssuedCertificate.objects.create(
        authority=authority,
        serial=serial_hex(serial),
        subject=name[:500],
        not_after=min(ends, issuer.not_valid_after_utc),
    )
    leaf = responder_certificate(
        issuer,
        issuer_key,
        key_open(key).public_key(),
        name=name,
        serial=serial,
        not_before=moment - SKEW,
        not_after=ends,
    )
    chain = Chain(leaf, tuple(one for one in (issuer, *above) if one.issuer != one.subject))
    with transaction.atomic():
        responder = _responder_stored(authority, chain, key, name)
        Authority.objects.filter(pk=authority.pk).update(responder=responder, responder_trouble="")
        # Nobody goes back to one of the earlier ones; their keys go with `keys_prune`.
        responder.versions.filter(not_after__lte=moment).exclude(current_of=responder).delete()
    log.info("%s signed the certificate of its OCSP responder until %s", authority, leaf.not_valid_after_utc)


def _responder_stored(authority: Authority, chain: Chain, key: PrivateKey, name: str) -> Certificate:
    known = Authority.objects.select_related("responder").get(pk=authority.pk).responder
    if known is not None:
        version_add(known, leaf=chain.leaf, chain=chain.intermediates, key=key)
        return known
    owner = authority.certificate
    properties = Properties(
        name=name[:NAME_LIMIT],
        description=f"Tells in place of {authority} whether a certificate was revoked. It is renewed with its lists.",
        organization=owner.organization,
        department=owner.department,
    )
    made, _ = certificate_take(
        chain,
        key,
        properties=properties,
        source=Certificate.Source.INTERNAL,
        authority=authority,
        actor="schedule",
        action="authority.responder",
    )
    return made


def _expired_check(authority: Authority) -> None:
    version = authority_version(authority)
    if version.not_after <= clock.now():
        raise NotAllowed(
            f"The certificate of {authority} expired on {version.not_after:%Y-%m-%d}: nobody would believe what it "
            "signs.",
            advice="Renew it first.",
            code="authority-expired",
        )


def _shown(authority: Authority) -> dict[str, str | int]:
    until = authority.crl_next_update
    return {"number": authority.crl_number, "until": until.isoformat() if until else ""}
