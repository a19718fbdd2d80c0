"""When to renew, when to hold back, and when to look again: pure rules, the clock and the dice are parameters.

With L the lifetime (notAfter − notBefore):

- due: from notAfter − min(21 days, L/2), or at the time chosen from the CA's window (ARI, RFC 9773), or when revoked,
  or when asked for. Expired and "key missing" are the most urgent. A time chosen by the CA within the first quarter of
  L is a recall: it wants the certificate replaced at once.
- brake: one unforced success per L/4, 4 tries per name and hour, back-off after failures. What has become useless
  (revoked, recalled, its key missing) is replaced without that wait, but such replacements keep 36 h among themselves
  (L/4 where that is less), so that a CA that recalls all it issues makes no loop that its limits would end.
- Nothing, not even force, goes before the CA's Retry-After, past the 4 tries, or past what its rate limits leave; a
  person is asked before the last token of a limit is spent.
- look again: after min(24 h, L/40, the CA's word on ARI) ± 10 %, at the due moment at the latest, never on the hour and
  never around midnight UTC, when everybody else asks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

RENEW_BEFORE_DAYS = 21
CHECK_HOURS = 24
TRIES_PER_HOUR = 4
HOUR = timedelta(hours=1)
_FLOOR = timedelta(minutes=1)
_REPLACED_APART = timedelta(hours=36)  # 5 per set of names and week, as Let's Encrypt allows, are one in 33.6 h
_BACKOFF = (_FLOOR, timedelta(minutes=10), timedelta(minutes=100), timedelta(hours=6), timedelta(hours=24))
_SHORTEST_ORDER = timedelta(minutes=30)
_ARI_POLL = (HOUR, timedelta(hours=24))
_JITTER = 0.1


class Code(StrEnum):
    NOT_DUE = "not-due"
    DUE_DATE = "due-date"
    DUE_ARI = "due-ari"
    REVOKED = "revoked"
    RECALLED = "recalled"  # the CA wants it replaced though it is young (ARI)
    ASKED = "asked"
    EXPIRED = "expired"
    KEY_MISSING = "key-missing"
    HELD_BACK = "held-back"
    LAST_ONE = "last-token"  # a person has to say that the last one of a limit may be spent
    BUSY = "busy"
    MANUAL = "manual"  # its time has come, but only a person can renew it
    NOT_ISSUED = "not-issued"  # no CA has given it yet
    ISSUER_RENEWED = "issuer-renewed"  # our own CA above it has a new certificate, or another took over
    NEEDS_PERSON = "needs-person"  # our own CA cannot sign it by itself: it is offline, retired, or ends as well


# What is there has become useless, however young it is.
USELESS = frozenset({Code.KEY_MISSING, Code.REVOKED, Code.RECALLED})
_REASONS_TO_RENEW = frozenset({Code.EXPIRED, *USELESS, Code.DUE_DATE, Code.DUE_ARI, Code.ISSUER_RENEWED, Code.ASKED})
# What a sweep does first; whatever is not named comes last.
URGENCY: dict[str, int] = {
    code: rank
    for rank, code in enumerate(
        (
            Code.EXPIRED,
            Code.KEY_MISSING,
            Code.REVOKED,
            Code.RECALLED,
            Code.DUE_ARI,
            Code.DUE_DATE,
            Code.ISSUER_RENEWED,
        )
    )
}


@dataclass(frozen=True)
class RenewalInput:
    """Moments are aware UTC. `not_before` and `not_after` are None while nothing was issued."""

    now: datetime
    not_before: datetime | None
    not_after: datetime | None
    key_here: bool = True
    renewable: bool = True  # a CA gives it, and automatic renewal is on
    can_ask: bool = True  # a CA gives it, so a person may ask
    renew_before_days: int = RENEW_BEFORE_DAYS
    check_hours: int = CHECK_HOURS
    ari_selected: datetime | None = None
    ari_retry_at: datetime | None = None
    ari_explanation: str = ""  # the CA's page that says why
    revoked: bool = False
    key_compromised: bool = False
    asked: bool = False
    failed: bool = False  # the last order for it
    forced: bool = False  # past the brake and the back-off
    order_open: bool = False
    last_success: datetime | None = None  # unforced, for the same set of names
    last_replaced: datetime | None = None  # the last success whose reason was one of USELESS
    next_attempt_at: datetime | None = None  # back-off
    retry_after_at: datetime | None = None  # the CA's own word
    tries: tuple[datetime, ...] = ()  # within the last hour, for the most tried of its names
    budget_hold: tuple[datetime, str] | None = None  # until when a rate limit of the CA stands against it, and which
    budget_last: str = ""  # the limit whose last token it would spend
    use_last: bool = False  # a person has said that it may
    issuer_renewed: str = ""  # what happened to our own CA since it signed this; one sentence
    needs_person: str = ""  # why our own CA cannot sign it by itself; one sentence

    @property
    def lifetime(self) -> timedelta:
        return self.not_after - self.not_before if self.not_after and self.not_before else timedelta(0)


@dataclass(frozen=True)
class Decision:
    code: Code
    text: str  # one plain sentence saying why
    due: bool
    next_check_at: datetime


def renew_before(lifetime: timedelta, days: int = RENEW_BEFORE_DAYS) -> timedelta:
    return min(timedelta(days=days), lifetime / 2)


def due_at(given: RenewalInput) -> datetime | None:
    """The earlier of the date rule and the time chosen from the CA's window; None while nothing was issued."""
    by_date = _date_rule(given)
    return min(by_date, given.ari_selected) if by_date and given.ari_selected else by_date


