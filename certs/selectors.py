"""Read queries shared by pages, commands and API. What a person may read goes through `…_visible_to`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db.models import Count, F, Q, QuerySet

from certs.domain.errors import InputError, NameRefused
from certs.domain.names import SERVER_NAME, name_display, name_parse, name_reversed
from certs.models import (
    AcmeAccount,
    Alarm,
    AuditEvent,
    Certificate,
    ChallengeMethod,
    Channel,
    JobEvent,
    Order,
    PortalState,
    User,
)
from portal import clock

SOON = timedelta(days=21)  # what the list calls "expires soon"; a short life counts by its sixth


@dataclass(frozen=True)
class Shown:
    """A state as a person sees it: `kind` is ok, warning, danger or unknown, `words` stand beside the colour."""

    kind: str
    words: str


def certificates_visible_to(person: User | AnonymousUser) -> QuerySet[Certificate]:
    """Everybody who logged in sees all, until roles are scoped by organization. The placeholder is nobody's."""
    return certificates_all() if person.is_authenticated else Certificate.objects.none()


def certificates_all() -> QuerySet[Certificate]:
    """Every certificate that is not deleted, except the portal's own placeholder. For the schedule and the shell."""
    placeholder = PortalState.objects.filter(placeholder__isnull=False).values("placeholder")
    return Certificate.objects.filter(deleted_at=None).exclude(pk__in=placeholder).select_related("current", "account")


def certificates_due_for_check(moment: datetime) -> QuerySet[Certificate]:
    """By the index of next_check_at; one that was never looked at is due."""
    return certificates_all().filter(Q(next_check_at__lte=moment) | Q(next_check_at=None))


def certificates_under(domain: str) -> QuerySet[Certificate]:
    """Whose current version holds the domain or anything below it: a range of the index of reversed names."""
    root = name_reversed(domain)
    below = Q(name_rows__reversed__gte=f"{root}.", name_rows__reversed__lt=f"{root}/")
    return certificates_all().filter(Q(name_rows__reversed=root) | below).distinct()


def certificate_find(word: str) -> Certificate:
    """The one certificate that is meant by its id, its name or one of its DNS names. Raises InputError."""
    rows = certificates_all()
    found: Sequence[Certificate] = list(rows.filter(pk=word)) if _is_uuid(word) else []
    for condition in (Q(name=word), Q(name__iexact=word), Q(name_rows__name=word.lower())):
        found = found or list(rows.filter(condition).distinct()[:10])
    if not found:
        raise InputError(f"No certificate is called “{word}”.", advice="`manage.py check_certificates` lists them.")
    if len(found) > 1:
        several = ", ".join(f"{certificate.name} ({certificate.pk})" for certificate in found)
        raise InputError(f"“{word}” fits several certificates: {several}.", advice="Give the id of the one you mean.")
    return found[0]


def _is_uuid(word: str) -> bool:
    try:
        UUID(word)
    except ValueError:
        return False
    return True


def accounts_visible_to(person: User | AnonymousUser) -> QuerySet[AcmeAccount]:
    """At CAs, those given up last; `certificate_count` is of those that are not deleted."""
    if not person.is_authenticated:
        return AcmeAccount.objects.none()
    return accounts_all()


def accounts_all() -> QuerySet[AcmeAccount]:
    count = Count("certificates", filter=Q(certificates__deleted_at=None))
    order = (F("deactivated_at").asc(nulls_first=True), "directory_url", "email")
    return AcmeAccount.objects.select_related("key").annotate(certificate_count=count).order_by(*order)


def accounts_usable() -> QuerySet[AcmeAccount]:
    """Those that can order, the oldest first: registered, or with the terms of the CA accepted. A CA without terms has
    nothing to accept, and still registers us."""
    ready = ~Q(account_url="") | Q(terms_agreed_at__isnull=False)
    return AcmeAccount.objects.filter(ready, deactivated_at=None).order_by("created_at")


def orders_visible_to(person: User | AnonymousUser) -> QuerySet[Order]:
    if not person.is_authenticated:
        return Order.objects.none()
    return Order.objects.select_related("certificate", "requested_by").defer("csr_pem")


def audit_visible_to(person: User | AnonymousUser) -> QuerySet[AuditEvent]:
    return AuditEvent.objects.all() if person.is_authenticated else AuditEvent.objects.none()


