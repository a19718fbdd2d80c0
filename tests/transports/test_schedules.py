"""Whether certbot or acme.sh renews by itself, from files laid out as on a machine and a systemctl of the test's."""

from pathlib import Path

import pytest

from certs.transports.schedules import Schedule, State, schedules_look

DEBIAN = (
    "# renew\n0 */12 * * * root test -x /usr/bin/certbot -a \\! -d /run/systemd/system && perl -e 'sleep 1' && "
    "certbot -q renew --no-random-sleep-on-renew\n"
)
ACMESH = '0 0 * * * "/root/.acme.sh"/acme.sh --cron --home "/root/.acme.sh" > /dev/null\n'


class Machine:
    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, path: str, text: str, mode: int = 0o644) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def systemd(self, script: str) -> None:
        (self.root / "run/systemd/system").mkdir(parents=True)
        self.file("bin/systemctl", f"#!/bin/sh\n{script}\n", 0o755)

    def look(self, client: str = "certbot") -> list[Schedule]:
        return schedules_look(client, root=self.root, path=f"{self.root / 'bin'}:/usr/bin:/bin")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def states(found: list[Schedule]) -> dict[str, State]:
    return {each.place: each.state for each in found}


def test_an_empty_machine(machine: Machine) -> None:
    assert machine.look() == machine.look("acme.sh") == []


def test_timers(machine: Machine) -> None:
    machine.systemd("echo inactive; echo active; echo inactive; exit 3")
    first, *others = machine.look()
    assert (first.place, first.state) == ("snap.certbot.renew.timer", State.ACTIVE)
    assert first.stop == "systemctl disable --now snap.certbot.renew.timer"
    assert {each.state for each in others} == {State.OFF}


@pytest.mark.parametrize("script", ["echo 'Failed to connect to bus' >&2; exit 1", "sleep 60", "exit 0"])
def test_a_systemctl_that_does_not_tell(machine: Machine, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certs.transports.schedules.SECONDS", 0.3)
    machine.systemd(script)
    (only,) = machine.look()
    assert only.state == State.UNKNOWN
    assert only.why


def test_a_machine_whose_systemctl_is_missing(machine: Machine) -> None:
    (machine.root / "run/systemd/system").mkdir(parents=True)
    (only,) = schedules_look("certbot", root=machine.root, path=str(machine.root))
    assert only.state == State.UNKNOWN


def test_debians_cron_file_counts_only_without_systemd(machine: Machine) -> None:
    machine.file("etc/cron.d/certbot", DEBIAN)
    assert states(machine.look()) == {"/etc/cron.d/certbot": State.ACTIVE}
    machine.systemd("echo inactive; echo inactive; echo inactive")
    assert State.ACTIVE not in states(machine.look()).values()


@pytest.mark.parametrize(
    ("path", "text", "active"),
    [
        ("etc/cron.d/own", "0 3 * * * root certbot renew\n", True),
        ("etc/cron.d/own", "# 0 3 * * * root certbot renew\n", False),
        ("etc/cron.d/own.disabled", "0 3 * * * root certbot renew\n", False),
        ("etc/cron.d/own", "0 3 * * * root certbot certificates\n", False),
        ("etc/crontab", "0 3 * * * root /opt/certbot/bin/certbot -q renew\n", True),
        ("etc/cron.daily/certbot", "#!/bin/sh\ncertbot renew\n", True),
    ],
)
def test_cron_files(machine: Machine, path: str, text: str, active: bool) -> None:
    machine.file(path, text)
    assert (State.ACTIVE in states(machine.look()).values()) is active


def test_roots_crontab(machine: Machine) -> None:
    machine.file("var/spool/cron/crontabs/root", f"{ACMESH}0 1 * * * backup\n")
    assert states(machine.look("acme.sh")) == {"root's crontab": State.ACTIVE}
    assert states(machine.look("certbot")) == {"root's crontab": State.OFF}


def test_a_crontab_that_may_not_be_read_could_not_be_checked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.file("var/spool/cron/crontabs/root", ACMESH)

    def refused(file: Path) -> bytes:
        raise PermissionError(13, "Permission denied") if file.exists() else FileNotFoundError(2, "No such file")

    monkeypatch.setattr(Path, "read_bytes", refused)
    (only,) = machine.look("acme.sh")
    assert only.state == State.UNKNOWN
    assert "permission denied; look with: crontab -u root -l" in only.why