def backoff(failures: int, time_left: timedelta) -> timedelta:
    """How long to wait after so many failures in a row; the nearer the expiry, the shorter."""
    step = _BACKOFF[min(max(failures, 1), len(_BACKOFF)) - 1]
    return max(_FLOOR, min(step, time_left / 8))


def order_life(longest: timedelta, time_left: timedelta | None) -> timedelta:
    """How long an order may make no way before it is given up: half of the time that was left when it was made, so that
    the next one has as much again. `time_left` is None where nothing was issued yet."""
    return longest if time_left is None else min(longest, max(_SHORTEST_ORDER, time_left / 2))


def decide(given: RenewalInput, random: Callable[[], float]) -> Decision:
    """What to do with one certificate now. `random` gives numbers in [0, 1)."""
    code, text = _reason(given)
    if code in _REASONS_TO_RENEW:
        code, text, until = _allowed(given, code, text)
    else:
        until = None
    return Decision(code, text, until is None and _renews(given, code), next_check(given, random, until))


def next_check(given: RenewalInput, random: Callable[[], float], until: datetime | None = None) -> datetime:
    """When to look again; `until` is when a certificate held back may go."""
    cadence = timedelta(hours=given.check_hours)
    if given.lifetime:
        cadence = min(cadence, given.lifetime / 40)
    if given.ari_retry_at:
        low, high = _ARI_POLL
        cadence = min(cadence, max(low, min(high, given.ari_retry_at - given.now)))
    cadence = max(_FLOOR, cadence)
    moment = given.now + cadence * (1 - _JITTER + 2 * _JITTER * random())
    due = due_at(given)
    for limit in (until, due):
        if limit and given.now < limit < moment:
            # A little later, never earlier, and not all certificates of one hour at the same instant.
            moment = min(moment, limit + cadence * _JITTER * random())
    return _off_peak(moment, random)


def ari_select(start: datetime, end: datetime, random: Callable[[], float]) -> datetime | None:
    """A time within the CA's window, chosen once per window (RFC 9773 §4.2); None for a senseless window."""
    return start + (end - start) * random() if end > start else None


def _off_peak(moment: datetime, random: Callable[[], float]) -> datetime:
    if (moment.hour, moment.minute) >= (23, 55) or (moment.hour == 0 and moment.minute < 10):
        late = timedelta(minutes=70 if moment.hour == 23 else 10)
        return moment.replace(minute=0, second=0, microsecond=0) + late + timedelta(minutes=1 + 20 * random())
    if moment.minute == 0:
        return moment + timedelta(minutes=1 + 3 * random())
    return moment


def _date_rule(given: RenewalInput) -> datetime | None:
    return given.not_after - renew_before(given.lifetime, given.renew_before_days) if given.not_after else None


def _is_wanted(given: RenewalInput) -> bool:
    """A first issue that was asked for and has failed: it is retried like a renewal."""
    return given.not_after is None and given.failed and given.renewable


def _not_issued(given: RenewalInput) -> str:
    if given.not_after or given.asked or _is_wanted(given):
        return ""
    return "No CA has issued it yet; it is not ordered by itself."


def _expired(given: RenewalInput) -> str:
    return f"Expired on {_moment(given.not_after)}." if given.not_after and given.now >= given.not_after else ""


def _due_date(given: RenewalInput) -> str:
    date = _date_rule(given)
    if date is None or given.not_after is None or given.now < date:
        return ""
    span = _span(renew_before(given.lifetime, given.renew_before_days))
    return f"It expires on {_moment(given.not_after)}, in less than {span}."


def _due_ari(given: RenewalInput) -> str:
    if given.ari_selected is None or given.now < given.ari_selected:
        return ""
    return f"The CA asks for its renewal now{_explained(given)}."


def _recalled(given: RenewalInput) -> str:
    if given.ari_selected is None or given.now < given.ari_selected or given.not_before is None:
        return ""
    young = given.ari_selected < given.not_before + given.lifetime / 4
    return f"The CA wants it replaced at once{_explained(given)}." if young else ""


def _explained(given: RenewalInput) -> str:
    return f"; it says why at {given.ari_explanation}" if given.ari_explanation else ""


