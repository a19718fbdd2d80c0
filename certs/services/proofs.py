"""What handshakes of a node with its own listener showed, stored for nodes that cannot ask there.

A worker node of a cluster listens nowhere, and the address of a listener means nothing on another machine. So each node
that listens asks itself, from outside its serving processes, whenever what is bound has changed and now and then anyway
(`portal/server/proving.py`). `served.py` counts what stands here.
"""

import time
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from certs.domain.addresses import address_shown
from certs.models import Binding, Listener
from certs.services.handshakes import ServedResult, served_check
from certs.services.listeners import addresses_here
from certs.services.nodes import node_name
from certs.services.portal_state import generation_wanted
from certs.services.serving import processes_live
from portal import clock

TAKEN_OVER_SECONDS = 20.0  # for the processes of this node to serve what is wanted
_STALE = 3  # times PROOF_AGAIN_SECONDS
_POLL_SECONDS = 0.1


def proofs_are_needed() -> bool:
    """SQLite has one machine, which asks its listener itself."""
    return connection.vendor != "sqlite"


def proofs_are_open() -> bool:
    """Whether this node has still to see something that is bound."""
    listener = Listener.objects.filter(node=node_name(), protocol="https").first()
    return listener is not None and bool(_due(listener, _wanted()))


def proofs_renew() -> int:
    """Ask this node's own listener for what is bound and not yet seen there; returns how many names were asked for.

    Waits until the node's processes have taken it over, TAKEN_OVER_SECONDS at most. Network, so not inside `atomic()`.
    """
    listener = Listener.objects.filter(node=node_name(), protocol="https").first()
    if listener is None:
        return 0
    _await_takeover()
    wanted = _wanted()
    due = _due(listener, wanted)
    kept = {name: entry for name, entry in _entries(listener).items() if name in wanted and name not in due}
    seen = {
        name: _entry(wanted[name], _place(listener), result) for name, result in _ask(listener, due, wanted).items()
    }
    Listener.objects.filter(pk=listener.pk).update(proofs={**kept, **seen}, proven_at=clock.real())
    return len(seen)


def proof_read(node: str, names: list[str], fingerprint: str) -> ServedResult:
    """What that node saw for each of the names, the worst of it. None where it has not looked since, or lately."""
    listener = Listener.objects.filter(node=node, protocol="https").first()
    entries = _entries(listener) if listener else {}
    place = _place(listener) if listener else ""
    results = [_result(entries.get(name), fingerprint, place, node) for name in names]
    return next((result for result in results if not result.ok), results[0])


def _result(entry: dict[str, Any] | None, fingerprint: str, place: str, node: str) -> ServedResult:
    vantage = f"node {node}"
    if entry is None or (entry["asked"], entry["place"]) != (fingerprint, place):
        return ServedResult(None, "", vantage, f"{node} has not said yet what a handshake with its listener shows.")
    age = (clock.real() - datetime.fromisoformat(entry["at"])).total_seconds()
    if age > _STALE * settings.PROOF_AGAIN_SECONDS:
        return ServedResult(None, "", vantage, f"{node} has not looked at its listener for {age / 60:.0f} minutes.")
    return ServedResult(entry["ok"], entry["seen"], vantage, f"{node}: {entry['detail']}")


def _wanted() -> dict[str, str]:
    bound = Binding.objects.filter(certificate__current__isnull=False)
    return dict(bound.values_list("server_name", "certificate__current__fingerprint_sha256"))


def _entries(listener: Listener) -> dict[str, dict[str, Any]]:
    return dict(listener.proofs)


def _due(listener: Listener, wanted: dict[str, str]) -> list[str]:
    """Names never seen with what is wanted, and those whose last look is old."""
    before = clock.real() - timedelta(seconds=settings.PROOF_AGAIN_SECONDS)
    entries, place = _entries(listener), _place(listener)

    def is_good(name: str) -> bool:
        entry = entries.get(name)
        if entry is None or (entry["asked"], entry["place"]) != (wanted[name], place) or not entry["ok"]:
            return False
        return datetime.fromisoformat(entry["at"]) > before

    return [name for name in wanted if not is_good(name)]


def _ask(listener: Listener, names: list[str], wanted: dict[str, str]) -> dict[str, ServedResult]:
    """One after the other. A listener that does not answer at all is asked once: each silence costs seconds."""
    address = addresses_here(listener.addresses)
    found: dict[str, ServedResult] = {}
    for name in names:
        found[name] = served_check(address, listener.port, name, wanted[name])
        if not found[name].ok and not found[name].fingerprint:
            return dict.fromkeys(names, found[name]) | found
    return found


def _entry(asked: str, place: str, result: ServedResult) -> dict[str, Any]:
    return {
        "asked": asked,
        "place": place,
        "ok": result.ok,
        "seen": result.fingerprint,
        "detail": result.detail,
        "at": clock.real().isoformat(),
    }


def _place(listener: Listener) -> str:
    """A proof is about an address: a listener that has moved is asked anew."""
    return address_shown(listener.addresses[0], listener.port)


def _await_takeover() -> None:
    deadline = time.monotonic() + TAKEN_OVER_SECONDS
    while time.monotonic() < deadline:
        wanted, own = generation_wanted(), processes_live(node_name())
        if own and all(process.generation >= wanted for process in own):
            return
        time.sleep(_POLL_SECONDS)
