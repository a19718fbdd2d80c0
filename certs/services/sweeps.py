"""The sweep: looks at certificates, decides about each and orders what is due. The one path for schedule and people."""

import logging
import random
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db.models import Case, F, Max, Q, Value, When

from certs.domain.ari import Suggestion
from certs.domain.errors import BinderyError, ConflictError
from certs.domain.renewal import HOUR, URGENCY, USELESS, Code, Decision, RenewalInput, decide
from certs.domain.revocation import HOLD
from certs.models import Certificate, CertificateVersion, Order, PortalState, PrivateKey
from certs.selectors import certificates_all, certificates_due_for_check, key_is_missing
from certs.services.access import Actor
from certs.services.asking import asking_held
from certs.services.authority_renewals import above_of
from certs.services.events import audit_record
from certs.services.keys import key_is_here
from certs.services.ledger import Book, budget_hold, budget_last, budgets
from certs.services.orders import order_create
from certs.services.portal_state import state_get, state_update
from certs.services.rehearsals import AFTER_FAILURE, rehearsal_account, rehearsal_needed
from certs.services.reissue import certificate_reissue, is_signed_here
from portal import clock

log = logging.getLogger("bindery.sweep")
FAILED = "failed"  # the decision could not be made or carried out
FORCED = "forced"
# An empty tick leaves no trace but this often, by which the age of the last sweep is judged.
_MARK_EVERY = timedelta(hours=1)
_dice = random.SystemRandom()
# What our own CAs sign in one tick: the rest has its turn in the next.
SIGNED_AT_ONCE = 1000
_NEXT_TURN = timedelta(minutes=1)
_UNREAD = (
    "current__leaf_pem",
    "current__chain_pem",
    "authority__crl_der",
    "authority__certificate__current__leaf_pem",
    "authority__certificate__current__chain_pem",
    "own_authority__crl_der",
)


@dataclass(frozen=True)
class SweepLine:
    """What was decided about one certificate, and why."""

    certificate: UUID
    name: str
    names: tuple[str, ...]
    code: str  # a renewal.Code, or FAILED
    text: str
    due: bool
    not_after: datetime | None
    next_check_at: datetime
    order: UUID | None = None  # made by this sweep, or found open

    @property
    def failed(self) -> bool:
        return self.code == FAILED

    def as_json(self) -> dict[str, Any]:
        return {
            "certificate": str(self.certificate),
            "name": self.name,
            "names": list(self.names),
            "decision": str(self.code),
            "why": self.text,
            "due": self.due,
            "expires": self.not_after.isoformat() if self.not_after else None,
            "next_check": self.next_check_at.isoformat(),
            "order": str(self.order) if self.order else None,
        }


def sweep_run(
    *,
    dry_run: bool = False,
    only: Iterable[Certificate | UUID | str] | None = None,
    everything: bool = False,
    asked: bool | None = None,
    force: bool = False,
    use_last: bool = False,
    actor: Actor = "schedule",
) -> list[SweepLine]:
    """Decide about certificates and order what is due; one line each, the most urgent first.

    Without `only`: those whose next look is due, or all with `everything`. `asked` renews also what is not due yet,
    within the brake; it is what `only` means unless `asked=False` (just look). `force` goes past the brake and the
    back-off, but not past the CA's Retry-After and its rate limits; `use_last` says that what is asked for may spend
    the last that a limit leaves. `dry_run` writes nothing. No trouble of one certificate ends the sweep.
    """
    moment = clock.now()
    asked = only is not None if asked is None else asked
    chosen = _chosen(moment, only, everything)
    if only is None and not chosen:
        _mark_empty(moment, dry_run)
        return []
    if only is None and not dry_run:
        state_update(sweep_started_at=moment)
    facts = _Facts.gather(moment, chosen, asked=asked, force=force, use_last=use_last)
    lines, weighed = [], []
    for row in chosen:
        try:
            weighed.append((row, _decide(row, facts)))
        except Exception:
            lines.append(_stumbled(row, facts, dry_run=dry_run))
    _dice.shuffle(weighed)  # an interrupted sweep must not meet the same head of the list each time
    weighed.sort(key=lambda pair: _urgency(*pair))
    for row, decision in weighed:
        try:
            # The limits come last: each order leaves less to those after it.
            within = _within_limits(row, decision, facts)
            lines.append(_line(row, within, facts, dry_run=dry_run, actor=actor))
        except Exception:
            lines.append(_stumbled(row, facts, dry_run=dry_run))
    if only is None and not dry_run:
        summary = Counter(str(line.code) for line in lines)
        state_update(sweep_finished_at=clock.now(), sweep_summary=dict(summary))
    return lines


