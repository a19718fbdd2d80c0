"""Whether another ACME client renews by itself on this machine: systemd timers, cron files and crontabs.

Only looked at. What cannot be looked at is said so: a container sees nothing of the machine around it.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from certs.transports.local import run

SECONDS = 5.0
_BYTES = 256 * 1024
# Client -> units that renew, as packages and snaps call them.
TIMERS: dict[str, tuple[str, ...]] = {
    "certbot": ("certbot.timer", "snap.certbot.renew.timer", "certbot-renew.timer"),
    "acme.sh": ("acme.sh.timer", "acme_letsencrypt.timer"),
}
_CALLS = {
    "certbot": re.compile(r"\b(certbot|certbot-auto|letsencrypt)\b.*\brenew\b"),
    "acme.sh": re.compile(r"acme\.sh\b.*--(cron|renew-all|renewAll)\b"),
}
_SYSTEMD = "run/systemd/system"
_CRON_FILES = ("etc/crontab", "etc/cron.d", "etc/cron.daily", "etc/cron.weekly")
_CRONTABS = ("var/spool/cron/crontabs/root", "var/spool/cron/root")


class State(StrEnum):
    ACTIVE = "active"
    OFF = "off"
    UNKNOWN = "could not check"


@dataclass(frozen=True)
class Schedule:
    """One place that was looked at; `stop` is the command that ends it."""

    client: str
    place: str
    state: State
    stop: str = ""
    why: str = ""  # of UNKNOWN


def schedules_look(client: str, *, root: Path = Path("/"), path: str = "") -> list[Schedule]:
    """Every place where `client` might renew by itself; those where it does come first. `path` is where systemctl is
    looked for, by default PATH. About 5 s at most."""
    found = [*_timers(client, root, path), *_cron(client, root)]
    return sorted(found, key=lambda each: list(State).index(each.state))


def _timers(client: str, root: Path, path: str) -> Iterator[Schedule]:
    """Without systemd as its first process a machine runs no timers."""
    if not (root / _SYSTEMD).is_dir():
        return
    units = TIMERS[client]
    try:
        env = {"PATH": path or os.environ.get("PATH", ""), "LC_ALL": "C"}
        ran = run(["systemctl", "is-active", *units], env=env, seconds=SECONDS)
    except OSError as error:
        yield Schedule(client, "systemd timers", State.UNKNOWN, why=f"systemctl cannot be run: {error.strerror}")
        return
    states = ran.stdout.split()
    if len(states) != len(units):
        why = (ran.stderr.strip().splitlines() or ["systemctl did not answer"])[-1]
        yield Schedule(client, "systemd timers", State.UNKNOWN, why=why)
        return
    for unit, state in zip(units, states, strict=True):
        active = state in {"active", "activating", "reloading"}
        yield Schedule(client, unit, State.ACTIVE if active else State.OFF, f"systemctl disable --now {unit}")


def _cron(client: str, root: Path) -> Iterator[Schedule]:
    files = [file for name in _CRON_FILES for file in _files(root / name)]
    for file in files:
        text = _text(file)
        if text is None or not _calls(client, text, systemd=(root / _SYSTEMD).is_dir()):
            continue
        place = f"/{file.relative_to(root)}"
        yield Schedule(client, place, State.ACTIVE, f"mv {place} {place}.disabled")
    for name in _CRONTABS:
        yield from _crontab(client, root / name, f"/{name}")


def _crontab(client: str, file: Path, place: str) -> Iterator[Schedule]:
    try:
        text = file.read_bytes()[:_BYTES].decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        why = f"{place}: {(error.strerror or 'it cannot be read').lower()}; look with: crontab -u root -l"
        yield Schedule(client, "root's crontab", State.UNKNOWN, why=why)
        return
    active = _calls(client, text, systemd=False)
    yield Schedule(client, "root's crontab", State.ACTIVE if active else State.OFF, "crontab -u root -e")


def _calls(client: str, text: str, *, systemd: bool) -> bool:
    """Whether a line of it runs the client. The line of Debian's package does nothing where systemd runs."""
    lines = (line.strip() for line in text.splitlines())
    live = [line for line in lines if line and not line.startswith("#")]
    if systemd:
        live = [line for line in live if "-d /run/systemd/system" not in line]
    return any(_CALLS[client].search(line) for line in live)


def _files(place: Path) -> list[Path]:
    """cron passes over names with a dot, as `.disabled` and `.dpkg-old` have."""
    try:
        return sorted(file for file in place.iterdir() if "." not in file.name) if place.is_dir() else [place]
    except OSError:
        return []


def _text(file: Path) -> str | None:
    try:
        return file.read_bytes()[:_BYTES].decode("utf-8", "replace")
    except OSError:
        return None
