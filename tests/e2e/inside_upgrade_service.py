"""Run by test_upgrade_service.py in a private network, where systemd runs a copy of this machine."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.harness.artifacts import ROOT
from tests.harness.namespace import is_inside
from tests.harness.ports import LOOPBACK, wait_until
from tests.harness.systemd import Machine
from tests.harness.tls import served_fingerprint

pytestmark = pytest.mark.skipif(not is_inside(), reason="run by test_upgrade_service.py in a namespace of its own")

UP = "certs/management/commands/up.py"
SUPERVISOR = "portal/server/supervisor.py"
LATER = "certs/migrations/9999_later.py"
_MIGRATION = """
from django.db import migrations

def change(apps, editor):
    {act}

class Migration(migrations.Migration):
    dependencies = [("certs", "{after}")]
    operations = [migrations.RunPython(change, migrations.RunPython.noop)]
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine(f"{LOOPBACK} localhost portal.test\n") as running:
        running.run("make", "install", "DATA=none")
        yield running
        print(running.run("journalctl", "--no-pager", "-n", "80", "-o", "cat").stdout)


@pytest.fixture
def checkout(machine: Machine) -> Iterator[Path]:
    """The next version, in which the test breaks something."""
    place = machine.path(str(ROOT))
    before = {name: (place / name).read_text() for name in (UP, SUPERVISOR, "portal/urls.py")}
    yield place
    for name, text in before.items():
        (place / name).write_text(text)
    (place / LATER).unlink(missing_ok=True)


def pid(machine: Machine) -> str:
    return machine.shows("bindery", "MainPID")


def current(machine: Machine) -> str:
    return machine.run("readlink", "/opt/bindery/current").stdout.strip()


def answers() -> bool:
    try:
        return requests.get(f"http://{LOOPBACK}/readyz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def migration(checkout: Path, act: str) -> None:
    last = max(file.stem for file in (checkout / "certs" / "migrations").glob("0*.py"))
    (checkout / LATER).write_text(_MIGRATION.format(act=act, after=last))


def test_it_is_upgraded_and_the_printed_way_back_is_one(machine: Machine) -> None:
    fingerprint, process, release = served_fingerprint(443, "portal.test"), pid(machine), current(machine)
    said = machine.run("make", "upgrade").stdout
    assert "Upgraded" in said
    assert (pid(machine), current(machine)) != (process, release)
    wait_until(answers, timeout=20, what="the new version")
    assert served_fingerprint(443, "portal.test") == fingerprint
    back = re.search(r"The way back: (.*)", said)
    assert back
    machine.run("sh", "-c", back[1])
    wait_until(answers, timeout=20, what="the version before")
    assert current(machine) == release


def test_code_that_is_broken_touches_nothing(machine: Machine, checkout: Path) -> None:
    process, release = pid(machine), current(machine)
    (checkout / "portal" / "urls.py").write_text("import nowhere")
    done = machine.run("make", "upgrade", check=False)
    assert done.returncode != 0
    assert "nowhere" in done.stderr
    assert (pid(machine), current(machine)) == (process, release)


@pytest.mark.parametrize("broken", ["start", "migration"])
def test_one_that_does_not_come_up_leaves_the_place_to_the_one_before(
    broken: str, machine: Machine, checkout: Path
) -> None:
    release = current(machine)
    if broken == "start":
        (checkout / UP).write_text("import sys\nsys.exit(6)\n")
    else:
        migration(checkout, "raise ValueError('a row that nobody thought of')")
    done = machine.run("make", "upgrade", check=False)
    assert done.returncode != 0
    assert "The one before was started again" in done.stderr
    if broken == "migration":
        assert "9999_later failed: a row that nobody thought of. The database is as it was." in done.stdout
    wait_until(answers, timeout=20, what="the version before")
    assert current(machine) == release


def test_one_that_has_changed_the_tables_and_falls_says_the_way_back(machine: Machine, checkout: Path) -> None:
    fingerprint, release = served_fingerprint(443, "portal.test"), current(machine)
    migration(checkout, "pass")
    text = (checkout / SUPERVISOR).read_text()
    (checkout / SUPERVISOR).write_text(text.replace("        schedules_ensure()\n", "        sys.exit(6)\n"))
    done = machine.run("make", "upgrade", check=False)
    assert done.returncode != 0
    assert "has changed the tables" in done.stderr
    assert not answers()
    (restore,) = set(re.findall(r"(rm -f /var/lib/bindery/.*)", done.stdout))
    (back,) = re.findall(r"(?m)^  (systemctl stop .*)$", done.stderr)
    machine.run("systemctl", "stop", "bindery")
    machine.run("sh", "-c", restore)
    machine.run("sh", "-c", back)
    wait_until(answers, timeout=20, what="the version before")
    assert current(machine) == release
    assert served_fingerprint(443, "portal.test") == fingerprint
    assert "Held" in machine.run("bindery", "take_over", "--look").stdout
    machine.run("bindery", "take_over")
    assert machine.run("find", "/var/lib/bindery", "!", "-user", "bindery").stdout == ""
