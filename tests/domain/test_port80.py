"""What is said of port 80, and the command for each way in which a portal may be started."""

import pytest

from certs.domain.port80 import Place, Standing, may_bind_low, port_80_mend, unit_of

EVERY = ("0.0.0.0", "::")
SYSCTL = "sudo sysctl -w net.ipv4.ip_unprivileged_port_start=80"


def standing(place: Place = Place.SHELL, **changes: object) -> Standing:
    return Standing(**{"place": place, "port": 8000, "addresses": EVERY, "checkout": "/srv/bindery", **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("place", [Place.SHELL, Place.INSTALLED, Place.UNIT])
def test_nothing_is_wrong_on_port_80(place: Place) -> None:
    assert port_80_mend(standing(place, port=80)) is None
    assert port_80_mend(standing(place, port=80, addresses=["127.0.0.1", "192.0.2.1"])) is None


def test_from_a_shell_it_is_started_on_port_80() -> None:
    mend = port_80_mend(standing())
    assert mend
    assert mend.known
    assert "nothing on this machine listens on port 80" in mend.reason
    assert "router or firewall forwards that port" in mend.reason
    assert mend.command == "cd /srv/bindery && BINDERY_HTTP_PORT=80 make run"
    assert not mend.note


def test_without_the_right_that_comes_first() -> None:
    mend = port_80_mend(standing(may_bind=False, checkout="/home/alice/my bindery"))
    assert mend
    assert mend.command == f"cd '/home/alice/my bindery' && {SYSCTL} && BINDERY_HTTP_PORT=80 make run"
    assert "make install" in mend.note


def test_an_address_that_nobody_else_reaches() -> None:
    mend = port_80_mend(standing(port=80, addresses=["127.0.0.1", "::1"]))
    assert mend
    assert "of the loopback address only" in mend.reason
    assert mend.command == "cd /srv/bindery && BINDERY_HTTP_ADDRESS=0.0.0.0,:: make run"


def test_the_service_drops_what_its_settings_say() -> None:
    mend = port_80_mend(standing(Place.INSTALLED, unit="bindery.service"))
    assert mend
    assert mend.command == (
        "sudo sed -i -E '/^ *(BINDERY_HTTP_PORT)=/d' /etc/bindery/bindery.env && sudo systemctl restart bindery"
    )
    both = port_80_mend(standing(Place.INSTALLED, addresses=["127.0.0.1"]))
    assert both
    assert "'/^ *(BINDERY_HTTP_PORT|BINDERY_HTTP_ADDRESS)=/d'" in both.command


def test_somebody_elses_unit_gets_a_drop_in() -> None:
    mend = port_80_mend(standing(Place.UNIT, unit="portal@1.service"))
    assert mend
    assert "sudo tee /etc/systemd/system/portal@1.service.d/port-80.conf" in mend.command
    assert r"AmbientCapabilities=CAP_NET_BIND_SERVICE\nEnvironment=BINDERY_HTTP_PORT=80\n" in mend.command
    assert mend.command.endswith("sudo systemctl restart portal@1.service")


def test_whoever_holds_the_port_is_named_and_no_command_offered() -> None:
    mend = port_80_mend(standing(holder="nginx (process 7, user root)"))
    assert mend
    assert mend.known
    assert "held by nginx (process 7, user root)" in mend.reason
    assert not mend.command


@pytest.mark.parametrize("port", [80, 8000])
def test_a_container_cannot_know_what_is_published(port: int) -> None:
    mend = port_80_mend(standing(Place.CONTAINER, port=port))
    assert mend
    assert not mend.known
    assert mend.command == f'- "80:{port}"'
    pod = port_80_mend(standing(Place.POD, port=port))
    assert pod
    assert pod.command == f"- {{name: http, port: 80, targetPort: {port}}}"


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/bindery.service", "bindery.service"),
        ("1:name=systemd:/system.slice/bindery.service\n0::/system.slice/bindery.service\n", "bindery.service"),
        ("0::/system.slice/system-portal.slice/portal@1.service", "portal@1.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope", ""),
        # A terminal of a desktop: whoever types there starts no service.
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome.service", ""),
        ("0::/init.scope", ""),
        ("0::/", ""),
        ("", ""),
    ],
)
def test_the_unit_is_read_from_the_control_group(cgroup: str, unit: str) -> None:
    assert unit_of(cgroup) == unit


def test_who_may_open_a_low_port() -> None:
    assert may_bind_low(80, effective=0x400, first_unprivileged=1024)
    assert may_bind_low(80, effective=0, first_unprivileged=80)
    assert not may_bind_low(80, effective=0x200, first_unprivileged=81)
