"""On demand: the first TLS connection to an allowed name starts its issuance.

Whoever can open a connection can ask, so the asking costs nothing until a name is on the list, and never more than one
certificate per name: all asking goes through the lock of one row. A failure is retried by the schedule, at its pace;
visitors cannot hasten it. What a CA's limit leaves last is never spent on a visitor.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction

from certs.domain.certinfo import covers
from certs.domain.errors import BinderyError, ConflictError, InputError, NameRefused
from certs.domain.names import name_parse
from certs.domain.on_demand import HostList, hosts_parse
from certs.domain.roles import Right
from certs.models import AcmeAccount, Binding, Certificate, CertificateName, Order, PortalState
from certs.selectors import accounts_usable, certificates_wanted
from certs.services.access import Actor, needs
from certs.services.bindings import binding_set
from certs.services.container import volume_require, volume_risk
from certs.services.deletion import certificate_delete
from certs.services.events import audit_record
from certs.services.issuing import certificate_order
from certs.services.portal_state import generation_bump, state_get, state_lock, state_update
from portal import clock

log = logging.getLogger("bindery.on_demand")
ACTOR = "a first visitor"
ENVIRONMENT = "environment"
_HOUR = timedelta(hours=1)
# A child of a wildcard that never got a certificate: somebody may have made the name up.
_FORGET_AFTER = timedelta(days=1)


@dataclass(frozen=True)
class Asked:
    """What became of a visitor's name: refused, served, bound, busy, limited, held or ordered; and why."""

    code: str
    text: str


def on_demand_hosts() -> HostList:
    """What the serving processes look for; empty while it is off or nobody is chosen to be asked."""
    state = PortalState.objects.select_related("on_demand_account").filter(pk=1).first()
    if state is None or not state.on_demand or _account(state) is None:
        return HostList()
    return HostList.of(state.on_demand_hosts)


@needs(Right.SETTING)
def on_demand_change(
    *, on: bool, hosts: Sequence[str], account: AcmeAccount | None, actor: Actor, without_volume: bool = False
) -> None:
    """Switch it on or off, and set the list and whom to ask. Every process follows within seconds.

    A name that leaves the list is not renewed any more (what is served stays until it expires), one that comes back
    is. Switching off alone stops no renewal. Raises InputError, NameRefused, ConflictError where the environment
    decides, NotAllowed as `on_demand_volume_require` does.
    """
    wanted = hosts_parse(hosts)
    state = state_get()
    if settings.ON_DEMAND_LOCKED and on != settings.ON_DEMAND:
        raise _locked("BINDERY_ON_DEMAND")
    if settings.ON_DEMAND_HOSTS_LOCKED and wanted != hosts_parse(settings.ON_DEMAND_HOSTS):
        raise _locked("BINDERY_ON_DEMAND_HOSTS")
    if on and not wanted:
        raise InputError("No host is listed.", advice="Type the names that may get a certificate.", code="hosts")
    if on and (account is None or not accounts_usable().filter(pk=account.pk).exists()):
        raise InputError(
            "An account is needed that is registered, or whose terms of service are accepted.",
            advice="Request a certificate once, or choose an account.",
            code="account",
        )
    if on:
        on_demand_volume_require(agreed=without_volume)
    _store(state, on=on, hosts=wanted, account=account, actor=actor)


def on_demand_volume_require(*, agreed: bool) -> None:
    """Before it begins to order: raises NotAllowed (code `volume`) as for a single certificate. Asked once."""
    if not on_demand_orders(state_get()):
        volume_require(agreed=agreed)


def on_demand_orders(state: PortalState) -> bool:
    return state.on_demand and not on_demand_problem(state)


def on_demand_given() -> None:
    """At the start: what the environment says is written down, where the pages show it. Raises NameRefused."""
    if not settings.ON_DEMAND_LOCKED and not settings.ON_DEMAND_HOSTS_LOCKED:
        return
    state = state_get()
    on = settings.ON_DEMAND if settings.ON_DEMAND_LOCKED else state.on_demand
    hosts = hosts_parse(settings.ON_DEMAND_HOSTS) if settings.ON_DEMAND_HOSTS_LOCKED else state.on_demand_hosts
    if on and (risk := volume_risk()):  # nobody is there to be asked, as the page does
        log.warning("Certificates are ordered on demand. %s %s", risk.text, risk.mend)
    _store(state, on=on, hosts=hosts, account=state.on_demand_account, actor=ENVIRONMENT)


def on_demand_problem(state: PortalState) -> str:
    """Why it does nothing although it is on; "" where it works."""
    if not state.on_demand:
        return ""
    if not state.on_demand_hosts:
        return "No host is listed, so nothing is ordered."
    if _account(state) is None:
        return "No registered account is chosen, so nothing is ordered."
    return ""


def on_demand_ask(server_name: str) -> Asked:
    """What a connection for a name without a certificate brings about; call it from no connection's own thread.

    Two processes that ask at once make one certificate and one order. Raises DatabaseError only.
    """
    try:
        name = name_parse(server_name)
    except NameRefused as error:
        return Asked("refused", error.message)
    try:
        with transaction.atomic():
            found = _ask(name, state_lock())
        return found if isinstance(found, Asked) else _bind(name, found)
    except BinderyError as error:
        log.warning("%s was visited, but nothing could be done: %s", name, error)
        return Asked("held", str(error))


