"""Which addresses this machine has, where the portal listens, and who holds its ports."""

from collections.abc import Iterator

from django.conf import settings

from certs.domain.addresses import address_reachable, address_shown
from certs.domain.diagnosis import Line, Situation, bad, bad_for, fine, look, note
from certs.domain.errors import BinderyError
from certs.models import Listener
from certs.services.addresses import url_make
from certs.services.listeners import (
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
_ANSWERED_BY_CA = {80: "HTTP challenges", 443: "HTTPS and TLS challenges"}


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
    asked = portal_asked(url_make(listener.protocol, address_reachable(address), listener.port), seconds=_SECONDS)
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
        return fine("listeners", f"This machine has no {'IPv6' if ':' in address else 'IPv4'}, so {shown} is not used.")
    if runs:
        mend = "Restart the portal; its log says why it does not listen."
        return bad("listeners", f"The portal runs, and nobody listens on {shown}.", mend)
    return note("listeners", f"{shown} is free; the portal does not run.", "Start it: `manage.py up`.")


@look("ports")
def low_ports(situation: Situation) -> Iterator[Line]:
    """Whether somebody else holds ports 80 and 443 of this machine."""
    if node_role() == "worker":
        return
    own = {listener_get(protocol).port for protocol in ("http", "https")}
    for port, use in _ANSWERED_BY_CA.items():
        if port in own:
            continue
        holder = next(filter(None, (port_holder(address, port) for address in ("0.0.0.0", "::"))), "")
        if holder:
            yield note(
                "low-ports",
                f"Port {port} of this machine, where CAs ask ({use}), is held by {holder.rstrip(',')}.",
                "Let that program pass the challenge path on: Configuration ➜ Let's Encrypt ➜ Configure has the line.",
            )
        elif port == settings.PROBE_PORT and (mend := port_80_mend_here()):
            yield note("low-ports", mend.reason, f"{mend.how} {mend.command}")
        else:
            yield fine("low-ports", f"Nobody holds port {port} of this machine; the portal is told to use another.")
