"""Answers of our own CAs to OCSP requests, from the register alone; nothing is written.

Answers are signed by the delegated responder. Where its certificate has lapsed, a CA whose key is at hand signs
itself; an offline one cannot, and says that it is to be asked later. What a process has signed it gives again for a
minute, as long as the register says the same: a revocation shows at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

from certs.domain.certinfo import serial_hex
from certs.domain.ocsp import (
    TRY_LATER,
    UNAUTHORIZED,
    Answer,
    CertId,
    Issuer,
    OcspRefused,
    OcspRequest,
    Responder,
    ocsp_request_read,
    ocsp_response,
)
from certs.models import Authority, CertificateVersion, IssuedCertificate
from certs.services.authority_keys import authority_certificate, authority_key
from certs.services.keys import key_is_here, key_open
from portal import clock

VALID = timedelta(hours=8)  # of an answer; Baseline Requirements 4.9.10 ask for as much at least
_KEPT = 4096  # answers
_SIGNERS = 256  # authorities


@dataclass(frozen=True)
class OcspAnswer:
    """`cacheable` is False where the client's nonce is in it."""

    der: bytes
    produced_at: datetime
    next_update: datetime
    cacheable: bool


@dataclass(frozen=True)
class _Row:
    """What tells whether a signer that this process keeps is still the right one."""

    pk: UUID
    offline: bool
    responder: UUID | None  # version of its certificate
    responder_until: datetime | None  # None where there is none that anybody believes


def ocsp_answer(authority: UUID, der: bytes) -> OcspAnswer | None:
    """None for an authority that is not here. Raises OcspRefused, whose status the client is told."""
    row = _row(authority)
    if row is None:
        return None
    request = ocsp_request_read(der)
    moment = clock.now().replace(microsecond=0)
    issuer = _issuer(row.pk)
    ours = [issuer.is_meant(one) for one in request.ids]
    if not any(ours):
        # RFC 5019 §2.2.3: no authority to speak about the certificates of others.
        raise OcspRefused("The request is about certificates of another issuer.", UNAUTHORIZED)
    return _signed(row, request, _answers(authority, request.ids, ours), moment)


def _row(authority: UUID) -> _Row | None:
    found = Authority.objects.filter(pk=authority, certificate__current__isnull=False).values_list(
        "pk", "offline", "responder__current", "responder__current__not_after", "responder__current__revoked_at"
    )
    for pk, offline, responder, until, revoked_at in found:
        return _Row(pk, offline, responder, None if revoked_at else until)
    return None


def _answers(authority: UUID, ids: Sequence[CertId], ours: Sequence[bool]) -> tuple[Answer, ...]:
    serials = [serial_hex(one.serial) for one, mine in zip(ids, ours, strict=True) if mine]
    rows = IssuedCertificate.objects.filter(authority=authority, serial__in=serials)
    known = {serial: (at, reason) for serial, at, reason in rows.values_list("serial", "revoked_at", "reason")}
    answers = []
    for one, mine in zip(ids, ours, strict=True):
        found = known.get(serial_hex(one.serial)) if mine else None
        answers.append(Answer(one, known=False) if found is None else Answer(one, True, *found))
    return tuple(answers)


def _signed(row: _Row, request: OcspRequest, answers: tuple[Answer, ...], moment: datetime) -> OcspAnswer:
    delegated = row.responder_until is not None and moment < row.responder_until
    if request.nonce is not None:
        next_update = _next_update(row, moment, delegated=delegated)
        signer = _signer(row, delegated=delegated)
        der = ocsp_response(answers, signer, produced_at=moment, next_update=next_update, nonce=request.nonce)
        return OcspAnswer(der, moment, next_update, cacheable=False)
    minute = moment.replace(second=0)
    news = any(answer.revoked_at and answer.revoked_at > minute for answer in answers)
    return _kept(row, answers, moment if news else minute, delegated=delegated)


@lru_cache(maxsize=_KEPT)
def _kept(row: _Row, answers: tuple[Answer, ...], produced_at: datetime, *, delegated: bool) -> OcspAnswer:
    next_update = _next_update(row, produced_at, delegated=delegated)
    signer = _signer(row, delegated=delegated)
    der = ocsp_response(answers, signer, produced_at=produced_at, next_update=next_update)
    return OcspAnswer(der, produced_at, next_update, cacheable=True)


def _next_update(row: _Row, produced_at: datetime, *, delegated: bool) -> datetime:
    """Nobody believes an answer after the end of the certificate that signed it."""
    usual = produced_at + VALID
    return min(usual, row.responder_until) if delegated and row.responder_until else usual


@lru_cache(maxsize=_SIGNERS)
def _signer(row: _Row, *, delegated: bool) -> Responder:
    """Raises OcspRefused where there is nobody to sign."""
    responder = _delegate(row) if delegated else None
    if responder is not None:
        return responder
    if row.offline:
        raise OcspRefused("The certificate of the responder lapsed or was revoked, and the CA is offline.", TRY_LATER)
    key = authority_key(_authority(row.pk))
    return Responder(key)


@lru_cache(maxsize=_SIGNERS)
def _issuer(authority: UUID) -> Issuer:
    """An authority keeps its name and its key for life."""
    return Issuer.of(authority_certificate(_authority(authority)))


def _authority(pk: UUID) -> Authority:
    return Authority.objects.select_related("certificate__current__key").get(pk=pk)


def _delegate(row: _Row) -> Responder | None:
    found = CertificateVersion.objects.filter(pk__in=[row.responder]).select_related("key")
    version = found.first()
    if version is None or version.key is None or not key_is_here(version.key):
        return None
    key = key_open(version.key)
    return Responder(key, version.leaf)
