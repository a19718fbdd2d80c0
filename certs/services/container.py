"""The container that the portal runs in, if it does: whether its data outlive it, and what chooses its addresses."""

import os
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import connection

from certs.domain import containers
from certs.domain.containers import (
    DOCKER_FILE,
    PODMAN_FILE,
    Keeping,
    Kind,
    container_kind,
    keeping_of,
    mounts_read,
)
from certs.domain.errors import NotAllowed

_ENDS = {
    Keeping.LAYER: "is part of this container, and goes with it",
    Keeping.NAMELESS: "is on a volume without a name: the next container gets an empty one",
    Keeping.POD: "is in an emptyDir, which goes with the pod",
    Keeping.MEMORY: "is in memory, and goes when the container stops",
}


@dataclass(frozen=True)
class VolumeRisk:
    """`text` is what would be lost, `mend` the one thing to do."""

    text: str
    mend: str


def container_here() -> Kind:
    root: Path = settings.CONTAINER_ROOT
    files = frozenset(name for name in (DOCKER_FILE, PODMAN_FILE) if (root / name.lstrip("/")).exists())
    environment = frozenset(os.environ) if root.is_dir() else frozenset[str]()
    cgroup = _text(root / "proc/1/cgroup") + _text(root / "proc/self/cgroup")
    return container_kind(files=files, environment=environment, cgroup=cgroup)


def volume_risk() -> VolumeRisk | None:
    """What would be lost with the container. None outside of one, where a volume holds the data directory, and where
    nothing lies in it: with PostgreSQL, SECRET_KEY and key ring come from outside too (`portal/home.py` insists)."""
    kind = container_here()
    if kind == Kind.NONE or connection.vendor != "sqlite":
        return None
    home = str(settings.HOME.resolve())
    keeping = keeping_of(home, mounts_read(_text(settings.CONTAINER_ROOT / "proc/self/mountinfo")))
    if keeping == Keeping.KEPT:
        return None
    lost = "Every key and certificate would be lost then, and the CA's limits may keep new ones back for days."
    return VolumeRisk(f"The data directory {home} {_ENDS[keeping]}. {lost}", _mend(kind, home))


def volume_require(*, agreed: bool) -> None:
    """Before a certificate is asked for. Raises NotAllowed (code `volume`) unless nothing is at risk or it is known."""
    risk = None if agreed else volume_risk()
    if risk is not None:
        raise NotAllowed(
            risk.text,
            advice=f"{risk.mend} To go on all the same, tick the box, or add --without-volume.",
            code="volume",
        )


def addresses_are_published() -> bool:
    """Whether something outside of the container chooses where people reach the listener: its port inside is given."""
    return settings.HTTPS_PORT_LOCKED and container_here() != Kind.NONE


def publishing_line(port: int, *, outside: int, name: str) -> str:
    """The line that leads port `outside` of the machine, or of the Service, to `port` in this container."""
    return containers.publishing_line(port, outside=outside, name=name, pod=container_here() == Kind.KUBERNETES)


def _mend(kind: Kind, home: str) -> str:
    if kind == Kind.KUBERNETES:
        return f"Mount a PersistentVolumeClaim at {home}, or use PostgreSQL, as in deploy/kubernetes.yaml."
    program = "podman" if kind == Kind.PODMAN else "docker"
    return f"Start the container with a volume that has a name: {program} run -v bindery:{home} …"


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
