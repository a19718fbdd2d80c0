"""The last steps: bind what was issued, and prove that it is served. No trouble here ever loses the certificate."""

import time

from django.conf import settings

from certs.domain import states
from certs.domain.addresses import addresses_meant
from certs.domain.certinfo import covers
from certs.domain.errors import BinderyError
from certs.domain.names import is_address
from certs.models import Binding, Order, Rebind
from certs.services.access import Actor, OnBehalf
from certs.services.bindings import binding_remove, binding_set
from certs.services.order_flow import Flow
from certs.services.rebinds import rebind_listener, rebind_request
from certs.services.served import served_await

REBIND_SECONDS = 25.0
_POLL_SECONDS = 0.2
_ANSWERING = (states.AWAITING, states.CONFIRMED, states.SETTLED)


def step_bind(flow: Flow) -> None:
    """issued → bound, or done where nothing on our listener uses the certificate."""
    flow.client_return()
    order = flow.order
    if not is_to_bind(order):
        end_unbound(flow)
        return
    if not order.bind:
        flow.move(states.BOUND, "The listener takes it over.")
        return
    try:
        _bind(order)
        _rebind(flow)
    except BinderyError as error:
        # Kept for the last step to tell: the certificate is there in any case.
        flow.move(
            states.BOUND,
            f"The certificate is kept, but it could not be bound as wished: {error}",
            level="warning",
            error_code=error.code,
            error_message=error.message,
            error_advice=error.advice,
            served=False,
        )
        return
    flow.move(states.BOUND, "Bound to the listener.")


def is_to_bind(order: Order) -> bool:
    """Whether anything on our listener is to use what was issued."""
    return order.bind or Binding.objects.filter(certificate=order.certificate_id).exists()


def end_unbound(flow: Flow) -> None:
    flow.move(states.DONE, "Done: the certificate is issued. It is not bound to the listener.")


def step_prove(flow: Flow) -> None:
    """bound → done: every live process on the wanted generation, and a handshake from outside."""
    order = flow.order
    if order.error_code:
        kept = {name: getattr(order, name) for name in ("error_code", "error_message", "error_advice")}
        flow.move(
            states.DONE,
            f"Issued, but not bound as wished: {order.error_message}",
            level="warning",
            served=False,
            **kept,
        )
        return
    result = served_await(order.certificate, timeout=settings.SERVED_SECONDS)
    if result.ok:
        flow.move(states.DONE, f"Done: {result.detail}", served=True)
        return
    known = "not yet served" if result.ok is False else "whether it is served could not be checked"
    message = f"Issued, bound, but {known}: {result.detail}"
    flow.move(
        states.DONE,
        message,
        level="warning",
        served=result.ok,
        error_code="not-served" if result.ok is False else "not-checked",
        error_message=message,
        error_advice="Nothing needs to be ordered again. /statusz names the process that is behind.",
    )


def _actor(order: Order) -> Actor:
    return OnBehalf(order.requested_by) if order.requested_by else "schedule"


def _bind(order: Order) -> None:
    """As default and for each name; names that the new version does not hold any more are let go. What a visitor
    brought about is for its own name only."""
    version = order.version
    for binding in Binding.objects.filter(certificate=order.certificate_id).exclude(server_name=""):
        if version is not None and not covers(version.names, binding.server_name):
            binding_remove(binding.server_name, actor=_actor(order))
    default = [] if order.certificate.on_demand else [""]
    for name in [*default, *(name for name in order.names if not is_address(name))]:
        binding_set(name, order.certificate, actor=_actor(order))


def _rebind(flow: Flow) -> None:
    """Move the listener where another address or port was wished. Raises BinderyError saying why it did not go."""
    order = flow.order
    if not order.bind_address and order.bind_port is None:
        return
    listener = rebind_listener()
    addresses = addresses_meant(order.bind_address) or listener.addresses
    port = order.bind_port or listener.port
    if set(addresses) == set(listener.addresses) and port == listener.port:
        return
    rebind = _asked_before(order, listener.node, addresses, port) or rebind_request(
        addresses=addresses, port=port, actor=_actor(order), listener=listener
    )
    state = _await_rebind(rebind)
    if state not in _ANSWERING:
        raise BinderyError(
            rebind.message or "The listener could not be moved in time.",
            advice="Choose address and port under Configuration ➜ Bindings.",
            code="rebind",
        )
    flow.note("The listener answers at its new address.")


def _asked_before(order: Order, node: str, addresses: list[str], port: int) -> Rebind | None:
    """What a killed worker already asked for, whatever became of it: nobody is asked to confirm twice."""
    asked = Rebind.objects.filter(node=node, port=port, created_at__gte=order.created_at)
    return next((rebind for rebind in asked if set(rebind.addresses) == set(addresses)), None)


def _await_rebind(rebind: Rebind) -> str:
    deadline = time.monotonic() + REBIND_SECONDS
    while rebind.state in {states.WISHED, states.OPENING} and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        rebind.refresh_from_db()
    return rebind.state
