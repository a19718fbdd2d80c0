"""Alarms of what our own CAs publish: lists and responders that lapse, and what only a person can sign again."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.urls import reverse

from certs.domain.alarms import (
    Level,
    Trouble,
    by_hand_level,
    lapse_level,
    moment_shown,
    sentence,
    span_shown,
    subject_make,
)
from certs.models import Authority, CertificateVersion
from certs.selectors import issued_living
from certs.services.authority_keys import authority_version
from certs.services.crls import authorities_publishing
from certs.services.pki_addresses import addresses_earlier, addresses_noted
from portal import clock

LIST, RESPONDER, AUTHORITY = "crl", "responder", "authority"
KINDS = frozenset({LIST, RESPONDER, AUTHORITY})
ADDRESS = "pki-address"


def pki_troubles(moment: datetime) -> Iterator[Trouble]:
    rows = list(authorities_publishing(moment))
    for row in rows:
        for look in (_list, _responder, _own):
            if trouble := look(row, moment):
                yield trouble
    if rows:
        yield from _addresses(moment)


def pki_well(key: str) -> str | None:
    """What to say when it is over; None where the authority itself is gone, or has expired."""
    kind, _, pk = key.partition(":")
    row = authorities_publishing(clock.now()).filter(pk=UUID(pk)).first()
    if row is None:
        return None
    until = {LIST: row.crl_next_update, RESPONDER: _ends(row), AUTHORITY: authority_version(row).not_after}[kind]
    return f"It is good until {moment_shown(until)}." if until else ""


def _list(row: Authority, moment: datetime) -> Trouble | None:
    until, since = row.crl_next_update, row.crl_this_update
    waiting = row.register_changes != row.crl_changes
    if until is None or since is None:
        level: Level | None = Level.URGENT
        happened = "It has not signed a revocation list yet."
        wrong = "no revocation list"
    else:
        level = (by_hand_level if row.offline else lapse_level)(now=moment, not_before=since, not_after=until)
        left = span_shown(until - moment) if until > moment else ""
        wrong = f"its revocation list ends in {left}" if left else "its revocation list has lapsed"
        happened = _end("Its revocation list", until, moment) + " Clients that ask for one refuse every certificate of "
        happened += "this CA then." if left else "this CA now."
    if row.offline and waiting:
        level = max(level or Level.WARNING, Level.WARNING)
        happened += " It does not tell of everything that was revoked since; OCSP does."
        wrong = "a new revocation list is to be signed"
    if row.crl_trouble:
        level = max(level or Level.WARNING, Level.WARNING)
        happened += f" The last attempt failed: {sentence(row.crl_trouble)}"
    if level is None:
        return None
    return Trouble(f"{LIST}:{row.pk}", level, subject_make(str(row), wrong), happened, **_rest(row, moment))


def _responder(row: Authority, moment: datetime) -> Trouble | None:
    version = _version(row)
    if version is None:
        level: Level | None = Level.URGENT if row.offline else Level.WARNING
        wrong, happened = "no OCSP responder", "It has not signed a certificate for its OCSP responder yet."
    elif version.revoked_at is not None:
        level = Level.URGENT if row.offline else Level.WARNING
        wrong, happened = "its OCSP responder is revoked", "The certificate of its OCSP responder was revoked."
        happened += _silence(row, "now")
    else:
        until, since = version.not_after, version.not_before
        level = (by_hand_level if row.offline else lapse_level)(now=moment, not_before=since, not_after=until)
        left = span_shown(until - moment) if until > moment else ""
        wrong = f"its OCSP responder ends in {left}" if left else "its OCSP responder has lapsed"
        happened = _end("The certificate of its OCSP responder", until, moment)
        happened += _silence(row, "then")
        if authority_version(row).not_after <= until:
            level = None  # they end together: that is told of the CA itself
    if row.responder_trouble:
        level = max(level or Level.WARNING, Level.WARNING)
        happened += f" The last attempt failed: {sentence(row.responder_trouble)}"
    if level is None:
        return None
    return Trouble(f"{RESPONDER}:{row.pk}", level, subject_make(str(row), wrong), happened, **_rest(row, moment))


def _silence(row: Authority, when: str) -> str:
    return f" OCSP gives no answers {when}." if row.offline else f" The CA's own key answers {when}."


def _own(row: Authority, moment: datetime) -> Trouble | None:
    """The certificate of an offline CA; that of any other is renewed, and told of, like every certificate."""
    version = authority_version(row)
    if not row.offline or row.retired_at is not None:
        return None
    level = by_hand_level(now=moment, not_before=version.not_before, not_after=version.not_after)
    if level is None:
        return None
    return Trouble(
        f"{AUTHORITY}:{row.pk}",
        level,
        subject_make(str(row), f"the CA itself ends in {span_shown(version.not_after - moment)}"),
        _end("Its certificate", version.not_after, moment) + " Nothing that it signed is believed then.",
        **{**_rest(row, moment), "advice": "Renew it with its passphrase, and hand the new certificate out."},
    )


def _addresses(moment: datetime) -> Iterator[Trouble]:
    """Something else than this portal answers where certificates in force send their clients, as it was last seen."""
    noted = addresses_noted("")
    held = [noted[-1], *(each.address for each in addresses_earlier(noted[-1].url))] if noted else []
    wrong = [each.text for each in held if each.ok is False]
    if wrong and issued_living(moment).exists():
        yield Trouble(
            ADDRESS,
            Level.WARNING,
            subject_make("PKI address", "it does not lead to this portal"),
            f"{' '.join(wrong)} Certificates of your own CAs that are in force name it: whoever meets one cannot ask "
            "there whether it was revoked.",
            tried="It is asked again at every check.",
            next_try_at=moment + timedelta(minutes=settings.TICK_MINUTES),
            advice="Let it lead to the plain HTTP port of this portal.",
            path=reverse("pki-address"),
        )


def _rest(row: Authority, moment: datetime) -> dict[str, Any]:
    path = reverse("authority-publication", args=[row.pk])
    if row.offline:
        advice = "Open the page below and sign anew with the passphrase of the CA."
        return {"tried": "Nothing: the CA is offline, and only a person can sign.", "advice": advice, "path": path}
    return {
        "tried": "It is tried again at every check.",
        "next_try_at": moment + timedelta(minutes=settings.TICK_MINUTES),
        "advice": "Mend what is named. Does the worker run? The page below signs a list at once.",
        "path": path,
    }


def _version(row: Authority) -> CertificateVersion | None:
    return row.responder.current if row.responder else None


def _ends(row: Authority) -> datetime | None:
    version = _version(row)
    return version.not_after if version else None


def _end(what: str, until: datetime, moment: datetime) -> str:
    return f"{what} {'lapsed' if until <= moment else 'is good until'} {moment_shown(until)}."
