"""Answers to challenges: stored before they are put in place, and forgotten only after they were taken away again."""

import logging
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import IntegrityError
from django.db.models import F, Q

from certs.domain import states
from certs.domain.errors import AcmeRetry, BinderyError, InputError, Unavailable
from certs.domain.options import NoOptions
from certs.domain.registry import plugins
from certs.models import AcmeAccount, Certificate, Challenge, ChallengeMethod, Order
from certs.models.statements import row_update
from certs.services.alone import alone
from certs.services.asking import asking_held
from certs.services.options import options_load
from certs.services.reachability import private_allowed
from certs.solvers.base import Evidence, Site, Solver, Task
from portal import clock, home, logs

log = logging.getLogger("bindery.challenges")
SOLVERS = "certs.solvers"
DEFAULT = "http01"
# Tried one after the other where nobody has chosen a method: what the portal can answer by itself.
AUTOMATIC = ("http01", "tlsalpn01")
_CLEAN_WAITS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 360))
SWEEP_BATCH = 50
CLEAN_SECONDS = 120.0  # alarms and the next sweep wait behind it, and the queue ends what takes ten minutes
PRESENT_AGAIN = timedelta(minutes=15)
TLS = "tls-alpn-01"
TLS_TURN = timedelta(minutes=15)  # a CA that is told looks within seconds
_LEFT = "left-"


def solver_kinds() -> dict[str, type[Solver]]:
    return plugins(SOLVERS, Solver)


def solver_make(kind: str, method: ChallengeMethod | None = None) -> Solver:
    """The solver of that kind, with the options of `method`. Raises InputError for a kind that is not there any more,
    SecretError, OptionRefused."""
    found = solver_kinds().get(kind)
    if found is None:
        raise InputError(f"There is no challenge method “{kind}” in this version.", advice="Choose another method.")
    if method is None:
        return found(None if found.Options is NoOptions else found.Options(), site_get())
    known = found.options_for(method.options)
    options = options_load(known, method.options, method.sealed, purpose=ChallengeMethod.PURPOSE, uid=method.pk)
    return found(options, site_get())


def site_get() -> Site:
    return Site(
        home=home.path(),
        version=settings.VERSION,
        resolvers=tuple(settings.DNS_RESOLVERS),
        authorities=tuple(settings.DNS_AUTHORITIES),
        hooks=settings.HOOKS_DIR,
        allow_private=private_allowed,
        alone=alone,
    )


def challenge_kind_first(certificate: Certificate, account: AcmeAccount) -> str:
    """The chosen method's; else what worked last time at this account or in a rehearsal, so that a closed port 80
    costs one failure.

    A visitor who brought an order about has come to the HTTPS listener, so the CA is asked to do the same; where that
    fails, one name learns it for all.
    """
    if certificate.challenge_method is not None:
        return certificate.challenge_method.kind
    first = "tlsalpn01" if certificate.on_demand else AUTOMATIC[0]
    alike = {"certificate__on_demand": True} if certificate.on_demand else {"certificate": certificate}
    worked = Q(account=account, rehearsal=False, version__isnull=False) | Q(rehearsal=True, state=states.DONE)
    rows = Order.objects.filter(worked, **alike, challenge_kind__in=AUTOMATIC).order_by("-created_at")
    return rows.values_list("challenge_kind", flat=True).first() or first


def challenge_answer(token: str) -> str | None:
    """What to answer at /.well-known/acme-challenge/<token>, for any Host, as often as asked; None: not ours."""
    rows = Challenge.objects.filter(token=token, type="http-01", clean_at=None)
    return rows.values_list("key_authorization", flat=True).first()


def tls_challenge_answer(name: str) -> str | None:
    """The key authorization of the TLS challenge for a name or address, as often as asked; None where none waits.

    A handshake can carry one answer only: of two orders for a name, the second waits for the first.
    """
    rows = Challenge.objects.filter(name=name, type=TLS, clean_at=None)
    return rows.values_list("key_authorization", flat=True).first()


def challenges_store(rows: Iterable[Challenge]) -> None:
    """Inside the caller's transaction, before anything is put in place. Stored again, as by the worker after a killed
    one, a row keeps what was done for it.

    A CA may give the same pending authorization, and so the same token, to two orders; and of the TLS challenge one
    answer can be given for a name. Raises AcmeRetry (code "acme-waiting") while another order works on it: what that
    one proves may hold for both.
    """
    rows = list(rows)
    _await_turn([row for row in rows if row.type == TLS])
    there = Challenge.objects.in_bulk([row.token for row in rows])
    for row in rows:
        if (met := there.get(row.token)) is not None:
            _store_again(row, met)
    try:
        Challenge.objects.bulk_create(row for row in rows if row.token not in there)
    except IntegrityError as error:  # another order was quicker by a moment
        raise _is_shared(rows[0]) from error


def _await_turn(rows: list[Challenge]) -> None:
    """An order that has come to a halt (its CA is away, say) does not keep the name for ever: it asks anew."""
    for row in rows:
        others = Challenge.objects.filter(name=row.name, type=TLS, clean_at=None).exclude(order=row.order_id)
        others.filter(created_at__lt=clock.now() - TLS_TURN).delete()
        if others.exists():
            raise _is_shared(row)


