"""Read queries shared by pages, commands and API. What a person may read goes through `…_visible_to`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db.models import Count, F, Q, QuerySet

from certs.domain.errors import InputError
from certs.domain.names import name_display
from certs.domain.roles import Right, Scope
from certs.models import (
    AcmeAccount,
    Alarm,
    ApiToken,
    AuditEvent,
    Authority,
    Binding,
    BulkJob,
    Certificate,
    CertificateName,
    CertificateTag,
    CertificateVersion,
    ChallengeMethod,
    Channel,
    Endpoint,
    IssuedCertificate,
    JobEvent,
    Order,
    Organization,
    PortalState,
    PrivateKey,
    User,
)
from certs.models.organization import DEFAULT_ORGANIZATION
from certs.services.access import PORTAL, Actor, TokenActor, access_of, may
from portal import clock

Viewer = Actor | AnonymousUser
_NOTHING = Q(pk__in=[])

KEYED = (Certificate.Source.ACME, Certificate.Source.SELF_SIGNED)  # made here, with their keys
OFFERED = 200  # certificates of which a page lets a person choose
SOON = timedelta(days=21)  # what the list calls "expires soon"; a short life counts by its sixth


@dataclass(frozen=True)
class Shown:
    """A state as a person sees it: `kind` is ok, warning, danger or unknown, `words` stand beside the colour."""

    kind: str
    words: str


def certificates_visible_to(actor: Viewer) -> QuerySet[Certificate]:
    """What the actor may read. Who may read all adds no condition. The placeholder is in no list."""
    return certificates_all().filter(visible(actor))


def visible(actor: Viewer, prefix: str = "", right: Right = Right.READ) -> Q:
    """The condition of what the actor may read, on certificates or on what leads to one by `prefix` ("certificate__").

    Empty where that is everything. With another right: of that on which they have it.
    """
    condition = Q()
    for layer in access_of(actor).layers:
        scopes = [scope for scope in layer if scope.role.may(right)]
        if not any(scope.is_everywhere for scope in scopes):
            condition &= reduce(or_, (_within(scope, prefix) for scope in scopes), _NOTHING)
    return condition


def _within(scope: Scope, prefix: str) -> Q:
    condition = Q()
    if scope.organization is not None:
        condition &= Q(**{f"{prefix}organization": scope.organization})
    if scope.department is not None:
        condition &= Q(**{f"{prefix}department": scope.department})
    if scope.tags:
        tagged = CertificateTag.objects.filter(tag__in=scope.tags).values("certificate")
        condition &= Q(**{f"{prefix}pk__in": tagged})
    return condition


def _shared(actor: Viewer, organization: str = "organization") -> Q:
    """As `visible`, of what serves a whole organization: whoever works on anything there may read it."""
    condition = Q()
    for layer in access_of(actor).layers:
        scopes = [scope for scope in layer if scope.role.may(Right.READ)]
        if all(scope.organization for scope in scopes):
            condition &= Q(**{f"{organization}__in": {scope.organization for scope in scopes}})
    return condition


def organizations_visible_to(actor: Viewer) -> QuerySet[Organization]:
    """Those in which they may read anything, by name."""
    return Organization.objects.filter(_shared(actor, "pk")).order_by("name")


def _of_organizations(actor: Viewer) -> Q:
    """As `visible`, of what is nobody's but an organization's: departments and tags do not reach it."""
    condition = Q()
    for layer in access_of(actor).layers:
        scopes = [
            scope for scope in layer if scope.role.may(Right.READ) and scope.department is None and not scope.tags
        ]
        if not any(scope.is_everywhere for scope in scopes):
            places = {scope.organization for scope in scopes}
            portal = Q(organization=None) if DEFAULT_ORGANIZATION in places else _NOTHING
            condition &= Q(organization__in=places) | portal
    return condition


def endpoints_visible_to(actor: Viewer) -> QuerySet[Endpoint]:
    """By name; one that is delegated to nobody yet is seen by who may see everything."""
    condition = Q()
    for layer in access_of(actor).layers:
        scopes = [scope for scope in layer if scope.role.may(Right.READ) and not scope.tags]
        if not any(scope.is_everywhere for scope in scopes):
            condition &= reduce(or_, (_within(scope, "") for scope in scopes), _NOTHING)
    return Endpoint.objects.filter(condition).select_related("organization", "department").order_by("name")


def certificates_all() -> QuerySet[Certificate]:
    """Every certificate that is not deleted, except the portal's own placeholder. For the schedule and the shell."""
    placeholder = PortalState.objects.filter(placeholder__isnull=False).values("placeholder")
    return Certificate.objects.filter(deleted_at=None).exclude(pk__in=placeholder).select_related("current", "account")


