"""The ledger: what each CA has counted of us, and what its limits leave.

The `ledger_…` functions write what has just happened; they are called inside the transaction that saves the step of
an order (`Flow.move(also=…)`), whose fence lets each step be saved once. Orders under way that have not spent their
tokens yet are counted as if they had: what is asked for at the same time must not exceed a limit together.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db.models import Q

from certs.acme.directories import directory_label
from certs.acme.limits import published_limits
from certs.domain import states
from certs.domain.ari import Suggestion
from certs.domain.budget import (
    Budget,
    Event,
    Limit,
    Scope,
    budget_of,
    budgets_sorted,
    limit_keys,
    names_digest,
    registered_domain,
)
from certs.domain.errors import AcmeRetry, InputError
from certs.domain.roles import Right
from certs.models import AcmeAccount, AcmeDirectory, Certificate, LedgerEntry, Order
from certs.models.statements import row_insert
from certs.services.access import PORTAL, Actor, needs
from certs.services.events import audit_record
from portal import clock

# Up to which state an open order has still to spend each.
_BEFORE: dict[Event, frozenset[str]] = {
    Event.ORDER: frozenset({states.NEW, states.REGISTERED}),
    Event.CERTIFICATE: frozenset(
        {states.NEW, states.REGISTERED, states.ORDERED, states.CHALLENGED, states.READY, states.FINALIZED}
    ),
}
MOST_SHOWN = 6
SPENT = "budget"  # the code of an order that a limit holds back
_Key = tuple[str, str]  # event, key


@dataclass(frozen=True)
class _Terms:
    exempt: bool = False  # the CA's limits do not count it: within its window (ARI)
    renewal: bool = False  # of exactly the same names: some limits do not count it


def ledger_order(order: Order) -> None:
    """Before newOrder is sent: one whose answer is lost is counted by the CA as well."""
    _write(order, Event.ORDER, [str(order.account_id)], _order_terms(order))


def ledger_order_refused(order: Order) -> None:
    """The CA has made no order of what was written last."""
    asked = LedgerEntry.objects.filter(order=order.pk, event=Event.ORDER).first()
    if asked is not None:
        asked.delete()


def ledger_failure(order: Order, name: str) -> None:
    """The CA has found an authorization of this name invalid; once for each newOrder, however often it is seen."""
    key = name.removeprefix("*.")
    entries = LedgerEntry.objects.filter(order=order.pk)
    asked = entries.filter(event=Event.ORDER).first()
    if not entries.filter(event=Event.FAILURE, key=key, id__gt=asked.pk if asked else 0).exists():
        _write(order, Event.FAILURE, [key])


def ledger_issued(order: Order) -> None:
    """The CA has issued: on the terms of the newOrder that led to it."""
    terms = _Terms()
    if order.replaces:
        asked = LedgerEntry.objects.filter(order=order.pk, event=Event.ORDER)
        terms = _Terms(*(asked.values_list("exempt", "renewal").first() or ()))
    keys = sorted({registered_domain(name) for name in order.names})
    _write(order, Event.CERTIFICATE, [names_digest(order.names), *keys], terms)


def ledger_account(account: AcmeAccount) -> None:
    """The CA has made a new account (one that it already had is not counted, but cannot be told from it)."""
    LedgerEntry.objects.create(
        directory_url=account.directory_url, account=account.pk, event=Event.ACCOUNT, key="", at=clock.now()
    )


def limits_of(directory_url: str) -> list[Limit]:
    """What the operator set, and what the CA publishes for everything else. Whether a renewal counts is the CA's
    matter where it publishes a limit of the kind."""
    found = {limit.scope: limit for limit in published_limits(directory_url)}
    for limit in limits_own(directory_url):
        known = found.get(limit.scope)
        found[limit.scope] = replace(limit, renewals=known.renewals) if known else limit
    return list(found.values())


def limits_own(directory_url: str) -> list[Limit]:
    """The operator's; what is stored and makes no sense is as if it were not there."""
    limits = AcmeDirectory.objects.filter(directory_url=directory_url).values_list("limits", flat=True).first()
    own: list[Limit] = []
    for stored in limits if isinstance(limits, list) else []:
        with suppress(InputError):
            own.append(Limit.from_json(stored))
    return own


@needs(Right.ACCOUNT, of=PORTAL)
def limits_set(directory_url: str, limits: Collection[Limit], *, actor: Actor) -> None:
    """The operator's own limits of a directory; none at all brings back the published ones. Raises InputError."""
    pairs = [(limit.event, limit.scope) for limit in limits]
    if twice := next((pair for pair in pairs if pairs.count(pair) > 1), None):
        raise InputError(f"There are two limits of {twice[0]} per {twice[1]}.", advice="Keep one of them.")
    row, _ = AcmeDirectory.objects.get_or_create(directory_url=directory_url)
    before, after = row.limits, [limit.as_json() for limit in limits]
    if before == after:
        return
    AcmeDirectory.objects.filter(pk=row.pk).update(limits=after)
    audit_record(actor, "directory.limits", directory_url, before={"limits": before}, after={"limits": after})


