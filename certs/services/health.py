"""What a load balancer, a monitor and a person should know: can this node answer, and should somebody look."""

import os
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from django.db import Error as DatabaseProblem
from django.db import connection

from certs.domain.errors import SchemaError
from certs.domain.names import names_cover
from certs.models import Binding, Certificate, NodeProcess
from certs.selectors import Shown
from certs.services.addresses import public_url
from certs.services.container import volume_risk
from certs.services.crls import authorities_publishing
from certs.services.export import export_troubles
from certs.services.front import front_is_on
from certs.services.front_check import front_look, front_serves
from certs.services.identity import identity_held
from certs.services.listeners import listener_get
from certs.services.migrations import schema_check
from certs.services.nodes import node_name
from certs.services.portal_state import generation_wanted, state_get
from certs.services.queue import worker_alive
from certs.services.served import served_now
from certs.services.serving import processes_live
from portal import clock

SWEEP_LATE = timedelta(hours=26)


@dataclass(frozen=True)
class Finding:
    """`code` is stable and for programs, `text` a sentence for the person; it holds no secret."""

    code: str
    ok: bool
    text: str


def node_findings() -> list[Finding]:
    """Whether this node can answer at all: its database, tables that fit its code, and TLS contexts of its own in this
    process."""
    try:
        schema_check()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM certs_portalstate")
        return [Finding("database", True, "The database answers."), _listener()]
    except SchemaError as error:
        return [Finding("schema", False, f"{error.message} This node goes on serving TLS, and orders nothing.")]
    except DatabaseProblem as error:
        return [Finding("database", False, f"The database cannot be used: {type(error).__name__}.")]


def portal_findings() -> list[Finding]:
    """What a person should know. Raises no database error of its own making: ask `node_findings` first."""
    return [_identity(), _worker(), _sweep(), *_bound(), _processes(), _import(), _export(), _volume(), *_lists()]


def certificate_installed(certificate: Certificate) -> Shown:
    """Whether every live process serves the current version for each of the certificate's bindings."""
    version = certificate.current
    names = [binding.server_name for binding in certificate.bindings.all()]
    processes = processes_live()
    if version is None or not names:
        return Shown("unknown", "not bound")
    if not processes:
        return Shown("unknown", "could not check: no process reports")
    behind = [
        process
        for process in processes
        if any(process.fingerprints.get(name) != version.fingerprint_sha256 for name in names)
    ]
    if behind:
        return Shown("danger", f"{len(behind)} of {len(processes)} processes serve another one")
    return Shown("ok", f"in all {len(processes)} processes" if len(processes) > 1 else "in the serving process")


def certificate_served(certificate: Certificate) -> Shown:
    """What a handshake with our own listener shows now; takes seconds where the listener is silent.

    With TLS in front, and for a certificate of the public URL's host, what the front shows: nobody meets the listener.
    """
    if front_is_on() and names_cover(certificate.names, urlsplit(public_url()).hostname or ""):
        return front_serves(front_look(), certificate)
    result = served_now(certificate)
    kind = {True: "ok", False: "danger", None: "unknown"}[result.ok]
    words = (
        f"seen from {result.vantage}: {result.detail}" if result.ok is not None else f"could not check. {result.detail}"
    )
    return Shown(kind, words)


def _listener() -> Finding:
    if not listener_get("https").managed:
        return Finding("listener", True, "Another server owns the listener.")
    own = NodeProcess.objects.filter(node=node_name(), pid=os.getpid()).first()
    if own is None or own.generation == 0:
        return Finding("listener", False, "This process has no certificate to serve yet.")
    return Finding("listener", True, "The listener serves.")


def _identity() -> Finding:
    held = identity_held()
    if held:
        return Finding(
            "held", False, f"{held} It serves what it has, and orders nothing until a person says which portal goes on."
        )
    return Finding("held", True, "The database is where it belongs.")


def _worker() -> Finding:
    if worker_alive():
        return Finding("worker", True, "The worker is running.")
    return Finding("worker", False, "The worker is not running: renewals and orders wait.")


def _sweep() -> Finding:
    finished = state_get().sweep_finished_at
    if finished is None:
        return Finding("sweep", False, "The certificates have not been checked yet.")
    if clock.now() - finished > SWEEP_LATE:
        return Finding("sweep", False, f"The last check of the certificates ended {finished:%Y-%m-%d %H:%M} UTC.")
    return Finding("sweep", True, "The certificates were checked.")


def _bound() -> list[Finding]:
    bindings = list(
        Binding.objects.exclude(certificate=state_get().placeholder_id).select_related("certificate__current")
    )
    if front_is_on():
        found = [Finding("placeholder", True, "TLS ends in front of the portal.")]
    elif not any(binding.server_name == "" for binding in bindings):
        found = [Finding("placeholder", False, "HTTPS answers with a placeholder by default.")]
    else:
        found = [Finding("placeholder", True, "A certificate is bound.")]
    now = clock.now()
    expired = {
        binding.certificate.name
        for binding in bindings
        if binding.certificate.current is None or binding.certificate.current.not_after <= now
    }
    if expired:
        return [*found, Finding("expired", False, f"Bound, but expired: {', '.join(sorted(expired))}.")]
    return [*found, Finding("expired", True, "No bound certificate has expired.")]


def _processes() -> Finding:
    wanted = generation_wanted()
    behind = [process for process in processes_live() if process.generation < wanted or process.error]
    if behind:
        named = ", ".join(f"{process.node}/{process.pid}" for process in behind)
        return Finding("generation", False, f"Not every process serves what is bound: {named}.")
    return Finding("generation", True, "Every process serves what is bound.")


def _import() -> Finding:
    error = state_get().import_error
    return Finding("import", not error, error or "Nothing is wrong in the data directory.")


def _volume() -> Finding:
    """Without the words: they name a directory."""
    risk = volume_risk()
    return Finding("volume", risk is None, "The data would go with the container." if risk else "The data are kept.")


def _export() -> Finding:
    """Without the words: they name files."""
    nodes = ", ".join(row.node for row in export_troubles())
    return Finding(
        "export", not nodes, f"Not everything could be exported on {nodes}." if nodes else "No export fails."
    )


def _lists() -> list[Finding]:
    """Of our own CAs, where there are any: the lists as they are stored."""
    moment = clock.now()
    rows = list(authorities_publishing(moment))
    lapsed = sorted(str(row) for row in rows if row.crl_next_update is None or row.crl_next_update <= moment)
    if lapsed:
        return [Finding("crl", False, f"No revocation list in force: {', '.join(lapsed)}.")]
    first = min((row.crl_next_update for row in rows if row.crl_next_update), default=None)
    if first is None:
        return []
    return [Finding("crl", True, f"Every revocation list is in force, until {first:%Y-%m-%d %H:%M} UTC at least.")]