def responders() -> QuerySet[Any, Any]:
    """Keys of the certificates that answer OCSP for our own CAs. The portal makes and replaces them itself, so they are
    in no ordinary list, count or choice; the page of their CA leads to them."""
    return Authority.objects.filter(responder__isnull=False).values("responder")


def issued_living(moment: datetime) -> QuerySet[IssuedCertificate]:
    """What our own CAs signed and is in force, responders left out."""
    answering = CertificateVersion.objects.filter(certificate__in=responders()).values("serial")
    found = IssuedCertificate.objects.filter(revoked_at=None, not_after__gt=moment)
    return found.exclude(serial__in=answering)


def certificates_due_for_check(moment: datetime) -> QuerySet[Certificate]:
    """By the index of next_check_at, in no order (SQLite would walk all by name); one never looked at is due."""
    due = Certificate.objects.filter(Q(next_check_at__lte=moment) | Q(next_check_at=None)).order_by()
    return certificates_all().filter(pk__in=due.values("pk")).order_by()


def certificates_wanted(names: Sequence[str]) -> QuerySet[Certificate]:
    """From a CA, for just these names (A-labels), by the index of names: the current version holds what was wanted, and
    those without a version are few."""
    held = CertificateName.objects.filter(kind=CertificateName.Kind.SAN, name=min(names, default=""))
    rows = Certificate.objects.filter(source=Certificate.Source.ACME, deleted_at=None, names=sorted(names))
    return rows.filter(Q(pk__in=held.values("certificate")) | Q(current=None))


def certificate_find(word: str) -> Certificate:
    """The one certificate that is meant by its id, its name or one of its DNS names. Raises InputError."""
    rows, kind = certificates_all(), CertificateName.Kind
    found: Sequence[Certificate] = list(rows.filter(pk=word)) if _is_uuid(word) else []
    labels, names = (CertificateName.objects.filter(kind=one, name=word.lower()) for one in (kind.LABEL, kind.SAN))
    for condition in (
        Q(api_id=word) & ~Q(api_id=""),
        Q(name=word),
        Q(pk__in=labels.values("certificate")),
        Q(pk__in=names.values("certificate")),
    ):
        found = found or list(rows.filter(condition)[:10])
    if not found:
        raise InputError(f"No certificate is called “{word}”.", advice="`manage.py certs list` lists them.")
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


def accounts_visible_to(actor: Viewer) -> QuerySet[AcmeAccount]:
    """At CAs, those given up last; `certificate_count` is of those that are not deleted."""
    return accounts_all().filter(_shared(actor))


def accounts_all() -> QuerySet[AcmeAccount]:
    count = Count("certificates", filter=Q(certificates__deleted_at=None))
    order = (F("deactivated_at").asc(nulls_first=True), "directory_url", "email")
    return AcmeAccount.objects.select_related("key").annotate(certificate_count=count).order_by(*order)


def accounts_usable(actor: Viewer = "") -> QuerySet[AcmeAccount]:
    """Those with which the actor can order, the oldest first: registered, or with the terms of the CA accepted.

    A CA without terms has nothing to accept, and still registers us."""
    ready = ~Q(account_url="") | Q(terms_agreed_at__isnull=False)
    return AcmeAccount.objects.filter(_shared(actor), ready, deactivated_at=None).order_by("created_at")


def orders_visible_to(actor: Viewer) -> QuerySet[Order]:
    rows = Order.objects.select_related("certificate", "requested_by").defer("csr_pem")
    return rows.filter(visible(actor, "certificate__"))


def audit_visible_to(actor: Viewer) -> QuerySet[AuditEvent]:
    """What happened to what they may see; the portal's own matters with the default organization."""
    condition = visible(actor, "certificate__")
    if not condition:
        return AuditEvent.objects.all()
    return AuditEvent.objects.filter(condition | Q(certificate=None) & _of_organizations(actor))


def channels_visible_to(actor: Viewer) -> QuerySet[Channel]:
    return Channel.objects.filter(_of_organizations(actor))


def alarms_visible_to(actor: Viewer, right: Right = Right.READ) -> QuerySet[Alarm]:
    """Of certificates that they may see; those of the portal itself with the default organization."""
    condition = visible(actor, "certificate__", right)
    if not condition:
        return Alarm.objects.all()
    if may(actor, right, PORTAL):
        condition |= Q(certificate=None)
    return Alarm.objects.filter(condition)


def methods_visible_to(actor: Viewer) -> QuerySet[ChallengeMethod]:
    """What may be shown of them; the sealed secrets stay in the database."""
    return ChallengeMethod.objects.defer("sealed").filter(_shared(actor))


