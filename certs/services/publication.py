"""What an authority of our own has published: as it is handed out, and as pages and commands tell of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings

from certs.domain.alarms import by_hand_level, lapse_level, span_shown
from certs.domain.crl import crl_number
from certs.domain.errors import BinderyError
from certs.domain.revocation import CrlRefused, crl_read
from certs.models import Authority, CertificateVersion
from certs.selectors import Shown
from certs.services.authority_keys import authority_certificate
from certs.services.pki import PkiUrls, pki_base_url, pki_urls
from certs.transports.line import CRL
from certs.transports.outbound import CRL_BYTES, fetch
from portal import clock

_SECONDS = 5.0
SOON = timedelta(days=30)  # what only a person can sign again is told of so long before


@dataclass(frozen=True)
class Published:
    der: bytes
    since: datetime


@dataclass(frozen=True)
class PublishedList:
    der: bytes
    this_update: datetime
    next_update: datetime


def authority_der(pk: UUID) -> Published | None:
    """Its certificate of today; None for one that is not here."""
    version = Authority.objects.filter(pk=pk).values_list("certificate__current", flat=True).first()
    return _certificate(version) if version else None


@lru_cache(maxsize=256)
def _certificate(version: UUID) -> Published:
    """A version never changes."""
    row = CertificateVersion.objects.get(pk=version)
    return Published(row.leaf.public_bytes(Encoding.DER), row.created_at)


def crl_published(pk: UUID) -> PublishedList | None:
    """The list that counts; None for an authority that is not here or has none yet. It is read from the database when
    its number is another one than before."""
    number = Authority.objects.filter(pk=pk, crl_der__isnull=False).values_list("crl_number", flat=True).first()
    return None if number is None else _list(pk, number)


@lru_cache(maxsize=16)
def _list(pk: UUID, number: int) -> PublishedList | None:
    row = Authority.objects.get(pk=pk)
    if row.crl_der is None or row.crl_this_update is None or row.crl_next_update is None:
        return None
    return PublishedList(bytes(row.crl_der), row.crl_this_update, row.crl_next_update)


@dataclass(frozen=True)
class ListCheck:
    """What the published address gave; `ok` is None where that could not be told."""

    ok: bool | None
    text: str
    url: str


@dataclass(frozen=True)
class ListQuestion:
    """What is to be found there, read from the database beforehand."""

    name: str
    url: str
    issuer: x509.Certificate
    number: int


def list_question(authority: Authority) -> ListQuestion:
    """Raises NotAllowed while no address is confirmed."""
    return ListQuestion(str(authority), pki_urls(authority).crl, authority_certificate(authority), authority.crl_number)


def list_check(asked: ListQuestion) -> ListCheck:
    """Ask for the list as a client does. Network, no database."""
    authority, url = asked.name, asked.url
    try:
        answer = fetch(
            url,
            purpose=CRL,
            allow_private=True,
            plain_http=True,
            limit=CRL_BYTES,
            seconds=_SECONDS,
            proxied=False,
            version=settings.VERSION,
        )
    except BinderyError as error:
        return ListCheck(None, f"Could not check the list of {authority} from this machine: {error.message}", url)
    if not answer.ok:
        return ListCheck(False, f"The list of {authority} is not there: status {answer.status}.", url)
    try:
        found = crl_read(answer.body, asked.issuer, url, clock.now())
    except CrlRefused as error:
        return ListCheck(False, f"The list of {authority} cannot be used: {error.message}", url)
    until = f"{found.next_update_utc:%Y-%m-%d %H:%M} UTC" if found.next_update_utc else "an unknown day"
    if (told := crl_number(found)) < asked.number:
        text = f"The list of {authority} at its address is an earlier one: number {told}, not {asked.number}."
        return ListCheck(False, text, url)
    return ListCheck(True, f"The list of {authority} is current until {until}, seen from this machine.", url)


@dataclass(frozen=True)
class Publication:
    """What an authority publishes, as a page tells of it."""

    authority: Authority
    urls: PkiUrls | None
    entries: int
    waiting: bool  # the list does not tell of everything that was revoked
    list_state: Shown
    responder_state: Shown
    responder_until: datetime | None


def publication_shown(authority: Authority) -> Publication:
    row = Authority.objects.select_related("certificate__current", "responder__current").get(pk=authority.pk)
    moment = clock.now()
    version = row.responder.current if row.responder else None
    responder_until = version.not_after if version else None
    return Publication(
        authority=row,
        urls=pki_urls(row) if pki_base_url() else None,
        entries=_entries(row.crl_der),
        waiting=row.crl_der is not None and row.register_changes != row.crl_changes,
        list_state=_state(row.crl_this_update, row.crl_next_update, row.crl_trouble, moment, offline=row.offline),
        responder_state=Shown("danger", "revoked")
        if version and version.revoked_at
        else _state(
            version.not_before if version else None,
            responder_until,
            row.responder_trouble,
            moment,
            offline=row.offline,
        ),
        responder_until=responder_until,
    )


def _entries(der: bytes | memoryview | None) -> int:
    return len(x509.load_der_x509_crl(bytes(der))) if der else 0


def _state(since: datetime | None, until: datetime | None, trouble: str, moment: datetime, *, offline: bool) -> Shown:
    if since is None or until is None:
        return Shown("danger", "not signed yet")
    if until <= moment:
        return Shown("danger", "lapsed")
    level = (by_hand_level if offline else lapse_level)(now=moment, not_before=since, not_after=until)
    if trouble:
        return Shown("warning", "could not be signed again")
    if level is None:
        return Shown("ok", "in force")
    return Shown("warning", f"in force, {span_shown(until - moment)} left")