def renewal_decision(
    certificate: Certificate, *, asked: bool = False, force: bool = False, use_last: bool = False
) -> Decision:
    """What a sweep would decide about it now; writes nothing."""
    facts = _Facts.gather(clock.now(), [certificate], asked=asked, force=force, use_last=use_last)
    return _within_limits(certificate, _decide(certificate, facts), facts)


def _chosen(moment: datetime, only: Iterable[Certificate | UUID | str] | None, everything: bool) -> list[Certificate]:
    if only is not None:
        keys = [one.pk if isinstance(one, Certificate) else one for one in only]
        rows = certificates_all().filter(pk__in=keys)
    else:
        rows = certificates_all() if everything else certificates_due_for_check(moment)
    rows = rows.select_related("current__key", "account", "authority__certificate__current", "own_authority")
    return list(rows.defer(*_UNREAD))


def _mark_empty(moment: datetime, dry_run: bool) -> None:
    finished = state_get().sweep_finished_at
    if dry_run or (finished and finished <= moment < finished + _MARK_EVERY):
        return
    state_update(sweep_started_at=moment, sweep_finished_at=moment)


@dataclass
class _Facts:
    """What holds for all certificates of a sweep; what is asked of the database is asked once."""

    moment: datetime
    asked: bool
    force: bool
    use_last: bool
    settings: PortalState
    open_orders: dict[UUID, UUID]  # certificate -> order
    recent: list[tuple[UUID, list[str], datetime]]  # account, names, when an order was made within the last hour
    signed: int = 0  # by our own CAs, in this sweep

    @classmethod
    def gather(
        cls, moment: datetime, rows: Collection[Certificate], *, asked: bool, force: bool, use_last: bool
    ) -> "_Facts":
        opened = Order.objects.filter(finished_at=None, certificate__in=[row.pk for row in rows])
        recent = Order.objects.filter(created_at__gt=moment - HOUR)
        return cls(
            moment=moment,
            asked=asked,
            force=force,
            use_last=use_last,
            settings=state_get(),
            open_orders=dict(opened.values_list("certificate_id", "id")),
            recent=list(recent.values_list("account_id", "names", "created_at")),
        )

    @cached_property
    def held(self) -> str:
        return asking_held()

    @cached_property
    def book(self) -> Book:
        return Book.gather()

    def tries(self, row: Certificate) -> tuple[datetime, ...]:
        """When the most tried of its names was tried within the last hour, at the same account."""
        by_name = [
            tuple(made for account, names, made in self.recent if account == row.account_id and name in names)
            for name in row.names
        ]
        return max(by_name, key=len, default=())


def _decide(row: Certificate, facts: _Facts) -> Decision:
    """Everything but the CA's limits."""
    if row.source == Certificate.Source.INTERNAL and not is_signed_here(row):
        text = "It is signed again with the revocation lists of its CA."
        return Decision(Code.NOT_DUE, text, False, facts.moment + timedelta(hours=row.check_hours or 24))
    return decide(_weighed(row, facts), _dice.random)


def _weighed(row: Certificate, facts: _Facts) -> RenewalInput:
    given = _given(row, facts)
    if facts.force or not decide(given, _dice.random).due:
        return given
    # Only what is to be renewed costs the search for the last success.
    success, replaced = _last_successes(row)
    if success and row.current and success > row.current.created_at:
        # Another node may have renewed it since the row was read: what is decided must be about what there is now.
        row.refresh_from_db(fields=["current"])
        given = _given(row, facts)
    return replace(given, last_success=success, last_replaced=replaced)


def _within_limits(row: Certificate, decision: Decision, facts: _Facts) -> Decision:
    """The same unless a rate limit of its CA stands against it, or nothing may be asked of a CA (a person hears that
    from the order that is not made); only what is to be ordered costs the look."""
    if not decision.due or row.account is None:
        return decision
    if facts.held and not facts.asked:
        return replace(decision, code=Code.HELD_BACK, text=f"{decision.text} {facts.held}", due=False)
    found = budgets(row.account, row.names, certificate=row, book=facts.book)
    hold, last = budget_hold(found, row.account.directory_url), budget_last(found)
    if (hold is None and not last) or (hold is not None and _has_other_issuer(row, facts)):
        return decision
    return decide(replace(_weighed(row, facts), budget_hold=hold, budget_last=last), _dice.random)


