"""Whether a CA that asks port 80 of this node can find the portal there, and what mends it (`domain/port80.py`)."""

from pathlib import Path

from django.conf import settings

from certs.domain.containers import Kind
from certs.domain.port80 import INSTALLED_UNIT, Mend, Place, Standing, may_bind_low, port_80_mend, unit_of
from certs.services.container import container_here
from certs.services.front import front_is_on
from certs.services.listeners import listener_get, port_holder
from certs.services.nodes import supervisor_pid
from portal import home

_PROC = Path("/proc")
_FIRST_UNPRIVILEGED = _PROC / "sys/net/ipv4/ip_unprivileged_port_start"
_USUAL_FIRST = 1024


def port_80_mend_here() -> Mend | None:
    """None where nothing is wrong as far as can be seen here. Where TLS ends in front port 80 is the front's, and under
    another server than ours nothing is known."""
    listener = listener_get("http")
    if front_is_on() or not listener.managed:
        return None
    process = _PROC / str(supervisor_pid(home.path()) or "self")
    unit = unit_of(_text(process / "cgroup"))
    port = settings.PROBE_PORT
    return port_80_mend(
        Standing(
            place=_place(unit),
            port=listener.port,
            addresses=listener.addresses,
            wanted=port,
            holder=_holder(port) if listener.port != port else "",
            may_bind=may_bind_low(port, effective=_effective(process), first_unprivileged=_first_unprivileged()),
            unit=unit,
            checkout=str(home.BASE_DIR),
        )
    )


def _place(unit: str) -> Place:
    kind = container_here()
    if kind != Kind.NONE:
        return Place.POD if kind == Kind.KUBERNETES else Place.CONTAINER
    if unit == INSTALLED_UNIT:
        return Place.INSTALLED
    return Place.UNIT if unit else Place.SHELL


def _holder(port: int) -> str:
    return next(filter(None, (port_holder(address, port).rstrip(",") for address in ("0.0.0.0", "::"))), "")


def _effective(process: Path) -> int:
    lines = _text(process / "status").splitlines()
    return int(next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0"), 16)


def _first_unprivileged() -> int:
    text = _text(_FIRST_UNPRIVILEGED).strip()
    return int(text) if text else _USUAL_FIRST


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
