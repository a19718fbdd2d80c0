"""What is wrong with certificates: renewals that fail or are overdue, ends that come near, keys that are missing.

Derived from the rows that the sweep and the orders leave behind; nothing is written here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet
from django.urls import reverse

from certs.acme.directories import directory_label
from certs.domain import states
from certs.domain.alarms import (
    BY_HAND_BEFORE,
    Level,
    Trouble,
    by_hand_level,
    moment_shown,
    reminder_level,
    renewal_level,
    sentence,
    span_shown,
    subject_make,
)
from certs.domain.explanation import Explanation
from certs.domain.names import name_display
from certs.domain.revocation import HOLD
from certs.models import Authority, Certificate, CertificateVersion, Order, PrivateKey
from certs.selectors import KEYED, certificates_all, key_is_missing
from certs.services.alarms import alarms_open
from certs.services.authority_renewals import above_of
from certs.services.challenges import solver_kinds
from certs.services.explanations import order_explain
from certs.services.order_proofs import orders_not_served
from certs.services.portal_state import state_get
from certs.services.rehearsals import ASKED
from certs.services.reissue import is_signed_here
from portal import clock

KINDS = frozenset({"expiry", "key", "revoked", "served"})
# An order that makes no way for so long is told of, though it goes on: one at a CA that is down fails after a day only.
STUCK = timedelta(minutes=15)
EXPIRED_LATELY = timedelta(days=90)
_LOOK = "Open the page below: it shows what the CA said, and what this server saw."


@dataclass(frozen=True)
class _Facts:
    moment: datetime
    renew_before_days: int
    stuck: dict[UUID, Order]  # certificate -> its order that makes no way
    failed: dict[UUID, Order]  # certificate -> its last order that failed
    told: frozenset[UUID]  # whose end `alarm_pki` tells of: responders, and CAs that are offline


def certificates_troubles(moment: datetime) -> Iterator[Trouble]:
    stuck = {order.certificate_id: order for order in _orders_stuck(moment)}
    rows = list(_candidates(moment, stuck))
    failing = [row.pk for row in rows if row.failures]
    failed = _orders_failed(failing) if failing else {}
    facts = _Facts(moment, state_get().renew_before_days, stuck, failed, _told_elsewhere() if rows else frozenset())
    for row in rows:
        yield from (trouble for look in (_expiry, _key, _revoked) if (trouble := look(row, facts)))
    yield from (_not_served(order, moment) for order in orders_not_served().values())


def certificate_well(key: str) -> str | None:
    """What to say when it is over; None where the certificate itself is gone."""
    pk = _certificate_of(key)
    row = certificates_all().filter(pk=pk).first() if pk else None
    if row is None:
        return None
    if row.current is None or row.current.not_after <= clock.now():
        return ""
    return f"The certificate in use is good until {moment_shown(row.current.not_after)}."


def way_shown(kind: str) -> str:
    solver = solver_kinds().get(kind)
    return solver.label if solver else kind


def _candidates(moment: datetime, stuck: Iterable[UUID]) -> Iterable[Certificate]:
    """Every certificate that may have something. Each condition is a range of an index: versions are many and wide.

    What expired longer ago than EXPIRED_LATELY has its alarm already, by which it is found.
    """
    versions = CertificateVersion.objects.order_by()
    nearing = versions.filter(not_after__range=(moment - EXPIRED_LATELY, moment + BY_HAND_BEFORE))
    some = Q(failures__gt=0) | Q(pk__in=[*stuck, *_alarmed()])
    for each in (nearing, versions.filter(revoked_at__isnull=False)):
        some |= Q(current__in=each.values("pk"))
    some |= Q(source__in=KEYED, current__in=versions.filter(key=None).values("pk"))
    lost = PrivateKey.objects.filter(held=PrivateKey.Held.HERE, sealed="")
    some |= Q(current__in=versions.filter(key__in=lost.values("pk")).values("pk"))
    return (
        certificates_all()
        .filter(some)
        .select_related("current__key", "account", "authority__certificate__current", "own_authority")
        .defer("current__leaf_pem", "current__chain_pem", "account__ca_bundle", *_UNREAD)
        .order_by()  # by name it would read through all of them
    )


_UNREAD = (
    "authority__crl_der",
    "authority__certificate__current__leaf_pem",
    "authority__certificate__current__chain_pem",
    "own_authority__crl_der",
)


def _alarmed() -> set[UUID]:
    found = {_certificate_of(key) for key in alarms_open().order_by().values_list("key", flat=True)}
    return {pk for pk in found if pk is not None}


def _certificate_of(key: str) -> UUID | None:
    kind, _, certificate = key.partition(":")
    try:
        return UUID(certificate) if kind in KINDS else None
    except ValueError:
        return None


def _told_of() -> QuerySet[Order]:
    """Without rehearsals that a person asked for: the person is looking."""
    return Order.objects.exclude(rehearsal=True, reason=ASKED)


def _orders_stuck(moment: datetime) -> Iterable[Order]:
    by_hand = [kind for kind, solver in solver_kinds().items() if solver.by_hand]
    unmoved = ~Q(error_code="") | Q(challenge_kind__in=by_hand, state=states.ORDERED)
    orders = _told_of().filter(unmoved, finished_at=None, created_at__lte=moment - STUCK)
    return orders.select_related("account").defer("csr_pem", "account__ca_bundle").order_by()


def _orders_failed(certificates: list[UUID]) -> dict[UUID, Order]:
    orders = _told_of().filter(certificate__in=certificates, state=states.FAILED)
    newest_last = orders.select_related("account").defer("csr_pem", "account__ca_bundle").order_by("created_at")
    return {order.certificate_id: order for order in newest_last}


def _told_elsewhere() -> frozenset[UUID]:
    pairs = Authority.objects.values_list("responder", "certificate", "offline")
    return frozenset(
        pk for responder, own, offline in pairs for pk in (responder, own if offline else None) if pk is not None
    )


def _expiry(row: Certificate, facts: _Facts) -> Trouble | None:
    level = None if row.pk in facts.told else _level(row, facts)
    if level is None:
        return None
    stuck, failed = facts.stuck.get(row.pk), facts.failed.get(row.pk)
    not_after = row.current.not_after if row.current else None
    left = span_shown(not_after - facts.moment) if not_after and not_after > facts.moment else ""
    if stuck or row.failures:
        wrong, told = _fails(row, level, left), _failing(row, stuck, failed, facts)
    elif _renews(row):
        wrong, told = f"not renewed, {left} left" if left else "expired", _overdue(row)
    else:
        wrong, told = f"expires in {left}, and nothing renews it" if left else "expired", _by_hand(row)
    happened = " ".join(part for part in (told.happened, _standing(not_after, facts.moment)) if part)
    about = name_display(row.name)
    return replace(told, level=level, subject=subject_make(about, wrong), happened=happened)


def _level(row: Certificate, facts: _Facts) -> Level | None:
    version, failing = row.current, row.pk in facts.stuck or row.failures > 0
    if _renews(row) or version is None:
        return renewal_level(
            now=facts.moment,
            not_before=version.not_before if version else None,
            not_after=version.not_after if version else None,
            renew_before_days=row.renew_before_days or facts.renew_before_days,
            failing=failing,
        )
    remind = by_hand_level if _waits_for_person(row) else reminder_level
    reminder = remind(now=facts.moment, not_before=version.not_before, not_after=version.not_after)
    return reminder or (Level.NOTICE if failing else None)


def _renews(row: Certificate) -> bool:
    return row.auto_renew and (row.account_id is not None or (is_signed_here(row) and not _waits_for_person(row)))


def _waits_for_person(row: Certificate) -> str:
    """Why one of our own CAs cannot renew it by itself; "" where it can, or is not to."""
    return above_of(row).needs_person if row.auto_renew and is_signed_here(row) else ""


def _fails(row: Certificate, level: Level, left: str) -> str:
    if row.current is None:
        return "its first issue fails"
    if not left:
        return "expired, and its renewal fails"
    return f"its renewal fails, {left} left" if level > Level.NOTICE else "its renewal fails"


def _failing(row: Certificate, stuck: Order | None, failed: Order | None, facts: _Facts) -> Trouble:
    order = stuck or failed
    if order is None:  # its orders were pruned
        return replace(_blank(row), happened=row.last_decision_text, advice=_LOOK)
    upcoming = stuck.next_attempt_at if stuck else row.next_attempt_at if _renews(row) else None
    # The same cause and advice as on the page of the order: the error's own words know nothing of what was seen.
    why = order_explain(order) if order.state == states.FAILED else None
    return replace(
        _blank(row),
        happened=sentence(_cause(order, why)) or "The order waits for a person to put an answer in place.",
        tried=_tried(order, row.failures),
        next_try_at=max(upcoming, facts.moment) if upcoming else None,
        advice=(why.action if why and order.error_code else order.error_advice) or _LOOK,
        path=reverse("job", args=[order.pk]),
    )


def _cause(order: Order, why: Explanation | None) -> str:
    """The cause that was found, and the words of the error where they add to it."""
    if why is None or why.cause == order.error_message:
        return order.error_message
    detail = str(order.problem.get("detail") or "")
    return why.cause if detail and detail in why.cause else f"{sentence(why.cause)} {order.error_message}"


def _overdue(row: Certificate) -> Trouble:
    return replace(
        _blank(row),
        happened="It should have been renewed by now.",
        tried=f"The last check decided: {row.last_decision_text}" if row.last_decision_text else "Nothing yet.",
        next_try_at=row.next_check_at,
        advice="Open the page below and press Renew now; what stands against it is said there.",
    )


def _by_hand(row: Certificate) -> Trouble:
    return replace(
        _blank(row),
        tried="Nothing: it is not renewed by itself.",
        advice=_waits_for_person(row) or "Renew it by hand, or switch automatic renewal on."
        if row.account_id or is_signed_here(row)
        else "Upload its successor, or delete it here if nobody uses it any more.",
    )


def _blank(row: Certificate) -> Trouble:
    return Trouble(f"expiry:{row.pk}", Level.NOTICE, "", "", path=_page(row))


def _tried(order: Order, failures: int) -> str:
    """Whom and how, in the order in which it was tried."""
    ways = [f"{entry['ca']} by {way_shown(entry['challenge'])} ({entry['error_message']})" for entry in order.tried]
    ways.append(f"{directory_label(order.account.directory_url)} by {way_shown(order.challenge_kind)}")
    told = f"{', then '.join(ways)}, since {moment_shown(order.created_at)}"
    if order.finished_at is None:
        return f"{told}; {order.attempts} tries of the present step."
    return f"{told}; {failures} orders in a row have failed." if failures > 1 else f"{told}."


def _standing(not_after: datetime | None, moment: datetime) -> str:
    if not_after is None:
        return "No certificate has been issued yet."
    if not_after <= moment:
        return f"The certificate expired on {moment_shown(not_after)}."
    return f"The certificate is good until {moment_shown(not_after)}, for {span_shown(not_after - moment)}."


def _key(row: Certificate, facts: _Facts) -> Trouble | None:
    if row.current is None or not key_is_missing(row, row.current.key):
        return None
    renews = _renews(row)
    return Trouble(
        key=f"key:{row.pk}",
        level=Level.OUTAGE,
        subject=subject_make(name_display(row.name), "its private key is missing"),
        happened="The private key is expected here, but it is not in the database.",
        tried="A renewal with a new key is ordered as soon as the CA's limits permit." if renews else "",
        next_try_at=row.next_check_at if renews else None,
        advice="Restore it from a backup, or renew the certificate. Where it is bound, nothing can be served with it.",
        path=_page(row),
    )


def _revoked(row: Certificate, facts: _Facts) -> Trouble | None:
    version = row.current
    if version is None or version.revoked_at is None:
        return None
    if version.revocation_reason == HOLD:
        return Trouble(
            key=f"revoked:{row.pk}",
            level=Level.WARNING,
            subject=subject_make(name_display(row.name), "it is on hold"),
            happened=f"It counts as revoked since {moment_shown(version.revoked_at)}, until it is released.",
            tried="Nothing: a hold waits for a person.",
            advice="Release it, or revoke it for good.",
            path=_page(row),
        )
    renews = _renews(row)
    reason = f", reason {version.revocation_reason}" if version.revocation_reason else ""
    return Trouble(
        key=f"revoked:{row.pk}",
        level=Level.URGENT,
        subject=subject_make(name_display(row.name), "it was revoked"),
        happened=f"It counts as revoked since {moment_shown(version.revoked_at)}{reason}. Clients may refuse it.",
        tried="It is replaced as soon as the CA's limits permit." if renews else "",
        next_try_at=row.next_check_at if renews else None,
        advice="Look whether its successor has come; renew it by hand where not.",
        path=_page(row),
    )


def _not_served(order: Order, moment: datetime) -> Trouble:
    return Trouble(
        key=f"served:{order.certificate_id}",
        level=Level.WARNING,
        subject=subject_make(name_display(order.certificate.name), "renewed, but not served"),
        happened=sentence(order.error_message) or "A handshake does not show the new certificate.",
        tried="It is looked at again at every check.",
        next_try_at=moment + timedelta(minutes=settings.TICK_MINUTES),
        advice=order.error_advice or "Look under Configuration ➜ Bindings what answers.",
        path=reverse("job", args=[order.pk]),
    )


def _page(row: Certificate) -> str:
    return reverse("certificate", args=[row.pk])
