"""One installation, taken from step to step: it ends proven by handshakes, or undone and proven to be undone.

Before the switch a failure costs nothing, and the machine is left as it was found. From the switch on it either ends
with the new certificate seen from every address, or everything is put back and seen again. A step that was begun is
repeated by whoever comes next, so a killed process leaves nothing between the two.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db import transaction

from certs.domain import states
from certs.domain.errors import BinderyError, InputError
from certs.domain.installation import Material, Plan
from certs.domain.redaction import Redaction
from certs.installers.base import Installer, InstallRefused
from certs.models import CertificateVersion, Installation, InstallationStep, Node
from certs.models.statements import row_update
from certs.services.endpoint_sessions import (
    contact_failed,
    endpoint_open,
    endpoint_redaction,
    installer_of,
)
from certs.services.events import job_event
from certs.services.installations import WAITS, material_of, plan_make
from certs.services.node_probes import Shown, probe_now, probes_await
from certs.transports.hosts.base import Ran, Unreachable
from portal import clock

log = logging.getLogger("bindery.installation")
PROVE_SECONDS = 15.0
MOST_ATTEMPTS = 12  # of one step, for a machine that cannot be reached: three quarters of an hour
KEPT_TEXT = 8 * 1024  # characters of each stream
# Nothing that a server reads has been changed in these.
_BEFORE = (states.PLANNED, states.CHECKING, states.STAGING)


class LeaseLost(Exception):
    """Another process has taken it over."""


@dataclass
class Flow:
    row: Installation
    owner: UUID
    host: Any = None
    _material: Material | None = field(default=None, repr=False)

    @cached_property
    def installer(self) -> Installer:
        return installer_of(self.row.node.endpoint)

    @cached_property
    def redaction(self) -> Redaction:
        return endpoint_redaction(self.row.node.endpoint)

    @property
    def plan(self) -> Plan:
        return Plan.from_json(self.row.plan)

    @property
    def material(self) -> Material:
        if self._material is None:
            self._material = material_of(self.version)
        return self._material

    @property
    def version(self) -> CertificateVersion:
        """Raises InputError where it was deleted meanwhile."""
        if self.row.version is None:
            raise InputError("The certificate was deleted meanwhile.", advice="Choose another one.", code="deleted")
        return self.row.version

    def move(self, after: str, message: str, *, level: str = "info", **fields: Any) -> None:
        """Save the step and its line, while the row is still ours. Raises LeaseLost."""
        before = self.row.state
        if not states.INSTALLATION.allows(before, after):
            raise ValueError(f"an installation does not go from {before} to {after}")
        now = clock.now()
        changed: dict[str, Any] = {"state": after, "attempts": 0, "updated_at": now, "next_attempt_at": now, **fields}
        if states.INSTALLATION.is_final(after):
            changed |= {"finished_at": now, "lease_owner": None, "lease_until": None}
        mine = {"pk": self.row.pk, "state": before, "lease_owner": self.owner, "finished_at": None}
        with transaction.atomic():
            if not row_update(Installation, mine, changed):
                raise LeaseLost
            if after == states.INSTALLED:
                version = self.version
                Node.objects.filter(pk=self.row.node_id).update(
                    installed=version,
                    found_pem=version.leaf_pem + version.chain_pem,
                    found_fingerprint=version.fingerprint_sha256,
                )
            job_event(self.row.pk, message, step=before, level=level)
        for name, value in changed.items():
            setattr(self.row, name, value)

    def witness(self, ran: Ran) -> None:
        InstallationStep.objects.create(
            installation=self.row,
            step=self.row.state,
            command=self.redaction.known(ran.command),
            code=ran.code,
            output=self.redaction.known(ran.text[:KEPT_TEXT]),
            errors=self.redaction.known(ran.errors[:KEPT_TEXT]),
            seconds=round(ran.seconds, 3),
        )


def installation_advance(pk: UUID, owner: UUID) -> None:
    """As far as it goes now. Nothing is raised for what a machine may do."""
    row = Installation.objects.select_related("node__endpoint", "version__certificate", "version__key").get(pk=pk)
    if row.lease_owner != owner or row.finished_at is not None:
        return
    flow = Flow(row, owner)
    try:
        with endpoint_open(row.node.endpoint, flow.witness) as flow.host:
            while not states.INSTALLATION.is_final(row.state):
                _step(flow)
    except LeaseLost:
        log.info("Installation %s was taken over", pk)
    except BinderyError as error:
        contact_failed(row.node.endpoint, error)
        _away(flow, error)


def _step(flow: Flow) -> None:
    state = flow.row.state
    try:
        STEPS[state](flow)
    except Unreachable:
        raise
    except BinderyError as error:
        told = {"error_code": error.code, "error_message": error.message, "error_advice": error.advice}
        if state in _BEFORE:
            _leave_as_found(flow)
            flow.move(states.FAILED, f"Nothing was changed: {error}", level="error", **told)
        elif state == states.RESTORING:
            flow.move(states.STRANDED, f"It could not be put back: {error}", level="error", error_advice=error.advice)
        else:
            flow.move(states.RESTORING, str(error), level="error", **told)


def _away(flow: Flow, error: BinderyError) -> None:
    """The machine cannot be reached just now. Before the switch it is given up in the end; after it, never."""
    row = flow.row
    told = {"error_code": error.code, "error_message": error.message, "error_advice": error.advice}
    try:
        if row.state in _BEFORE and (row.attempts >= MOST_ATTEMPTS or not isinstance(error, Unreachable)):
            flow.move(states.FAILED, f"Nothing was changed: {error}", level="error", **told)
            return
    except LeaseLost:
        return
    wait = WAITS[min(row.attempts, len(WAITS) - 1)]
    Installation.objects.filter(pk=row.pk, lease_owner=flow.owner, finished_at=None).update(
        lease_owner=None, lease_until=None, next_attempt_at=clock.now() + wait, updated_at=clock.now(), **told
    )


def _begin(flow: Flow) -> None:
    plan = flow.plan if flow.row.plan else plan_make(flow.row.node, flow.version, flow.host)
    shown = [probe_now(probe, flow.host) for probe in plan.probes]
    silent = next((each for each in shown if not each.fingerprint), None)
    if silent:
        raise InstallRefused(
            f"{silent.place} does not answer over TLS now ({silent.trouble}), so it could not be proven there.",
            advice="Start the server first.",
            code="server-down",
        )
    seen = [each.fingerprint for each in shown]
    flow.move(states.CHECKING, "Every address answers.", before=seen, plan=plan.to_json())


def _check(flow: Flow) -> None:
    flow.installer.check(flow.host, flow.plan, flow.material)
    flow.move(states.STAGING, "It can be done: rights, room and configuration are good.")


def _stage(flow: Flow) -> None:
    flow.installer.stage(flow.host, flow.plan, flow.material)
    flow.move(states.SWITCHING, "The new files are there, and the old ones are kept.")


def _switch(flow: Flow) -> None:
    flow.installer.switch(flow.host, flow.plan)
    flow.move(states.ACTIVATING, "The new files are in place.")


def _activate(flow: Flow) -> None:
    flow.installer.activate(flow.host, flow.plan)
    flow.move(states.PROVING, "The server was told to read them.")


def _prove(flow: Flow) -> None:
    wanted = flow.row.fingerprint
    shown = probes_await(flow.plan.probes, wanted, flow.host, seconds=PROVE_SECONDS)
    wrong = [each for each in shown if each.fingerprint != wanted]
    if wrong:
        raise InstallRefused(_not_served(wrong[0]), code="not-served", advice="The old certificate is put back.")
    flow.installer.clean(flow.host, flow.plan)
    flow.move(states.INSTALLED, f"Seen at {', '.join(each.place for each in shown)}.")


def _restore(flow: Flow) -> None:
    flow.installer.restore(flow.host, flow.plan)
    for probe, before in zip(flow.plan.probes, flow.row.before, strict=True):
        (seen,) = probes_await([probe], before, flow.host, seconds=PROVE_SECONDS)
        if seen.fingerprint != before:
            raise InstallRefused(
                f"The old files are back, but not served: {_not_served(seen)}",
                advice="Look at the server's own log, and restart it there.",
                code="not-restored",
            )
    flow.installer.clean(flow.host, flow.plan)
    flow.move(states.RESTORED, "The old certificate is back, and seen at every address.", level="warning")


def _leave_as_found(flow: Flow) -> None:
    if not flow.row.plan:
        return
    try:
        flow.installer.clean(flow.host, flow.plan)
    except BinderyError as error:
        job_event(flow.row.pk, f"What was sent could not be removed: {error}", step=flow.row.state, level="warning")


def _not_served(seen: Shown) -> str:
    if not seen.fingerprint:
        return f"{seen.place} does not answer over TLS any more: {seen.trouble}."
    return f"{seen.place} serves another certificate ({seen.fingerprint[:12]}…), as seen from {seen.vantage}."


STEPS: dict[str, Callable[[Flow], None]] = {
    states.PLANNED: _begin,
    states.CHECKING: _check,
    states.STAGING: _stage,
    states.SWITCHING: _switch,
    states.ACTIVATING: _activate,
    states.PROVING: _prove,
    states.RESTORING: _restore,
}
