"""Another address or port for the HTTPS listener: the wish, its confirmation, and the moves in between.

A page writes the wish, the supervisor of the node carries it out (`portal/server/rebinding.py`). Only a confirmed one
is written to the listener's row, so a restart in the middle finds the old binding.
"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from certs.domain import states
from certs.domain.addresses import address_parse, address_shown, addresses_collide, addresses_shown
from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.domain.roles import Right
from certs.models import Listener, Rebind
from certs.services.access import Actor, needs, person_of
from certs.services.container import addresses_are_published
from certs.services.events import audit_record, job_event
from certs.services.listeners import (
    address_is_local,
    address_usable,
    listener_answering,
    listener_get,
    local_addresses,
    nodes_serving,
    port_conflict,
    port_holder,
)
from certs.services.nodes import node_name
from portal import clock

# A wish nobody takes up by then is refused: no supervisor runs. Longer than a web process may need to end, since the
# supervisor first sees off what served the address tried before.
WISH_SECONDS = 60


@needs(Right.SETTING)
def rebind_request(*, addresses: list[str], port: int, actor: Actor, listener: Listener | None = None) -> Rebind:
    """Ask the supervisor of a node to move its HTTPS listener: this node's, where no `listener` is given.

    The same binding again is settled at once. Raises InputError for an address or port that cannot be used,
    ConflictError for a locked field, a taken port (naming its holder) or a rebind under way. What only another node can
    judge is judged there, and refused by the row.
    """
    wanted = list(dict.fromkeys(address_parse(address) for address in addresses))
    listener = listener or listener_get("https")
    _check_managed(listener)
    same = set(wanted) == set(listener.addresses) and port == listener.port
    if listener.node == node_name():
        _check_here(wanted, port, listener, same=same)
    rebind_open(listener.node)
    try:
        with transaction.atomic():
            rebind = Rebind.objects.create(
                node=listener.node,
                addresses=wanted,
                port=port,
                old_addresses=listener.addresses,
                old_port=listener.port,
                requested_by=person_of(actor),
                **({"state": states.SETTLED, "finished_at": clock.now()} if same else {}),
            )
    except IntegrityError as error:
        raise ConflictError(
            "Another change of the listener is under way.", advice="Confirm it or wait until it has returned."
        ) from error
    audit_record(
        actor,
        "listener.rebind",
        addresses_shown(wanted, port),
        before={"addresses": listener.addresses, "port": listener.port},
        after={"addresses": wanted, "port": port},
    )
    job_event(rebind.pk, f"Asked for {addresses_shown(wanted, port)}.", step=rebind.state)
    return rebind


def rebind_listener() -> Listener:
    """The listener that an order's wish for another address is about: the only one that serves.

    Raises ConflictError where several nodes do, since each has addresses of its own.
    """
    nodes = nodes_serving()
    if len(nodes) > 1:
        raise ConflictError(
            f"Several nodes serve HTTPS ({', '.join(nodes)}), so one address cannot be chosen for all of them.",
            advice="Leave address and port as they are here; choose them for each node, with BINDERY_HTTPS_ADDRESS and "
            "BINDERY_HTTPS_PORT, or under Configuration ➜ Bindings while you are connected to it.",
            code="port",
        )
    return listener_answering("https")


def rebind_judge(rebind: Rebind) -> None:
    """By the node that is to carry it out, which alone knows its addresses, ports and environment. Raises as
    `rebind_request` does."""
    _check_here(rebind.addresses, rebind.port, listener_get("https"), same=False)


@needs(Right.SETTING)
def rebind_confirm(rebind: Rebind, *, actor: Actor) -> Rebind:
    """The person sees the portal at the new address: keep it. Raises NotAllowed when it is too late or too early."""
    moment = clock.now()
    with transaction.atomic():
        taken = Rebind.objects.filter(pk=rebind.pk, state=states.AWAITING, deadline__gt=clock.real()).update(
            state=states.CONFIRMED
        )
        if taken:
            Listener.objects.filter(node=rebind.node, protocol="https").update(
                addresses=rebind.addresses, port=rebind.port, source=Listener.Source.PAGE, updated_at=moment
            )
            audit_record(actor, "listener.confirm", addresses_shown(rebind.addresses, rebind.port))
            job_event(rebind.pk, "Confirmed.", step=states.CONFIRMED)
    rebind.refresh_from_db()
    if not taken and rebind.state not in {states.CONFIRMED, states.SETTLED}:
        label = states.REBIND.states[rebind.state].label
        raise NotAllowed(
            f"This change cannot be confirmed now: it is in the state '{label}'.",
            advice="Ask for the change again." if rebind.finished_at else "Wait until the new address answers.",
        )
    return rebind


def rebind_open(node: str) -> Rebind | None:
    """The rebind under way on that node. A wish that no supervisor has taken up in time is refused here."""
    rebind = Rebind.objects.filter(node=node, finished_at__isnull=True).first()
    if rebind is None or rebind.state != states.WISHED:
        return rebind
    if clock.now() - rebind.created_at < timedelta(seconds=WISH_SECONDS):
        return rebind
    rebind_move(rebind, states.REFUSED, "No supervisor took this up: is the portal running under `manage.py up`?")
    return None


def rebind_move(rebind: Rebind, after: str, message: str = "", *, confirm_within: float | None = None) -> bool:
    """Compare-and-swap from the state the row was read in; False when somebody else moved it first."""
    if not states.REBIND.allows(rebind.state, after):
        raise ValueError(f"a rebind does not go from {rebind.state} to {after}")
    changes: dict[str, Any] = {"state": after, "message": message or rebind.message}
    if states.REBIND.is_final(after):
        changes["finished_at"] = clock.now()
    if confirm_within is not None:
        changes["deadline"] = clock.real() + timedelta(seconds=confirm_within)
    if not Rebind.objects.filter(pk=rebind.pk, state=rebind.state).update(**changes):
        return False
    rebind.refresh_from_db()
    level = "warning" if after in {states.REFUSED, states.RETURNED} else "info"
    job_event(rebind.pk, message or _sentence(rebind), step=after, level=level)
    return True


def rebind_is_late(rebind: Rebind) -> bool:
    return rebind.deadline is not None and rebind.deadline <= clock.real()


def rebinds_close_interrupted() -> None:
    """At a start of the supervisor: what an earlier one left half done is over, and its row says so."""
    ends = {
        states.WISHED: (states.REFUSED, "The portal was restarted before this was begun."),
        states.OPENING: (states.REFUSED, "The portal was restarted while the address was being opened."),
        states.AWAITING: (states.RETURNED, "The portal was restarted before this was confirmed."),
        states.CONFIRMED: (states.SETTLED, "The portal was restarted and opened the confirmed address."),
    }
    for rebind in Rebind.objects.filter(node=node_name(), finished_at__isnull=True):
        after, message = ends[rebind.state]
        rebind_move(rebind, after, message)


def _check_managed(listener: Listener) -> None:
    if not listener.managed:
        raise ConflictError(
            "The listener belongs to another server, so its address cannot be changed here.",
            advice="Change it where that server is configured, or start the portal with `manage.py up`.",
            code="not-managed",
        )


def _check_published() -> None:
    if addresses_are_published():
        raise ConflictError(
            "The portal runs in a container: the published ports choose where people reach it.",
            advice="Change `ports:` in compose.yaml, `-p` of docker run, or the Service in Kubernetes.",
            code="not-managed",
        )


def _check_here(addresses: list[str], port: int, listener: Listener, *, same: bool) -> None:
    _check_published()
    _check_shape(addresses, port)
    _check_locks(addresses, port)
    if not same:
        _check_free(addresses, port, listener)


def _check_shape(addresses: list[str], port: int) -> None:
    if not addresses:
        raise InputError("At least one address is needed.", advice="Choose 0.0.0.0 and :: for all of them.")
    if not 1 <= port <= 65535:
        raise InputError(f"{port} is not a port.", advice="Type a number from 1 to 65535.")
    for address in addresses:
        if not address_is_local(address):
            raise InputError(
                f"{address} is not an address of this machine.",
                advice=f"It has {', '.join(local_addresses())}. 0.0.0.0 and :: mean all of them.",
            )


def _check_locks(addresses: list[str], port: int) -> None:
    locks = (
        ("BINDERY_HTTPS_PORT", settings.HTTPS_PORT_LOCKED, port == settings.HTTPS_PORT),
        (
            "BINDERY_HTTPS_ADDRESS",
            settings.HTTPS_ADDRESS_LOCKED,
            set(addresses) == set(settings.HTTPS_ADDRESSES),
        ),
    )
    for variable, locked, agrees in locks:
        if locked and not agrees:
            raise ConflictError(
                f"{variable} is set in the environment of the portal and decides this.",
                advice=f"Change or unset {variable} and restart the portal.",
                code="locked",
            )


def _check_free(addresses: list[str], port: int, listener: Listener) -> None:
    plain = listener_get("http")
    for address in addresses:
        if port == plain.port and any(addresses_collide(address, other) for other in plain.addresses):
            raise ConflictError(
                f"{address_shown(address, port)} is the portal's own address for plain HTTP.",
                advice="Choose another port.",
            )
        if port != listener.port or not any(addresses_collide(address, other) for other in listener.addresses):
            _check_usable(address, port)
            continue
        # Our own listener would fail a trial bind, so the list of listeners has to do.
        if port_holder(address, port):
            raise port_conflict(address, port)


def _check_usable(address: str, port: int) -> None:
    """Nobody may hold it but what is left of the last change, which was not kept: the supervisor waits for that end."""
    try:
        address_usable(address, port)
    except ConflictError as error:
        if error.code != "port-taken" or not _left_behind(port) or port_holder(address, port):
            raise


def _left_behind(port: int) -> bool:
    last = Rebind.objects.filter(node=node_name(), finished_at__isnull=False).order_by("-finished_at").first()
    return last is not None and last.port == port and last.state in {states.RETURNED, states.REFUSED}


def _sentence(rebind: Rebind) -> str:
    place = addresses_shown(rebind.addresses, rebind.port)
    return {
        states.OPENING: f"Opening {place}.",
        states.AWAITING: f"The portal answers on {place}. Waiting for the confirmation.",
        states.SETTLED: f"The portal now listens on {place}.",
    }.get(rebind.state, states.REBIND.states[rebind.state].label)
