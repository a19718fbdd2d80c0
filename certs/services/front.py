"""TLS in front: which proxies are believed. A change is on trial until somebody who came by it confirms.

Off, or for a peer that is not listed, what a request carries of X-Forwarded-… is dropped before anything reads it
(`portal/forwarded.py`; the rule is `domain/forwarded.py`). The trial ends by the clock, read by read, as that of Force
SSL does: a proxy that says the wrong thing can then lock nobody out for longer. The environment wins over the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from certs.domain.errors import ConflictError, InputError
from certs.domain.forwarded import Network, address_read, is_within, network_shown, proxies_parse
from certs.domain.roles import Right
from certs.models import PortalState
from certs.services.access import Actor, needs
from certs.services.events import audit_record
from certs.services.portal_state import state_get, state_lock, state_update
from portal import clock

ENVIRONMENT = "environment"
_SILENT = timedelta(hours=1)


@dataclass(frozen=True)
class Front:
    """The setting as it holds now. While it is off the list is kept, and nobody is believed."""

    on: bool = False
    listed: tuple[Network, ...] = field(default=())

    @property
    def proxies(self) -> tuple[Network, ...]:
        return self.listed if self.on else ()

    @property
    def shown(self) -> list[str]:
        return [network_shown(network) for network in self.listed]

    def trusts(self, peer: str) -> bool:
        address = address_read(peer)
        return address is not None and is_within(address, self.proxies)


def front_read(state: PortalState | None = None) -> Front:
    """One query for four columns where no row is given."""
    state = state or _columns()
    holds = _wished(state) if front_on_trial(state) else _confirmed(state)
    return Front(
        settings.TLS_IN_FRONT if settings.TLS_IN_FRONT_LOCKED else holds.on,
        proxies_parse(settings.TRUSTED_PROXIES) if settings.TRUSTED_PROXIES_LOCKED else holds.listed,
    )


def front_is_on() -> bool:
    return front_read().on


def front_silent(state: PortalState) -> datetime | None:
    """When a listed proxy last said nothing of how a request came, within the last hour; None while it is well."""
    at = state.front_silent_at
    return at if at and front_read(state).on and clock.now() - at < _SILENT else None


def front_on_trial(state: PortalState) -> bool:
    return state.front_confirm_by is not None and state.front_confirm_by > clock.now()


@needs(Right.SETTING)
def front_change(*, on: bool, proxies: Sequence[str], actor: Actor, trial: bool = True) -> bool:
    """Store it; with `trial` it returns to what was confirmed last unless `front_confirm` is called in time.

    Returns whether anything changed. Raises InputError (code "proxies"), ConflictError where the environment decides.
    """
    wanted = Front(on, proxies_parse(proxies))
    now = front_read()
    _check_locks(wanted, now)
    if on and not wanted.listed:
        raise InputError(
            "No proxy is listed, so nothing that a proxy says would be believed.",
            advice="List the address from which the proxy reaches the portal.",
            code="proxies",
        )
    with transaction.atomic():
        state = state_lock()
        if wanted == now and (trial or state.front_confirm_by is None):
            return False
        confirmed = _confirmed(state)
        trial = trial and wanted != confirmed  # back to what holds anyway
        until = clock.now() + timedelta(seconds=settings.FRONT_CONFIRM_SECONDS)
        state_update(
            tls_in_front=on,
            trusted_proxies=wanted.shown,
            front_before=_stored(confirmed) if trial else None,
            front_confirm_by=until if trial else None,
            front_silent_at=None,
        )
        audit_record(actor, "front.trial" if trial else "front.change", before=_stored(now), after=_stored(wanted))
    return True


def front_given() -> None:
    """At the start: what the environment says is written down, for the pages and for nodes without the variable."""
    if not settings.TLS_IN_FRONT_LOCKED and not settings.TRUSTED_PROXIES_LOCKED:
        return
    given, stored = front_read(), _confirmed(state_get())
    if given == stored:
        return
    with transaction.atomic():
        state_update(tls_in_front=given.on, trusted_proxies=given.shown, front_before=None, front_confirm_by=None)
        audit_record(ENVIRONMENT, "front.change", before=_stored(stored), after=_stored(given))


@needs(Right.SETTING)
def front_return(*, actor: Actor) -> None:
    """Off, from the shell; the list is kept, and nobody on it is believed any more."""
    before = front_read()
    with transaction.atomic():
        state_update(tls_in_front=False, trusted_proxies=before.shown, front_before=None, front_confirm_by=None)
        if before.on and not settings.TLS_IN_FRONT_LOCKED:  # the environment keeps it on
            audit_record(actor, "front.off", before=_stored(before), after=_stored(Front(False, before.listed)))


def front_tidy() -> None:
    """Called by the tick: the row says what already holds by the clock."""
    if not PortalState.objects.filter(pk=1, front_confirm_by__lte=clock.now()).exists():
        return
    with transaction.atomic():
        state = state_lock()
        if state.front_confirm_by is None or front_on_trial(state):
            return
        tried, back = _wished(state), _confirmed(state)
        state_update(tls_in_front=back.on, trusted_proxies=back.shown, front_before=None, front_confirm_by=None)
        audit_record("schedule", "front.returned", before=_stored(tried), after=_stored(back))


def _columns() -> PortalState:
    columns = ("tls_in_front", "trusted_proxies", "front_before", "front_confirm_by")
    return PortalState.objects.only(*columns).filter(pk=1).first() or PortalState()


def _wished(state: PortalState) -> Front:
    """What was saved last, on trial or not."""
    return Front(state.tls_in_front, proxies_parse(state.trusted_proxies))


def _confirmed(state: PortalState) -> Front:
    """What returns when a trial ends."""
    if state.front_confirm_by is None:
        return _wished(state)
    before = state.front_before or {}
    return Front(bool(before.get("on")), proxies_parse(before.get("proxies", ())))


def _stored(front: Front) -> dict[str, object]:
    return {"on": front.on, "proxies": front.shown}


def _check_locks(wanted: Front, now: Front) -> None:
    for locked, same, variable in (
        (settings.TLS_IN_FRONT_LOCKED, wanted.on == now.on, "BINDERY_TLS_IN_FRONT"),
        (settings.TRUSTED_PROXIES_LOCKED, wanted.listed == now.listed, "BINDERY_TRUSTED_PROXIES"),
    ):
        if locked and not same:
            raise ConflictError(
                f"{variable} is set in the environment of the portal and decides this.",
                advice="Change or unset it and restart the portal.",
                code="locked",
            )
