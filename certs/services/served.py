"""Whether what is bound is served: every live process says so, and a handshake on every node shows it.

This node asks its own listener; what other nodes saw of theirs stands in `proofs.py`. The worst of all counts.
"""

import time
from collections.abc import Iterable, Sequence

from certs.models import Binding, Certificate, NodeProcess
from certs.services.handshakes import HERE, ServedResult, served_check
from certs.services.listeners import addresses_here, listener_get
from certs.services.nodes import node_name
from certs.services.portal_state import generation_wanted
from certs.services.proofs import proof_read
from certs.services.serving import processes_live

_POLL_SECONDS = 0.2


def served_await(certificate: Certificate, *, timeout: float) -> ServedResult:
    """Wait until every live process serves the generation wanted and handshakes show the certificate, or `timeout`.

    Both are needed: a handshake reaches one process only, and a process may be wrong about itself. Where no node
    serves, or one has not said what it sees, that could not be checked (None).
    """
    deadline = time.monotonic() + timeout
    while True:
        certificate.refresh_from_db()
        result = served_now(certificate)
        if result.ok or (result.ok is None and not _may_come(certificate)) or time.monotonic() > deadline:
            return result
        time.sleep(_POLL_SECONDS)


def served_now(certificate: Certificate) -> ServedResult:
    """One look at what `served_await` waits for."""
    names = list(Binding.objects.filter(certificate=certificate).values_list("server_name", flat=True))
    if not names or certificate.current is None:
        return ServedResult(None, "", HERE, f"{certificate.name} is not bound to anything.")
    wanted = generation_wanted()
    live = processes_live()
    if not live:
        return ServedResult(None, "", HERE, "No serving process has reported within the last seconds.")
    behind = [process for process in live if process.generation < wanted or process.error]
    if behind:
        return ServedResult(False, "", HERE, _behind(behind, len(live)))
    return _worst(sorted({process.node for process in live}), names, certificate.current.fingerprint_sha256)


def _worst(nodes: Sequence[str], names: list[str], fingerprint: str) -> ServedResult:
    results = []
    for node in sorted(nodes, key=lambda each: each == node_name()):  # what costs a look at the database first
        result = _own(names, fingerprint) if node == node_name() else proof_read(node, names, fingerprint)
        if result.ok is False:
            return result
        results.append(result)
    unknown = next((result for result in results if result.ok is None), None)
    if unknown or len(results) == 1:
        return unknown or results[0]
    return ServedResult(True, fingerprint, f"{len(nodes)} nodes", f"{', '.join(nodes)} serve it, each seen there.")


def _own(names: list[str], fingerprint: str) -> ServedResult:
    """No further than the first that fails: a silent listener costs one time limit, not one a name."""
    where = listener_get("https")
    address = addresses_here(where.addresses)
    for name in names:
        result = served_check(address, where.port, name, fingerprint)
        if not result.ok:
            break
    return result


def _behind(behind: Iterable[NodeProcess], total: int) -> str:
    rows = list(behind)
    why = next((row.error for row in rows if row.error), "")
    count = f"{len(rows)} of {total} serving processes {'has' if len(rows) == 1 else 'have'} not taken it over"
    return f"{count}: {why}" if why else f"{count} yet."


def _may_come(certificate: Certificate) -> bool:
    """Whether waiting can help where nothing could be checked: a process or a node may be about to report."""
    live = processes_live()
    if live and all(process.node == node_name() for process in live):
        return False
    return Binding.objects.filter(certificate=certificate).exists()