def channels_visible_to(person: User | AnonymousUser) -> QuerySet[Channel]:
    return Channel.objects.all() if person.is_authenticated else Channel.objects.none()


def alarms_visible_to(person: User | AnonymousUser) -> QuerySet[Alarm]:
    return Alarm.objects.all() if person.is_authenticated else Alarm.objects.none()


def methods_visible_to(person: User | AnonymousUser) -> QuerySet[ChallengeMethod]:
    """What may be shown of them; the sealed secrets stay in the database."""
    rows = ChallengeMethod.objects.defer("sealed")
    return rows if person.is_authenticated else rows.none()


def job_lines(job: UUID) -> QuerySet[JobEvent]:
    return JobEvent.objects.filter(job=job)


CERTIFICATE_FILTERS: dict[str, str] = {
    "": "All",
    "valid": "Valid",
    "soon": "Expires soon",
    "expired": "Expired",
    "revoked": "Revoked",
    "failing": "Renewal fails",
    "pending": "Not issued yet",
    "test": "Test certificates",
}
CERTIFICATE_SORTS: dict[str, tuple[str, ...]] = {
    "name": ("name", "id"),
    "-name": ("-name", "-id"),
    "expiry": ("current__not_after", "id"),
    "-expiry": ("-current__not_after", "-id"),
}


def certificates_list(
    person: User | AnonymousUser, *, search: str = "", state: str = "", sort: str = "expiry"
) -> QuerySet[Certificate]:
    """The certificates page: PEM columns are left where they are. Unknown words count as none."""
    found = certificates_visible_to(person).select_related("current__key")
    found = found.defer("current__leaf_pem", "current__chain_pem", "current__key__sealed", "account__ca_bundle")
    if search:
        by_name = Q(name__icontains=search) | Q(name_rows__name__icontains=_as_stored(search))
        found = found.filter(pk__in=Certificate.objects.filter(by_name).values("pk"))
    moment = clock.now()
    conditions = {
        "valid": Q(current__not_after__gt=moment, current__revoked_at=None),
        "revoked": Q(current__revoked_at__isnull=False),
        "soon": Q(current__not_after__gt=moment, current__not_after__lte=moment + SOON),
        "expired": Q(current__not_after__lte=moment),
        "failing": Q(failures__gt=0),
        "pending": Q(current=None),
        "test": Q(current__is_test=True),
    }
    if state in conditions:
        found = found.filter(conditions[state])
    return found.order_by(*CERTIFICATE_SORTS.get(sort, CERTIFICATE_SORTS["expiry"]))


def _as_stored(search: str) -> str:
    """A name in its own script is looked for by its A-label; anything else as it was typed."""
    try:
        return name_parse(search, SERVER_NAME)
    except NameRefused:
        return search


def certificate_shown(certificate: Certificate, moment: datetime | None = None) -> Shown:
    """The worst that is to be said of what we hold; what is installed and served are truths of their own."""
    now = moment or clock.now()
    version = certificate.current
    if version is None:
        return Shown("danger", "not issued") if certificate.failures else Shown("unknown", "not issued yet")
    worst_first = (
        (version.not_after <= now, "danger", "expired"),
        (version.revoked_at is not None, "danger", "revoked"),
        (version.key is None, "danger", "key missing"),
        (bool(version.key and version.key.compromised_at), "danger", "key compromised"),
        (version.not_before > now, "warning", "not valid yet"),
        (certificate.failures > 0, "warning", "renewal fails"),
        (version.not_after - now <= min(SOON, version.lifetime / 6), "warning", "expires soon"),
        (version.is_test, "warning", "test certificate"),
    )
    return next((Shown(kind, words) for is_so, kind, words in worst_first if is_so), Shown("ok", "valid"))


def bound_certificates() -> list[Certificate]:
    """What the portal serves, each once, with its bindings at hand."""
    found = Certificate.objects.filter(bindings__isnull=False).distinct().select_related("current__key", "account")
    return list(found.prefetch_related("bindings").order_by("name"))


def names_shown(names: list[str], limit: int = 3) -> str:
    """The first names in their own script, and how many more there are."""
    head = ", ".join(name_display(name) for name in names[:limit])
    return f"{head} and {len(names) - limit} more" if len(names) > limit else head