def on_demand_forget() -> int:
    """Certificates of wildcard children that nobody ever got, after a day; returns how many are gone."""
    hosts = HostList.of(state_get().on_demand_hosts)
    old = Certificate.objects.filter(
        on_demand=True, current=None, deleted_at=None, created_at__lt=clock.now() - _FORGET_AFTER
    ).exclude(orders__finished_at=None, orders__isnull=False)
    gone = 0
    for certificate in old:
        if not any(hosts.lists(name) for name in certificate.names):
            certificate_delete(certificate, actor="schedule")
            gone += 1
    return gone


def _ask(name: str, state: PortalState) -> "Asked | Certificate":
    """Inside the lock. A certificate that is there already is for the caller to bind: that locks other rows."""
    account = _account(state)
    hosts = HostList.of(state.on_demand_hosts)
    if not state.on_demand or account is None or not hosts.allows(name):
        return Asked("refused", f"{name} is not among the hosts.")
    if _is_served(name):
        return Asked("served", f"{name} has its certificate.")
    if (usable := _usable(name)) is not None:
        return usable
    if _is_under_way(name):
        return Asked("busy", f"{name} is seen to already.")
    if not hosts.lists(name) and _children_made(hosts) >= settings.ON_DEMAND_HOURLY:
        log.warning("%s was visited: %d names of wildcards within an hour are enough", name, settings.ON_DEMAND_HOURLY)
        return Asked("limited", "Too many names of wildcards were asked for within an hour.")
    certificate_order([name], account, actor=ACTOR, bind=True, on_demand=True)
    log.info("%s was visited for the first time: a certificate is ordered.", name)
    return Asked("ordered", f"A certificate for {name} is ordered.")


def _account(state: PortalState) -> AcmeAccount | None:
    account = state.on_demand_account
    return accounts_usable().filter(pk=account.pk).first() if account else None


def _is_served(name: str) -> bool:
    """By a binding of its own or of its wildcard, or by a default that holds the name and that a CA has signed."""
    own = [name, f"*.{name.partition('.')[2]}"]
    if Binding.objects.filter(server_name__in=own).exists():
        return True
    default = Binding.objects.filter(server_name="").select_related("certificate__current").first()
    version = default.certificate.current if default else None
    return version is not None and not version.self_signed and covers(version.names, name)


def _usable(name: str) -> Certificate | None:
    """A certificate that holds the name and could be bound now: of a CA, not the portal's placeholder for one."""
    holds = CertificateName.objects.filter(
        kind=CertificateName.Kind.SAN, name__in=[name, f"*.{name.partition('.')[2]}"]
    )
    rows = Certificate.objects.filter(pk__in=holds.values("certificate"), deleted_at=None, current__key__isnull=False)
    now = clock.now()
    good = rows.filter(
        current__not_before__lte=now,
        current__not_after__gt=now,
        current__revoked_at=None,
        current__key__compromised_at=None,
        current__self_signed=False,
    )
    return good.order_by("-on_demand", "-current__not_after").first()


def _is_under_way(name: str) -> bool:
    """Ordered by somebody, or left to the schedule after a failure."""
    if certificates_wanted([name]).exists():
        return True
    opened = Order.objects.filter(finished_at=None).order_by()  # by the index of those, not of all by their age
    return any(name in names for names in opened.values_list("names", flat=True))


def _children_made(hosts: HostList) -> int:
    """Deleted ones count too: they were asked for."""
    recent = Certificate.objects.filter(on_demand=True, created_at__gt=clock.now() - _HOUR).order_by()
    return sum(not any(map(hosts.lists, names)) for names in recent.values_list("names", flat=True))


def _bind(name: str, certificate: Certificate) -> Asked:
    binding_set(name, certificate, actor=ACTOR)
    log.info("%s was visited: %s holds it and is bound.", name, certificate.name)
    return Asked("bound", f"{certificate.name} is bound to {name}.")


def _store(state: PortalState, *, on: bool, hosts: list[str], account: AcmeAccount | None, actor: Actor) -> None:
    if (on, hosts, account) == (state.on_demand, state.on_demand_hosts, state.on_demand_account):
        return
    before, after = HostList.of(state.on_demand_hosts), HostList.of(hosts)
    with transaction.atomic():
        for certificate in Certificate.objects.filter(on_demand=True, deleted_at=None).order_by("pk"):
            was, now = (any(map(listed.allows, certificate.names)) for listed in (before, after))
            if was != now:
                Certificate.objects.filter(pk=certificate.pk).update(auto_renew=now, next_check_at=clock.now())
        state_update(on_demand=on, on_demand_hosts=hosts, on_demand_account=account)
        generation_bump()
        audit_record(
            actor,
            "on-demand.change",
            before=_shown(state.on_demand, state.on_demand_hosts, state.on_demand_account),
            after=_shown(on, hosts, account),
        )


def _shown(on: bool, hosts: list[str], account: AcmeAccount | None) -> dict[str, object]:
    return {"on": on, "hosts": hosts, "account": str(account) if account else ""}


def _locked(variable: str) -> ConflictError:
    return ConflictError(
        f"{variable} is set in the environment of the portal and decides this.",
        advice="Change or unset it and restart the portal.",
        code="locked",
    )