def directories_counted() -> list[str]:
    """Those with an account, or with limits of the operator."""
    accounts = AcmeAccount.objects.filter(deactivated_at=None).values_list("directory_url", flat=True)
    return sorted({*accounts, *AcmeDirectory.objects.exclude(limits=[]).values_list("directory_url", flat=True)})


@dataclass(frozen=True)
class Book:
    """What several budgets have in common, read once: the limits, and what the orders under way have still to spend."""

    waiting: dict[str, Counter[_Key]]  # by directory
    limits: dict[str, list[Limit]]

    @classmethod
    def gather(cls, before: Order | None = None) -> "Book":
        """With `before`, what comes before this order: older ones at its directory, and those that have been sent."""
        book = cls(defaultdict(Counter), {})
        rows = Order.objects.filter(finished_at=None, state__in=_BEFORE[Event.CERTIFICATE]).order_by()
        if before is not None:
            older = Q(created_at__lt=before.created_at) | Q(created_at=before.created_at, pk__lt=before.pk)
            rows = rows.filter(older | ~Q(state__in=_BEFORE[Event.ORDER])).exclude(pk=before.pk)
            rows = rows.filter(account__directory_url=before.account.directory_url)
        for url, account, state, names, renews, ari, current in rows.values_list(
            "account__directory_url",
            "account_id",
            "state",
            "names",
            *("replaces", "certificate__ari", "certificate__current__names"),
        ):
            spends = {event for event, states_before in _BEFORE.items() if state in states_before}
            book._add(url, account, names, _terms_of(ari, current, names) if renews else _Terms(), spends)
        return book

    def take(self, account: AcmeAccount, names: Collection[str], certificate: Certificate | None = None) -> None:
        """Count an order that is about to be made."""
        if self.limits_of(account.directory_url):
            self._add(account.directory_url, account.pk, names, _terms(account, names, certificate), set(_BEFORE))

    def limits_of(self, directory_url: str) -> list[Limit]:
        if directory_url not in self.limits:
            self.limits[directory_url] = limits_of(directory_url)
        return self.limits[directory_url]

    def _add(
        self, directory_url: str, account: UUID, names: Collection[str], terms: _Terms, spends: Collection[Event]
    ) -> None:
        counted = self.waiting[directory_url]
        for limit in self.limits_of(directory_url):
            if limit.event in spends and _concerns(limit, terms):
                counted.update((limit.event, key) for key in limit_keys(limit, names, str(account)))


def budgets(
    account: AcmeAccount,
    names: Collection[str],
    *,
    certificate: Certificate | None = None,
    book: Book | None = None,
) -> list[Budget]:
    """What an order for these names would meet, the worst first; empty where the CA has no limits that we know.

    With the `certificate` that it renews, limits that do not count such a renewal are left out. One `book`
    serves where many are asked about.
    """
    book = book or Book.gather()
    if not book.limits_of(account.directory_url):
        return []
    return _budgets(account, names, _terms(account, names, certificate), book)


def budgets_shown(
    account: AcmeAccount, names: Collection[str], *, certificate: Certificate | None = None
) -> list[Budget]:
    """Those that tell a person something: of names and accounts what was spent already, and not all of many."""
    found = budgets(account, names, certificate=certificate)
    untold = {Scope.NAME, Scope.SERVER} if account.account_url else {Scope.NAME, Scope.SERVER, Scope.ACCOUNT}
    return [one for one in found if one.used or one.limit.scope not in untold][:MOST_SHOWN]


def budget_hold(found: Iterable[Budget], directory_url: str) -> tuple[datetime, str] | None:
    """Until when an order must wait, and why; None where it may go."""
    refusing = [budget for budget in found if budget.refuses]
    worst = max(refusing, key=lambda budget: budget.free_at or datetime.max.replace(tzinfo=UTC), default=None)
    if worst is None or worst.free_at is None:
        return None
    return worst.free_at, f"{directory_label(directory_url)} limits it: {worst.text}."


def budget_last(found: Iterable[Budget]) -> str:
    """The limit whose last token an order would take, in words; empty where it takes none."""
    return next((budget.text for budget in found if budget.is_last), "")


