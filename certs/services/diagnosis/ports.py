"""Which addresses this machine has, where the portal listens, and who holds its ports."""

from collections.abc import Iterator

from django.conf import settings

from certs.domain.addresses import EVERY_ADDRESS, address_shown
from certs.domain.diagnosis import Line, Situation, bad, bad_for, fine, look, note, unknown
from certs.domain.errors import BinderyError
from certs.models import Listener
from certs.services.addresses import url_make
from certs.services.front import front_is_on
from certs.services.listeners import (
    address_here,
    address_is_local,
    address_usable,
    listener_get,
    local_addresses,
    port_conflict,
    port_holder,
)
from certs.services.node_diagnoses import node_role
from certs.services.nodes import supervisor_pid
from certs.services.port80 import port_80_mend_here
from certs.services.self_probe import portal_asked

_SECONDS = 2.0


@look("ports", database=False)
def addresses(situation: Situation) -> Iterator[Line]:
    """Whether this machine has addresses for others."""
    found = [address for address in local_addresses() if address not in {"127.0.0.1", "::1"}]
    if found:
        yield fine("addresses", "This machine has addresses for others.", evidence=", ".join(found))
    else:
        mend = "Connect it; in a container, give it a network."
        yield note("addresses", "This machine has no address but the loopback's.", mend)


@look("ports")
def listeners(situation: Situation) -> Iterator[Line]:
    """Whether the portal listens where it should."""
    if node_role() == "worker":
        yield fine("listeners", "This node works on the queue and listens nowhere.")
        return
    runs = supervisor_pid(situation.home) != 0
    for protocol in ("http", "https"):
        listener = listener_get(protocol)
        if not listener.managed and runs:
            yield note("listeners", f"Another server owns the {protocol.upper()} port of this node.")
            continue
        for address in listener.addresses:
            yield _place(listener, address, runs)


def _place(listener: Listener, address: str, runs: bool) -> Line:
    shown = f"{address_shown(address, listener.port)} ({listener.protocol.upper()})"
    if not address_is_local(address):
        mend = "Choose an address of this machine under Configuration ➜ Bindings, or by BINDERY_HTTPS_ADDRESS."
        return bad("listeners", f"{shown}: this machine does not have that address.", mend)
    if port_holder(address, listener.port):
        return bad_for("listeners", port_conflict(address, listener.port))
    here = address_here(address)
    if not here:
        return fine("listeners", f"This machine has no {_family(address)}, so {shown} is not used.")
    asked = portal_asked(url_make(listener.protocol, here, listener.port), seconds=_SECONDS)
    if asked.ok:
        return fine("listeners", f"The portal listens on {shown}.")
    if asked.ok is False:
        mend = "End that program, or give the portal another port."
        return bad("listeners", f"Something else than this portal answers on {shown}.", mend, evidence=asked.detail)
    return _silent(listener, address, shown, runs)


def _silent(listener: Listener, address: str, shown: str, runs: bool) -> Line:
    """Nothing answers: could the portal listen there, and should it?"""
    try:
        usable = address_usable(address, listener.port)
    except BinderyError as error:
        return bad_for("listeners", error)
    if not usable:
        return fine("listeners", f"This machine has no {_family(address)}, so {shown} is not used.")
    if runs:
        mend = "Restart the portal; its log says why it does not listen."
        return bad("listeners", f"The portal runs, and nobody listens on {shown}.", mend)
    return note("listeners", f"{shown} is free; the portal does not run.", "Start it: `manage.py up`.")


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


@look("ports")
def port_80(situation: Situation) -> Iterator[Line]:
    """Whether a CA that asks port 80 of this machine can find the portal there."""
    if node_role() == "worker":
        return
    mend = port_80_mend_here()
    if mend is None:
        if not front_is_on() and listener_get("http").managed:
            yield fine("port-80", "Nothing on this machine stands between port 80 and the portal.")
        return
    told = "\n".join(filter(None, (mend.how, mend.command, mend.note)))
    if mend.known:
        yield note("port-80", mend.reason, told)
    else:
        yield unknown("port-80", mend.reason, told)


@look("ports")
def port_443(situation: Situation) -> Iterator[Line]:
    """Whether somebody else holds port 443 of this machine."""
    if node_role() == "worker" or listener_get("https").port == settings.PROBE_TLS_PORT:
        return
    holder = next(filter(None, (port_holder(address, settings.PROBE_TLS_PORT) for address in EVERY_ADDRESS)), "")
    if holder and not front_is_on():
        sentence = f"Port {settings.PROBE_TLS_PORT} of this machine is held by {holder.rstrip(',')}."
        mend = (
            "Nothing is wrong if people are to reach the portal on its own port, or through that program: "
            "then say so under Configuration ➜ TLS in front."
        )
        yield note("port-443", sentence, mend)
