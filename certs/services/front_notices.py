"""Proxies that were noticed and are not believed: what they are is told to an administrator, who may list them.

Anybody who can connect can look like a proxy. So a notice is only ever an address and the names of headers; it is
written at most once a minute by each process for near peers and once for far ones, so that far ones cannot crowd out
near ones; and only a near one (this machine, an inner network) can be listed by one click.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from certs.domain.errors import InputError
from certs.domain.forwarded import address_read, is_near
from certs.domain.roles import Right
from certs.models import PortalState
from certs.services.access import Actor, needs
from certs.services.events import audit_record
from certs.services.front import front_read
from certs.services.portal_state import state_get, state_lock, state_update
from portal import clock

KEEP = timedelta(days=7)
_AGAIN = timedelta(hours=1)
_MOST = 4  # of each kind, near and far
# Forward proxies of companies send Via and X-Forwarded-For too; only what stands in front of a site names these.
TELLING = frozenset({"X-Forwarded-Proto", "X-Forwarded-Host"})


@dataclass(frozen=True)
class Notice:
    peer: str
    headers: Sequence[str]
    at: datetime
    dismissed: bool = False

    @property
    def near(self) -> bool:
        return is_near(self.peer)

    @property
    def is_telling(self) -> bool:
        """Whether it looks like what ends TLS in front, rather than like a visitor's own proxy."""
        return bool(TELLING & set(self.headers))


def notices_read(state: PortalState | None = None) -> list[Notice]:
    """The latest first, without those that are listed by now."""
    state = state or state_get()
    front, since = front_read(state), clock.now() - KEEP
    found = [notice for notice in _notices(state) if notice.at > since and not front.trusts(notice.peer)]
    return sorted(found, key=lambda notice: notice.at, reverse=True)


def notice_suggested(state: PortalState) -> Notice | None:
    """The one that a banner speaks of: near, telling, and not waved away."""
    return next((one for one in notices_read(state) if one.near and one.is_telling and not one.dismissed), None)


def notice_add(peer: str, headers: Iterable[str]) -> None:
    """Remember it; what is known within the hour is not written again."""
    address = address_read(peer)
    if address is None:
        return
    notice = Notice(str(address), sorted(headers), clock.now())
    with transaction.atomic():
        kept = {one.peer: one for one in _notices(state_lock())}
        known = kept.get(notice.peer)
        if known and known.headers == notice.headers and notice.at - known.at < _AGAIN:
            return
        kept[notice.peer] = Notice(notice.peer, notice.headers, notice.at, bool(known and known.dismissed))
        _store(kept.values())


@needs(Right.SETTING)
def notice_dismiss(peer: str, *, actor: Actor) -> None:
    """It is no front of this portal: no banner speaks of it again. Raises InputError where it was not noticed."""
    with transaction.atomic():
        kept = {one.peer: one for one in _notices(state_lock())}
        if peer not in kept:
            raise InputError(f"{peer} is not among the proxies that were noticed.")
        one = kept[peer]
        kept[peer] = Notice(one.peer, one.headers, one.at, True)
        _store(kept.values())
        audit_record(actor, "front.dismiss", peer)


def _notices(state: PortalState) -> list[Notice]:
    return [
        Notice(peer, entry["headers"], datetime.fromisoformat(entry["at"]), entry["dismissed"])
        for peer, entry in state.front_noticed.items()
    ]


def _store(notices: Iterable[Notice]) -> None:
    latest = sorted(notices, key=lambda notice: notice.at, reverse=True)
    near, far = [one for one in latest if one.near], [one for one in latest if not one.near]
    state_update(
        front_noticed={
            one.peer: {"headers": list(one.headers), "at": one.at.isoformat(), "dismissed": one.dismissed}
            for one in (*near[:_MOST], *far[:_MOST])
        }
    )