def authorities_visible_to(actor: Viewer) -> QuerySet[Authority]:
    """Our own CAs of the organizations in which they may read anything, but for those that were deleted."""
    deleted = Certificate.objects.filter(deleted_at__isnull=False).values("pk")  # few, and in an index of their own
    found = Authority.objects.select_related("certificate__current").exclude(certificate__in=deleted)
    return found.filter(_shared(actor, "certificate__organization"))


def tokens_visible_to(actor: Viewer) -> QuerySet[ApiToken]:
    """An administrator sees all, a person the own ones, a token itself."""
    rows = ApiToken.objects.select_related("owner", "organization", "department")
    if may(actor, Right.PERSON):
        return rows
    if isinstance(actor, TokenActor):
        return rows.filter(pk=actor.token.pk)
    return rows.filter(owner=actor) if isinstance(actor, User) else rows.none()


def jobs_visible_to(actor: Viewer) -> QuerySet[BulkJob]:
    """Work on many certificates: an administrator sees all, a person the own and what the own tokens asked for, a
    token its own."""
    rows = BulkJob.objects.defer("sealed")
    if may(actor, Right.PERSON):
        return rows
    if isinstance(actor, TokenActor):
        return rows.filter(token=actor.token)
    return rows.filter(requested_by=actor) if isinstance(actor, User) else rows.none()


def job_lines(job: UUID) -> QuerySet[JobEvent]:
    return JobEvent.objects.filter(job=job)


def certificates_list(actor: Viewer) -> QuerySet[Certificate]:
    """For a table of a few of them; PEM columns are left where they are. A list of all is `certificates_search`'s."""
    found = certificates_visible_to(actor).select_related("current__key")
    found = found.defer("current__leaf_pem", "current__chain_pem", "account__ca_bundle")
    return found.order_by(F("expires_at").asc(nulls_last=True), "id")


def certificates_deleted_visible_to(actor: Viewer) -> QuerySet[Certificate]:
    """Those that can be restored, the latest first."""
    gone = Certificate.objects.filter(deleted_at__isnull=False).order_by()  # an index of its own
    gone = Certificate.objects.filter(visible(actor), pk__in=gone.values("pk"))
    return gone.select_related("current").defer("current__leaf_pem", "current__chain_pem").order_by("-deleted_at", "id")


def certificate_shown(certificate: Certificate, moment: datetime | None = None) -> Shown:
    """The worst that is to be said of what we hold; what is installed and served are truths of their own."""
    now = moment or clock.now()
    version = certificate.current
    if version is None:
        return _shown_without_version(certificate)
    worst_first = (
        (version.not_after <= now, "danger", "expired"),
        (version.revoked_at is not None, "danger", "revoked"),
        (key_is_missing(certificate, version.key), "danger", "key missing"),
        (bool(version.key and version.key.compromised_at), "danger", "key compromised"),
        (version.not_before > now, "warning", "not valid yet"),
        (certificate.failures > 0, "warning", "renewal fails"),
        (version.not_after - now <= min(SOON, version.lifetime / 6), "warning", "expires soon"),
        (version.is_test, "warning", "test certificate"),
        (version.key is None, "ok", "trusted"),
    )
    return next((Shown(kind, words) for is_so, kind, words in worst_first if is_so), Shown("ok", "valid"))


def _shown_without_version(certificate: Certificate) -> Shown:
    key = certificate.key
    if key is not None and key.compromised_at is not None:
        return Shown("danger", "key compromised")
    if key is not None and key_is_missing(certificate, key):
        return Shown("danger", "key missing")
    if certificate.request_pem:
        return Shown("unknown", "waiting for the CA’s answer")
    if key is not None:
        return Shown("ok", "key pair")
    return Shown("danger", "not issued") if certificate.failures else Shown("unknown", "not issued yet")


def key_is_missing(certificate: Certificate, key: PrivateKey | None) -> bool:
    """One that was uploaded without a key is only trusted, and one that our CA signed for a request has its key
    elsewhere; what we made ourselves has one, and so has what is said to be here."""
    if key is None:
        return certificate.source in KEYED
    return key.held == PrivateKey.Held.HERE and not key.sealed


def bound_certificates(actor: Viewer = "") -> list[Certificate]:
    """What the portal serves and they may see, each once, with its bindings at hand."""
    found = Certificate.objects.filter(visible(actor), pk__in=Binding.objects.values("certificate")).order_by()
    found = found.select_related("current__key", "account").prefetch_related("bindings")
    return sorted(found, key=str)  # SQLite would read all by name


def names_shown(names: list[str], limit: int = 3) -> str:
    """The first names in their own script, and how many more there are."""
    head = ", ".join(name_display(name) for name in names[:limit])
    return f"{head} and {len(names) - limit} more" if len(names) > limit else head
