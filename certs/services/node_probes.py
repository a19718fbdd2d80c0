"""What a node serves, seen by handshakes: from the portal where it is reached, else from the machine itself."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from certs.domain.addresses import address_shown
from certs.domain.installation import Probe
from certs.services.handshakes import HERE, leaf_seen, leaf_through

SECONDS = 5.0
THERE = "the machine itself"
ROUNDS = 5
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Shown:
    """What one probe showed: SHA-256 of the leaf's DER in hex, "" where there was no handshake, and then why."""

    probe: Probe
    fingerprint: str
    vantage: str
    trouble: str = ""

    @property
    def place(self) -> str:
        where = address_shown(self.probe.address, self.probe.port)
        return f"{where} for {self.probe.server_name}" if self.probe.server_name else where


def probe_now(probe: Probe, host: Any) -> Shown:
    """Both vantage points are tried before it counts as silent; a server that answers from outside is asked there."""
    try:
        return _shown(probe, leaf_seen(probe.address, probe.port, probe.server_name, SECONDS), HERE)
    except OSError:
        pass
    try:
        with host.reach(probe.address, probe.port, seconds=SECONDS) as raw:
            return _shown(probe, leaf_through(raw, probe.server_name), THERE)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        return Shown(probe, "", THERE, reason)


def probes_await(probes: Sequence[Probe], fingerprint: str, host: Any, *, seconds: float) -> list[Shown]:
    """Until every probe has shown the certificate `ROUNDS` times in a row, or the time is up.

    Once is not enough: for a moment after a reload, old and new workers take turns at the same socket (seen with
    nginx), and one handshake says only which of them was faster.
    """
    deadline = time.monotonic() + seconds
    row = 0
    while True:
        found = [probe_now(probe, host) for probe in probes]
        row = row + 1 if all(each.fingerprint == fingerprint for each in found) else 0
        if row == ROUNDS or (row == 0 and time.monotonic() > deadline):
            return found
        time.sleep(_POLL_SECONDS)


def _shown(probe: Probe, der: bytes, vantage: str) -> Shown:
    return Shown(probe, sha256(der).hexdigest(), vantage)