def _has_other_issuer(row: Certificate, facts: _Facts) -> bool:
    """Whether one of those that it falls back on has room: the order turns to it by itself."""
    others = [one.account for one in row.fallbacks.filter(account__deactivated_at=None).select_related("account")]
    return any(budget_hold(budgets(one, row.names, book=facts.book), one.directory_url) is None for one in others)


def _given(row: Certificate, facts: _Facts) -> RenewalInput:
    version, from_ca = row.current, row.source == Certificate.Source.ACME and row.account_id is not None
    if not from_ca and is_signed_here(row) and version is not None:
        return _given_here(row, version, facts)
    suggestion = Suggestion.from_json(row.ari)
    return RenewalInput(
        now=facts.moment,
        not_before=version.not_before if version else None,
        not_after=version.not_after if version else None,
        key_here=version is not None and not key_is_missing(row, version.key),
        renewable=from_ca and row.auto_renew,
        can_ask=from_ca,
        renew_before_days=row.renew_before_days or facts.settings.renew_before_days,
        check_hours=row.check_hours or facts.settings.check_hours,
        ari_selected=suggestion.selected,
        ari_retry_at=suggestion.retry_at or (row.account.ari_retry_at if row.account else None),
        ari_explanation=suggestion.explanation,
        revoked=version is not None and version.revoked_at is not None,
        key_compromised=bool(version and version.key and version.key.compromised_at),
        asked=facts.asked,
        failed=row.failures > 0,
        forced=facts.force,
        use_last=facts.use_last,
        order_open=row.pk in facts.open_orders,
        next_attempt_at=row.next_attempt_at,
        retry_after_at=row.retry_after_at,
        tries=facts.tries(row),
    )


def _given_here(row: Certificate, version: CertificateVersion, facts: _Facts) -> RenewalInput:
    """Of what one of our own CAs signs, or it itself: by the date alone, no CA's limits, at once."""
    above = above_of(row)
    held_elsewhere = version.key is not None and version.key.held != PrivateKey.Held.HERE
    return RenewalInput(
        now=facts.moment,
        not_before=version.not_before,
        not_after=version.not_after,
        key_here=held_elsewhere or key_is_here(version.key),
        renewable=row.auto_renew,
        renew_before_days=above.renew_before_days(row.renew_before_days or facts.settings.renew_before_days),
        check_hours=row.check_hours or facts.settings.check_hours,
        revoked=version.revoked_at is not None and version.revocation_reason != HOLD,
        key_compromised=bool(version.key and version.key.compromised_at),
        asked=facts.asked,
        failed=row.failures > 0,
        forced=facts.force,
        next_attempt_at=None if facts.asked else row.next_attempt_at,
        order_open=row.retry_after_at is not None and row.retry_after_at > facts.moment,
        issuer_renewed=above.renewed,
        needs_person=above.needs_person,
    )


def _last_successes(row: Certificate) -> tuple[datetime | None, datetime | None]:
    """When a CA last gave, unforced, a certificate for exactly these names; and when that last replaced one that had
    become useless."""
    if row.account_id is None:
        return None, None
    # An issuer that it fell back on counts for this certificate, though not for others of the same names.
    ours = Q(account=row.account_id, names=row.names) | Q(certificate=row.pk)
    orders = Order.objects.filter(ours).exclude(version=None).exclude(reason=FORCED)
    found = orders.aggregate(
        latest=Max("version__created_at"), replaced=Max("version__created_at", filter=Q(reason__in=list(USELESS)))
    )
    return found["latest"], found["replaced"]


def _urgency(row: Certificate, decision: Decision) -> tuple[int, bool, str]:
    """Of those whose CA was renewed, the ones come first that it had cut short."""
    whole = decision.code == Code.ISSUER_RENEWED and not above_of(row).cut_short
    rank = URGENCY.get(decision.code, len(URGENCY))
    return rank, whole, f"{row.current.not_after:%Y%m%d}" if row.current else ""