def order_budget_check(order: Order) -> None:
    """Just before newOrder: another node, or an issuer that takes over, may have come to a limit since the order was
    made. Raises AcmeRetry (code SPENT) with the moment when it may go."""
    url = order.account.directory_url
    if not limits_of(url):
        return
    found = _budgets(order.account, order.names, _order_terms(order), Book.gather(before=order))
    hold = budget_hold(found, url)
    if hold is None:
        return
    until, why = hold
    # The clock of decisions may be moved; a flow waits in real time.
    raise AcmeRetry(
        why, code=SPENT, advice="It is asked for by itself then.", retry_at=clock.real() + (until - clock.now())
    )


def ledger_retention(moment: datetime) -> datetime:
    """Before which nothing is counted any more by any limit."""
    rows = AcmeDirectory.objects.values_list("directory_url", flat=True)
    seen = {*rows, *LedgerEntry.objects.order_by().values_list("directory_url", flat=True).distinct()}
    horizons = [limit.horizon for url in seen for limit in limits_of(url)]
    return moment - max([_LEAST_KEPT, *horizons])


_LEAST_KEPT = timedelta(days=28)  # where no limit is known: the operator may set one


def _budgets(account: AcmeAccount, names: Collection[str], terms: _Terms, book: Book) -> list[Budget]:
    limits = [limit for limit in book.limits_of(account.directory_url) if _concerns(limit, terms)]
    if account.account_url:
        limits = [limit for limit in limits if limit.scope != Scope.SERVER]
    if not limits:
        return []
    moment = clock.now()
    wanted = [(limit, key) for limit in limits for key in _keys(limit, names, account)]
    spent = _spent(account, wanted, moment)
    waiting = book.waiting[account.directory_url]
    return budgets_sorted(
        budget_of(limit, key, [*spent[limit, key], *[moment] * waiting[limit.event, key]], moment)
        for limit, key in wanted
    )


def _concerns(limit: Limit, terms: _Terms) -> bool:
    if limit.event in {Event.FAILURE, Event.ACCOUNT}:
        return True
    return not terms.exempt and (limit.renewals or not terms.renewal)


def _keys(limit: Limit, names: Collection[str], account: AcmeAccount) -> list[str]:
    return [""] if limit.scope == Scope.SERVER else limit_keys(limit, names, str(account.pk))


def _spent(
    account: AcmeAccount, wanted: list[tuple[Limit, str]], moment: datetime
) -> dict[tuple[Limit, str], list[datetime]]:
    """When what was spent, by limit and key. One query."""
    found: dict[tuple[Limit, str], list[datetime]] = defaultdict(list)
    condition = Q()
    for kind in {limit.event for limit, _ in wanted}:
        keys = {key for limit, key in wanted if limit.event == kind}
        horizon = max(limit.horizon for limit, _ in wanted if limit.event == kind)
        mine = Q(account=account.pk) if kind == Event.FAILURE else Q()
        condition |= Q(event=kind, key__in=keys, at__gt=moment - horizon) & mine
    rows = LedgerEntry.objects.filter(condition, directory_url=account.directory_url, exempt=False).order_by()
    for event, key, renewal, at in rows.values_list("event", "key", "renewal", "at"):
        for limit, asked in wanted:
            counted = limit.renewals or not renewal
            if counted and (limit.event, asked) == (event, key) and at > moment - limit.horizon:
                found[limit, key].append(at)
    return found


def _order_terms(order: Order) -> _Terms:
    """`replaces` is set only where the same account got the current version; a rehearsal replaces nothing."""
    current = order.certificate.current if order.replaces else None
    return _terms_of(order.certificate.ari, current.names, order.names) if current else _Terms()


def _terms(account: AcmeAccount, names: Collection[str], certificate: Certificate | None) -> _Terms:
    current = certificate.current if certificate else None
    if certificate is None or current is None or current.self_signed:
        return _Terms()
    if not current.orders.filter(account=account).exists():
        return _Terms()
    return _terms_of(certificate.ari, current.names, names)


def _terms_of(ari: object, current: Collection[str] | None, names: Collection[str]) -> _Terms:
    """For a certificate whose current version the same account got (RFC 9773 §5, and Let's Encrypt's rate limits:
    exempt while the window is open; one that is wholly past exempts nothing)."""
    if current is None:
        return _Terms()
    window = Suggestion.from_json(ari)
    is_open = window.start is not None and window.end is not None and window.start <= clock.now() < window.end
    return _Terms(exempt=is_open, renewal=sorted(current) == sorted(names))


def _write(order: Order, event: Event, keys: Collection[str], terms: _Terms = _Terms()) -> None:
    at = clock.now()
    for key in keys:
        row_insert(
            LedgerEntry(
                directory_url=order.account.directory_url,
                account=order.account_id,
                event=event,
                key=key[:255],
                order=order.pk,
                exempt=terms.exempt,
                renewal=terms.renewal,
                at=at,
            )
        )