def _store_again(row: Challenge, met: Challenge) -> None:
    if met.clean_at is None:
        if met.order_id != row.order_id:
            raise _is_shared(row)
        row.data, row.presented_at = met.data, met.presented_at
    elif (met.kind, met.method_id) == (row.kind, row.method_id):
        row.data = met.data  # it may be gone already, or going: it is put in place anew
    else:
        # What stands there in another way is still to be taken away; its row makes room under a name of its own.
        met.token = f"{_LEFT}{uuid4().hex}"
        met.save(force_insert=True)
    row.save(force_update=True)


def _is_shared(row: Challenge) -> AcmeRetry:
    return AcmeRetry(f"Another order is proving {row.name} just now; this one waits for it.", code="acme-waiting")


def challenge_present(row: Challenge, solver: Solver, task: Task) -> None:
    """Put the answer in place and remember how to take it away. Nothing is put there for an order that ended meanwhile,
    and nothing twice, unless the order still waits so long after: somebody else may have overwritten it. Network.
    Raises BinderyError."""
    if solver.by_portal:
        return
    with _turn(row):
        # As it is now: it may have been put there, given up or taken away while this one waited.
        mine = Challenge.objects.filter(pk=row.pk, order_id=row.order_id, clean_at=None)
        missing = Q(presented_at=None) | Q(presented_at__lt=clock.now() - PRESENT_AGAIN)
        if not mine.filter(missing).exists():
            return
        data = solver.present(task)
        # Also where the order ended meanwhile: whoever takes it away waits for its turn, and needs this.
        Challenge.objects.filter(pk=row.pk, order_id=row.order_id).update(data=data, presented_at=clock.now())


def challenges_clear(order_id: UUID) -> None:
    """The order needs its answers no more: what the portal gives itself goes at once, the rest is to be cleaned.

    No network, for the caller's transaction; `challenges_clean` does the work.
    """
    by_portal = [kind for kind, solver in solver_kinds().items() if solver.by_portal]
    Challenge.objects.filter(order_id=order_id, kind__in=by_portal).delete()
    row_update(Challenge, {"order": order_id, "clean_at": None}, {"clean_at": clock.now()})


def challenges_clean(order_id: UUID | None = None) -> int:
    """Take away what is no longer needed, of one order or (the sweeper) of all; returns how many are gone.

    Network, little more than `CLEAN_SECONDS`. Nothing is raised: what could not be taken away stays on the list, and
    is tried again ever later.
    """
    until = time.monotonic() + CLEAN_SECONDS
    due = Challenge.objects.filter(clean_at__lte=clock.now())
    if order_id is not None:
        due = due.filter(order_id=order_id)
    # Most often none: it costs a tenth of the other query. A copy must leave in place what the other portal needs.
    if not due.exists() or asking_held():
        return 0
    rows = due.select_related("method", "order__account").order_by("clean_at")
    return sum(_clean(row) for row in rows[:SWEEP_BATCH] if time.monotonic() < until)


def challenge_task(row: Challenge, *, asked: str = "") -> Task:
    return Task(
        name=row.name,
        token=row.key_authorization.partition(".")[0],  # RFC 8555 §8.1; the row's name may be another
        key_authorization=row.key_authorization,
        asked=asked,
        type=row.type,
        wildcard=row.wildcard,
        account_url=row.order.account.account_url,
        issuers=tuple(row.issuers),
    )


def challenge_evidence(row: Challenge, asked: tuple[str, ...] = ()) -> dict[str, Any]:
    """What this server sees where the CA looked: {"url", "curl", "seen", "right", "name"}. Network, about 5 s."""
    try:
        seen = solver_make(row.kind, row.method).look(challenge_task(row, asked=asked[0] if asked else ""))
    except BinderyError as error:
        seen = Evidence(url="", curl="", seen=f"could not look: {error.message}")
    return {"name": row.name, **asdict(seen)}


def _turn(row: Challenge) -> AbstractContextManager[None]:
    """Putting an answer in place and taking it away, one after the other: a late worker must not put there what was
    taken away, and none take away what another needs. The turns are few, as each leaves a file behind."""
    return alone(f"challenge:{sha256((row.key_authorization or row.token).encode()).hexdigest()[:2]}")


def _needed(row: Challenge) -> bool:
    """Whether what stands there may be another's by now: two methods can write the same record."""
    return Challenge.objects.filter(key_authorization=row.key_authorization, clean_at=None).exists()


def _clean(row: Challenge) -> bool:
    # Counted before the work: one that kills its process must not be met at once again.
    wait = _CLEAN_WAITS[min(row.clean_tries, len(_CLEAN_WAITS) - 1)]
    mine = Challenge.objects.filter(pk=row.pk, clean_at=row.clean_at, clean_tries=row.clean_tries)
    if not mine.update(clean_at=clock.now() + wait, clean_tries=F("clean_tries") + 1):
        return False
    given_up = Challenge.objects.filter(pk=row.pk, order_id=row.order_id, clean_at__isnull=False)
    try:
        with _turn(row):
            found = given_up.values_list("data", flat=True).first()  # as it is after the turn of whoever put it there
            if found is None or (row.pk.startswith(_LEFT) and _needed(row)):
                return False
            solver_make(row.kind, row.method).clean(challenge_task(row), found)
    except BinderyError as error:
        trouble = error
    except Exception as error:  # a provider's library may raise anything; the others' turn comes all the same
        log.exception("The answer for %s could not be taken away", row.name)
        trouble = Unavailable(f"An unexpected fault: {type(error).__name__}.")
    else:
        return bool(given_up.delete()[0])
    given_up.update(trouble=logs.mask(str(trouble)))
    log.warning("%s: the %s answer could not be taken away: %s", row.name, row.kind, trouble)
    return False
