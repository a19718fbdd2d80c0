"""When a CA that asks port 80 of this machine cannot find the portal there, and the one command that mends it.

Pure: what is so here is a `Standing`. Only what is certain is said: a router that forwards port 80 is not seen from
inside, and what a container's port is published as neither. tests/e2e/test_port_80.py runs the commands as they stand.
"""

import ipaddress
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from certs.domain.containers import publishing_line

CAP_NET_BIND_SERVICE = 1 << 10  # capabilities(7)
INSTALLED_UNIT = "bindery.service"  # of `make install`
SETTINGS = "/etc/bindery/bindery.env"
# The unit of a process in its line of /proc/PID/cgroup; sessions of people are below user.slice.
_UNIT = re.compile(r"^\d+:[^:]*:/(?!user\.slice)(?:.*/)?([\w@.\-]+\.service)$", re.MULTILINE)


class Place(StrEnum):
    """How the portal is started, and so where its port is set."""

    SHELL = "shell"
    INSTALLED = "installed"
    UNIT = "unit"  # somebody's own
    CONTAINER = "container"
    POD = "pod"


@dataclass(frozen=True)
class Standing:
    """`wanted` is the port that CAs ask, 80. `holder`: who else listens there. `checkout`: where `make run` is."""

    place: Place
    port: int
    addresses: Sequence[str]
    wanted: int = 80
    holder: str = ""
    may_bind: bool = True
    unit: str = ""
    checkout: str = "."


@dataclass(frozen=True)
class Mend:
    """`reason` says what is so, `how` comes before `command`, `note` after it; a command may be lacking.

    `known` is False where only a look from outside can tell whether anything is wrong.
    """

    reason: str
    how: str = ""
    command: str = ""
    note: str = ""
    known: bool = True


def unit_of(cgroup: str) -> str:
    """The systemd service of a process, from the text of its /proc/PID/cgroup; empty where it is in none."""
    found = _UNIT.findall(cgroup)
    return found[-1] if found else ""


def may_bind_low(port: int, *, effective: int, first_unprivileged: int) -> bool:
    """`effective`: CapEff of the process; `first_unprivileged`: net.ipv4.ip_unprivileged_port_start (ip-sysctl)."""
    return port >= first_unprivileged or bool(effective & CAP_NET_BIND_SERVICE)


def port_80_mend(standing: Standing) -> Mend | None:
    """None where the portal listens where CAs ask, on an address that others reach."""
    if standing.place in (Place.CONTAINER, Place.POD):
        return _published(standing)
    lonely = all(_is_loopback(address) for address in standing.addresses)
    if standing.port == standing.wanted and not lonely:
        return None
    reason = f"The portal answers plain HTTP on port {standing.port}{' of the loopback address only' if lonely else ''}"
    if standing.port != standing.wanted and standing.holder:
        return Mend(
            f"{reason}. Port {standing.wanted} of this machine, where the CA asks, is held by {standing.holder}.",
            how="Let that program pass the challenge path on. Register tries it, and shows the line for it where it "
            "does not.",
        )
    if lonely:
        reason += f"; the CA asks port {standing.wanted} from outside."
    else:
        reason += f", and nothing on this machine listens on port {standing.wanted}, where the CA asks."
    how, command, note = _COMMANDS[standing.place](standing, _variables(standing, lonely))
    return Mend(f"{reason} It finds the portal only where a router or firewall forwards that port.", how, command, note)


def _variables(standing: Standing, lonely: bool) -> dict[str, str]:
    wanted = {"BINDERY_HTTP_PORT": str(standing.wanted)} if standing.port != standing.wanted else {}
    return wanted | ({"BINDERY_HTTP_ADDRESS": "0.0.0.0,::"} if lonely else {})


def _published(standing: Standing) -> Mend:
    """The port inside is no news: which port of the machine leads to it is decided outside."""
    pod = standing.place == Place.POD
    return Mend(
        f"The portal answers plain HTTP on port {standing.port} of its container.",
        how=f"Port 80 leads there by this line under ports: of {'its Service' if pod else 'compose.yaml'}:",
        command=publishing_line(standing.port, outside=80, name="http", pod=pod),
        known=False,
    )


def _shell(standing: Standing, variables: dict[str, str]) -> tuple[str, str, str]:
    start = " ".join([*(f"{name}={value}" for name, value in variables.items()), "make run"])
    steps = [f"cd {shlex.quote(standing.checkout)}", start]
    note = ""
    if not standing.may_bind:
        steps.insert(1, f"sudo sysctl -w net.ipv4.ip_unprivileged_port_start={standing.wanted}")
        note = "Every user of this machine may open that port then, until it starts anew. `make install` makes a "
        note += "service that alone has the right, and keeps it."
    return "End the portal with Ctrl-C where it was started, then:", " && ".join(steps), note


def _installed(standing: Standing, variables: dict[str, str]) -> tuple[str, str, str]:
    command = f"sudo sed -i -E '/^ *({'|'.join(variables)})=/d' {SETTINGS} && sudo systemctl restart bindery"
    return f"{SETTINGS} sets that; without it the service has port {standing.wanted}:", command, ""


def _unit(standing: Standing, variables: dict[str, str]) -> tuple[str, str, str]:
    lines = ["[Service]", "AmbientCapabilities=CAP_NET_BIND_SERVICE"]
    lines += [f"Environment={name}={value}" for name, value in variables.items()]
    drop_in = f"/etc/systemd/system/{standing.unit}.d"
    text = "".join(f"{line}\\n" for line in lines)
    command = (
        f"sudo mkdir -p {drop_in} && printf '{text}' | sudo tee {drop_in}/port-80.conf && "
        f"sudo systemctl daemon-reload && sudo systemctl restart {standing.unit}"
    )
    return f"The unit {standing.unit} starts it; this gives it the port and the right to it:", command, ""


_COMMANDS = {Place.SHELL: _shell, Place.INSTALLED: _installed, Place.UNIT: _unit}


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