def _line(row: Certificate, decision: Decision, facts: _Facts, *, dry_run: bool, actor: Actor) -> SweepLine:
    code, text, order = str(decision.code), decision.text, None
    if decision.code == Code.BUSY:
        order = Order.objects.filter(certificate=row, finished_at=None).values_list("pk", flat=True).first()
    if decision.due and row.account is not None:
        facts.book.take(row.account, row.names, row)
    if decision.due and not dry_run and row.account is None:
        decision, code, text = _sign(row, decision, facts, actor)
    elif decision.due and not dry_run:
        code, text, order = _order(row, decision, FORCED if facts.force else code, actor)
    if not dry_run:
        _write(row, code, text, decision, actor)
    return SweepLine(
        certificate=row.pk,
        name=row.name,
        names=tuple(row.names),
        code=code,
        text=text,
        due=decision.due,
        not_after=row.current.not_after if row.current else None,
        next_check_at=decision.next_check_at,
        order=order,
    )


def _stumbled(row: Certificate, facts: _Facts, *, dry_run: bool) -> SweepLine:
    """A fault over one certificate; the others are still looked at, and this one by the next tick again."""
    log.exception("Certificate %s could not be weighed", row.pk)
    text = "An unexpected fault kept it from being decided about; the log tells more."
    if not dry_run:
        Certificate.objects.filter(pk=row.pk).update(
            last_check_at=clock.now(), last_decision=FAILED, last_decision_text=text
        )
    not_after = row.current.not_after if row.current else None
    names = tuple(row.names)
    return SweepLine(row.pk, row.name, names, FAILED, text, due=False, not_after=not_after, next_check_at=facts.moment)


def _sign(row: Certificate, decision: Decision, facts: _Facts, actor: Actor) -> tuple[Decision, str, str]:
    """By our own CA, at once; a person's own wish waits for no turn."""
    if not facts.asked and facts.signed >= SIGNED_AT_ONCE:
        text = f"{decision.text} Its turn comes soon: {SIGNED_AT_ONCE} are signed at a time."
        held = Decision(Code.HELD_BACK, text, False, facts.moment + _NEXT_TURN)
        return held, str(held.code), held.text
    facts.signed += 1
    try:
        certificate_reissue(row, actor=actor, reason=str(decision.code))
    except ConflictError as error:
        return decision, str(Code.BUSY) if error.code == "busy" else FAILED, str(error)
    except BinderyError as error:
        return decision, FAILED, f"{decision.text} It could not be renewed: {error}"
    row.refresh_from_db(fields=["next_check_at"])  # the new version is looked at by the next tick
    return decision, str(decision.code), f"{decision.text} It was renewed."


def _order(row: Certificate, decision: Decision, reason: str, actor: Actor) -> tuple[str, str, UUID | None]:
    try:
        rehearse = rehearsal_account(row.account, actor=actor) if row.account and rehearsal_needed(row) else None
        order = order_create(row, reason=AFTER_FAILURE if rehearse else reason, actor=actor, rehearsal=rehearse)
    except ConflictError as error:
        return str(Code.BUSY), str(error), None
    except BinderyError as error:
        return FAILED, f"{decision.text} It could not be ordered: {error}", None
    except Exception as error:  # the outermost frame: whatever one certificate meets, the others are still looked at
        log.exception("Certificate %s could not be ordered", row.pk)
        return FAILED, f"{decision.text} It could not be ordered: {type(error).__name__}.", None
    return str(decision.code), decision.text, order.pk


def _write(row: Certificate, code: str, text: str, decision: Decision, actor: Actor) -> None:
    # Whoever wants it looked at again since it was read (a key became known, it was renewed) is not overruled.
    unasked = When(next_check_at=row.next_check_at, then=Value(decision.next_check_at))
    Certificate.objects.filter(pk=row.pk).update(
        last_check_at=clock.now(),
        next_check_at=Case(unasked, default=F("next_check_at")),
        last_decision=code,
        last_decision_text=text,
    )
    if code == row.last_decision:
        return
    log.info("%s: %s (%s)", row.name, text, code)
    audit_record(
        actor,
        "certificate.decision",
        row,
        before={"decision": row.last_decision} if row.last_decision else {},
        after={"decision": code, "why": text},
        result="failed" if code == FAILED else "ok",
    )