def _not_due(given: RenewalInput) -> str:
    date, due = _date_rule(given), due_at(given)
    if date is None or due is None or given.not_after is None:
        return "Nothing to do."
    if not given.renewable:
        return f"Good until {_moment(given.not_after)}; it is not renewed by itself."
    why = "as the CA suggests" if due < date else f"{_span(given.not_after - date)} before it expires"
    return f"Not due: renewal begins on {_moment(due)}, {why}."


# The first rule with something to say decides; most urgent first.
_RULES: tuple[tuple[Code, Callable[[RenewalInput], str]], ...] = (
    (Code.NOT_ISSUED, _not_issued),
    (Code.EXPIRED, _expired),
    (
        Code.KEY_MISSING,
        lambda given: (
            "Its private key is expected here but is missing." if given.not_after and not given.key_here else ""
        ),
    ),
    (Code.REVOKED, lambda given: "The CA has revoked it." if given.revoked else ""),
    (Code.REVOKED, lambda given: "Its private key is compromised." if given.key_compromised else ""),
    (Code.RECALLED, _recalled),
    (Code.DUE_DATE, _due_date),
    (Code.DUE_ARI, _due_ari),
    (Code.ISSUER_RENEWED, lambda given: given.issuer_renewed if given.renewable and given.not_after else ""),
    (Code.ASKED, lambda given: "Asked for." if given.asked else ""),
    (Code.ASKED, lambda given: "Asked for, and not issued yet." if _is_wanted(given) else ""),
    (Code.NOT_DUE, _not_due),
)


def _reason(given: RenewalInput) -> tuple[Code, str]:
    return next((code, text) for code, rule in _RULES if (text := rule(given)))


def _allowed(given: RenewalInput, code: Code, text: str) -> tuple[Code, str, datetime | None]:
    """The reason, or what stands against it; the moment is when a hold ends."""
    if given.order_open:
        return Code.BUSY, "An order for it is under way.", None
    if not _renews(given, code):
        return _by_hand(given, code, text)
    if given.needs_person:
        return Code.NEEDS_PERSON, f"{text} {given.needs_person}", None
    hold = _hold(given, code)
    if hold is not None:
        until, why = hold
        reason = "" if code == Code.ASKED else f"{text} "  # whoever asks knows that he did
        return Code.HELD_BACK, f"{reason}Held back until {_moment(until)}: {why}", until
    if (given.asked or _is_wanted(given)) and given.budget_last and not given.use_last:
        return Code.LAST_ONE, f"{text} It would be the last that a limit of the CA leaves: {given.budget_last}.", None
    return code, text, None


def _by_hand(given: RenewalInput, code: Code, text: str) -> tuple[Code, str, None]:
    advice = (
        "Automatic renewal is off; renew it by hand."
        if given.can_ask
        else "Import its successor: no CA renews it here."
    )
    kept = code if code in {Code.EXPIRED, Code.KEY_MISSING, Code.REVOKED} else Code.MANUAL
    return kept, f"{text} {advice}", None


def _renews(given: RenewalInput, code: Code) -> bool:
    if code not in _REASONS_TO_RENEW:
        return False
    return given.renewable or (given.can_ask and given.asked)


def _hold(given: RenewalInput, code: Code) -> tuple[datetime, str] | None:
    """The longest of the holds: until when, and why. What a person forces meets only the limits of the CA."""
    holds: list[tuple[datetime, str]] = []
    if given.retry_after_at:
        holds.append((given.retry_after_at, "the CA asked to wait."))
    recent = sorted(moment for moment in given.tries if moment > given.now - HOUR)
    if len(recent) >= TRIES_PER_HOUR:
        holds.append((recent[-TRIES_PER_HOUR] + HOUR, f"it was tried {len(recent)} times within an hour."))
    if not given.forced:
        urgent = given.not_after is not None and given.not_after - given.now < given.lifetime / 20
        if given.next_attempt_at and not urgent:
            holds.append((given.next_attempt_at, "the last try failed."))
        holds += _brake(given, code)
    if given.budget_hold:
        holds.append(given.budget_hold)
    pending = [hold for hold in holds if hold[0] > given.now]
    return max(pending, default=None)


def _brake(given: RenewalInput, code: Code) -> list[tuple[datetime, str]]:
    quarter = given.lifetime / 4
    since, wait = given.last_success, quarter
    if code in USELESS:
        since, wait = given.last_replaced, min(quarter, _REPLACED_APART)
    return [(since + wait, f"it was renewed on {_moment(since)}.")] if since and given.lifetime else []


def _moment(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def _span(span: timedelta) -> str:
    if span >= timedelta(days=2):
        days = span / timedelta(days=1)
        return f"{days:.0f} days" if days == int(days) else f"{days:.1f} days"
    hours = span / HOUR
    return f"{hours:.0f} hours" if hours >= 1 else f"{span / timedelta(minutes=1):.0f} minutes"
