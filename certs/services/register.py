"""Revoked in the register of an authority of our own: what its list and its OCSP answers are made of.

Whether a certificate is still stored does not matter: what was signed and then lost or deleted is revoked by its
serial number. `services/revocations.py` is the door; it says who may.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q, QuerySet

from certs.domain.certinfo import is_issued_by
from certs.domain.errors import ConflictError, InputError
from certs.domain.revocation import CA_COMPROMISE, HOLD, KEY_COMPROMISE, OWN_REASONS, reason_number
from certs.models import Authority, Certificate, CertificateVersion, IssuedCertificate
from certs.selectors import issued_living
from certs.services.access import Actor
from certs.services.authority_keys import authority_certificate
from certs.services.crls import register_changed
from certs.services.events import audit_record
from portal import clock

COMPROMISED = frozenset({KEY_COMPROMISE, CA_COMPROMISE})
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Falls:
    """What nobody trusts any more when an authority is revoked."""

    certificates: int  # signed by it or below it, and still valid
    authorities: tuple[str, ...]  # below it, by name


def issued_find(authority: Authority, serial: str) -> IssuedCertificate:
    """By serial number in hex, as openssl, browsers and our pages write it. Raises InputError."""
    digits = serial.strip().lower().removeprefix("0x").replace(":", "").replace(" ", "").lstrip("0")
    found = None
    if digits and set(digits) <= _HEX:
        found = IssuedCertificate.objects.filter(authority=authority, serial=digits).first()
    if found is None:
        raise InputError(
            f"{authority} has not signed a certificate with the serial number {serial.strip()[:80]}.",
            advice="Give it in hexadecimal digits, as `openssl x509 -noout -serial` prints it.",
            code="serial-unknown",
        )
    return found


def issued_find_all(serial: str) -> QuerySet[IssuedCertificate]:
    """Of every authority of ours, by the index that begins with the authority; with what tells whose it is."""
    rows = IssuedCertificate.objects.filter(authority__in=Authority.objects.values("pk"), serial=serial)
    return rows.select_related("authority__certificate__current").defer("authority__crl_der")


def issued_of(version: CertificateVersion) -> IssuedCertificate | None:
    """Its row in the register of the authority of ours that signed it. The signature is looked at: a name and a serial
    number can be put into any certificate. None for a root: nobody above it could revoke it."""
    if version.self_signed:
        return None
    for row in issued_find_all(version.serial):
        if _is_of(version, row.authority):
            return row
    return None


def issued_versions(issued: IssuedCertificate) -> list[CertificateVersion]:
    """Wherever it is stored, deleted certificates as well."""
    found = CertificateVersion.objects.filter(serial=issued.serial).select_related("certificate", "key")
    return [version for version in found if _is_of(version, issued.authority)]


def issued_revoke(issued: IssuedCertificate, reason: str, *, actor: Actor) -> bool:
    """Into the register and onto every version stored; whether anything changed. The list is not signed yet.

    What is revoked stays so, with its first moment: only a hold becomes something else, and any reason a compromised
    key. Raises InputError.
    """
    reason_number(reason, OWN_REASONS)
    changes = Q(revoked_at=None) | Q(reason=HOLD) & ~Q(reason=reason)
    if reason in COMPROMISED:
        changes |= ~Q(reason__in=COMPROMISED)
    with transaction.atomic():
        moment = clock.now()
        changed = IssuedCertificate.objects.filter(changes, pk=issued.pk)
        before = changed.values("revoked_at", "reason").first()
        if before is None:
            return False
        at = before["revoked_at"] or moment
        changed.update(revoked_at=at, reason=reason)
        register_changed(issued.authority)
        versions = issued_versions(issued)
        _stamp(versions, at, reason)
        if reason != HOLD:
            _retire(versions, reason)
        audit_record(
            actor,
            "certificate.revoke",
            versions[0].certificate if versions else issued.subject or issued.serial,
            before={"reason": before["reason"]} if before["revoked_at"] else {},
            after={"serial": issued.serial, "reason": reason, "by": f"our CA {issued.authority}"},
        )
    issued.refresh_from_db()
    return True


def issued_release(issued: IssuedCertificate, *, actor: Actor) -> None:
    """Take a hold back: it counts as never revoked. Raises ConflictError for any other reason."""
    with transaction.atomic():
        if not IssuedCertificate.objects.filter(pk=issued.pk, reason=HOLD).update(revoked_at=None, reason=""):
            raise ConflictError(
                "Only a certificate that is on hold can be released.",
                advice="A revocation for any other reason is for good: issue a new certificate.",
                code="not-on-hold",
            )
        register_changed(issued.authority)
        versions = issued_versions(issued)
        _stamp(versions, None, "")
        target = versions[0].certificate if versions else issued.subject or issued.serial
        audit_record(actor, "certificate.release", target, after={"serial": issued.serial})
    issued.refresh_from_db()


def authority_falls(authority: Authority) -> Falls:
    below = list(_below(authority))
    rows = issued_living(clock.now()).filter(authority__in=[authority, *below])
    return Falls(rows.count(), tuple(sorted(str(one) for one in below)))


def _below(authority: Authority) -> Iterator[Authority]:
    """Each once, however they signed each other."""
    seen, level = {authority.pk}, [authority]
    while level:
        rows = Authority.objects.filter(certificate__authority__in=level).select_related("certificate")
        level = [row for row in rows if row.pk not in seen]
        seen |= {row.pk for row in level}
        yield from level


def revocation_note(version: CertificateVersion) -> None:
    """Of a version that was stored only now: what the register has known before."""
    issued = issued_of(version)
    if issued is not None and issued.revoked_at is not None:
        _stamp([version], issued.revoked_at, issued.reason)


def _retire(versions: list[CertificateVersion], reason: str) -> None:
    """A CA that is revoked itself signs no more; an earlier certificate of its matters where the key is lost."""
    rows = Authority.objects.filter(retired_at=None)
    if reason in COMPROMISED:
        rows = rows.filter(certificate__versions__in=versions)
    else:
        rows = rows.filter(certificate__current__in=versions)
    rows.update(retired_at=clock.now())


def _is_of(version: CertificateVersion, authority: Authority) -> bool:
    if authority.certificate.current is None or version.issuer != authority.certificate.current.subject:
        return False
    return is_issued_by(version.leaf, authority_certificate(authority))


def _stamp(versions: list[CertificateVersion], at: object, reason: str) -> None:
    """Certificates first, then their versions: a renewal locks them in this order."""
    keys = [version.pk for version in versions]
    Certificate.objects.filter(current__in=keys, deleted_at=None).update(next_check_at=clock.now())
    CertificateVersion.objects.filter(pk__in=keys).update(revoked_at=at, revocation_reason=reason)
