"""Run by test_service.py in a private network: portal.test leads to loopback, and systemd runs the service there."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

from tests.harness import person as people
from tests.harness.artifacts import ROOT
from tests.harness.browser import chromium, visitor
from tests.harness.namespace import is_inside
from tests.harness.pebble import Pebble
from tests.harness.portal import SETUP_LINK, Portal
from tests.harness.ports import LOOPBACK, wait_until
from tests.harness.systemd import Machine
from tests.harness.tls import served_fingerprint

NAME = "portal.test"
HOSTS = f"{LOOPBACK} localhost {NAME}\n::1 localhost\n"
CAP_NET_BIND_SERVICE = 1 << 10
KEPT = ("/etc/bindery/key_ring.json", "/etc/bindery/secret_key", "/var/lib/bindery/bindery.sqlite3")

pytestmark = pytest.mark.skipif(not is_inside(), reason="run by test_service.py in a namespace of its own")


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(HOSTS) as running:
        drop_in = running.path("/etc/systemd/system/bindery.service.d/quick.conf")
        drop_in.parent.mkdir()
        drop_in.write_text("[Service]\nRestartSec=0.2\n")
        yield running
        print(
            running.run("journalctl", "--no-pager", "-n", "80", "-o", "cat").stdout
        )  # shown where the test has failed


class Service:
    """The portal of that machine, as tests/harness/person.py wants it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def setup_link(self) -> str:
        said = self.machine.run("bindery", "setup_link").stdout
        link = next(link for link in SETUP_LINK.findall(said) if link.startswith("http://"))
        return link.replace("localhost", LOOPBACK)

    def pid(self) -> int:
        return int(self.machine.shows("bindery", "MainPID"))

    def status(self) -> dict[str, str]:
        lines = self.machine.run("cat", f"/proc/{self.pid()}/status").stdout.splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def log(self) -> str:
        return self.machine.run("journalctl", "--no-pager", "-o", "cat", "-u", "bindery").stdout


def test_from_the_installation_to_its_end(machine: Machine) -> None:
    service = Service(machine)
    said = machine.run("make", "install", "DATA=none").stdout
    assert SETUP_LINK.search(said)
    assert "/etc/bindery/key_ring.json" in said
    runs_with_one_right_only(service)

    with Pebble(http_port=80, tls_port=443) as pebble, chromium() as browser, visitor(browser) as alice:
        people.first_administrator(alice, service, host=NAME)  # type: ignore[arg-type]
        expect(alice.page.locator("body")).to_contain_text("/etc/bindery/key_ring.json")  # to be saved
        people.obtain(alice, f"http://{NAME}", pebble, [NAME], anyway=False)
        people.go_to_https(alice, f"https://{NAME}")
        expect(alice.page.locator("body")).to_contain_text(NAME)
    fingerprint = served_fingerprint(443, NAME)
    nothing_is_whose_it_should_not_be(machine)
    the_command_is_the_services(machine)

    before = secrets(machine)
    machine.run("kill", "-9", str(service.pid()))
    wait_until(lambda: answers(fingerprint), timeout=20, what="the service after a kill")

    killed = service.pid()
    machine.run("make", "install")
    assert service.pid() != killed
    assert answers(fingerprint)
    assert secrets(machine) == before

    log = service.log()
    assert not [word for word in ("Traceback", "not permitted", "Permission denied", "MemoryError") if word in log], log
    uninstalled(machine)
    assert secrets(machine) == before


def secrets(machine: Machine) -> dict[str, bytes]:
    return {file: machine.path(file).read_bytes() for file in KEPT[:2]}


def runs_with_one_right_only(service: Service) -> None:
    status = service.status()
    user = service.machine.run("id", "-u", "bindery").stdout.strip()
    assert set(status["Uid"].split()) == {user}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    for rights in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[rights], 16) == CAP_NET_BIND_SERVICE, rights


def nothing_is_whose_it_should_not_be(machine: Machine) -> None:
    assert machine.run("find", "/var/lib/bindery", "!", "-user", "bindery").stdout == ""
    assert machine.run("find", "/var/lib/bindery", "/etc/bindery", "-perm", "/077").stdout == ""
    assert machine.run("find", "/opt/bindery", "!", "-user", "root").stdout == ""
    assert machine.run("find", "/opt/bindery", "!", "-type", "l", "-perm", "/022").stdout == ""
    touch = ["setpriv", "--reuid=bindery", "--regid=bindery", "--clear-groups", "touch"]
    for place in ("/opt/bindery/current/manage.py", "/opt/bindery/new", "/etc/bindery/new"):
        assert machine.run(*touch, place, check=False).returncode != 0, place


def the_command_is_the_services(machine: Machine) -> None:
    assert NAME in machine.run("bindery", "check_certificates", "--dry-run").stdout
    machine.run("bindery", "break_glass")
    doctor = json.loads(machine.run("bindery", "doctor", "--json", check=False).stdout)
    wrong = {line["code"] for line in doctor["lines"] if line["state"] == "bad"}
    assert wrong <= {"directories"}  # the CA of this test has ended
    assert {"running", "file-owners", "disk-writes", "key-ring-fits", "listeners", "worker"} <= {
        line["code"] for line in doctor["lines"] if line["state"] == "ok"
    }
    assert machine.run("find", "/var/lib/bindery", "!", "-user", "bindery").stdout == ""
    refused = machine.run("setpriv", "--reuid=nobody", "--clear-groups", "bindery", "break_glass", check=False)
    assert refused.returncode != 0
    assert "sudo bindery" in refused.stderr


def uninstalled(machine: Machine) -> None:
    machine.run("systemctl", "stop", "bindery")
    machine.drop_the_packages()
    said = machine.run("make", "uninstall").stdout
    assert "rm -r /var/lib/bindery /etc/bindery" in said
    assert machine.shows("bindery", "LoadState") == "not-found"
    for file in ("/opt/bindery", "/usr/local/bin/bindery", "/etc/systemd/system/bindery.service"):
        assert not machine.path(file).exists(), file
    assert machine.path(KEPT[2]).exists()


@pytest.mark.proof
def test_a_second_installation_finds_what_the_first_one_left(machine: Machine) -> None:
    """And one that a person has stopped is not started by an upgrade."""
    machine.run("make", "install", "DATA=none")
    fingerprint = served_fingerprint(443, NAME)
    before = secrets(machine)
    machine.run("systemctl", "stop", "bindery")
    assert "not started" in machine.run("make", "install").stdout
    assert machine.shows("bindery", "ActiveState") == "inactive"
    uninstalled(machine)
    machine.bring_the_packages()
    machine.path(KEPT[0]).rename(machine.path(KEPT[0] + ".away"))
    refused = machine.run("make", "install", check=False)
    assert "its key ring /etc/bindery/key_ring.json is missing" in refused.stderr
    machine.path(KEPT[0] + ".away").rename(machine.path(KEPT[0]))
    machine.run("make", "install")
    assert answers(fingerprint), "the placeholder of before: database, ring and secret key are the same"
    assert secrets(machine) == before


def answers(fingerprint: str) -> bool:
    try:
        requests.get(f"http://{LOOPBACK}/healthz", timeout=5).raise_for_status()
        return served_fingerprint(443, NAME) == fingerprint
    except (requests.RequestException, OSError):
        return False


@pytest.mark.proof
def test_what_make_run_has_made_is_taken_along(machine: Machine) -> None:
    tried = machine.path(str(ROOT / "data"))
    tried.mkdir()
    with Portal(home=tried, settings="portal.settings", own_secrets=True, lock_port=True) as portal:
        portal.run(
            "from certs.models import User\nUser.objects.create_superuser('alice@example.com', 'a long pass phrase')"
        )
        ring = (tried / "keyring.json").read_text()
        refused = machine.run("make", "install", "DATA=data", check=False)
        assert "is running" in refused.stderr
    untouched = (tried / "bindery.sqlite3").read_bytes()

    refused = machine.run("make", "install", check=False)
    assert refused.returncode != 0
    assert f"make install DATA={ROOT / 'data'}" in refused.stderr
    assert not machine.path("/var/lib/bindery/bindery.sqlite3").exists()

    said = machine.run("make", "install", "DATA=data").stdout
    assert not SETUP_LINK.search(said), "there is an administrator already"
    assert machine.path("/etc/bindery/key_ring.json").read_text() == ring
    assert machine.run("find", "/var/lib/bindery", "!", "-user", "bindery").stdout == ""
    assert users(machine.path("/var/lib/bindery/bindery.sqlite3")) == ["alice@example.com"]
    assert (tried / "bindery.sqlite3").read_bytes() == untouched, "copied, never moved"
    assert requests.get(f"http://{LOOPBACK}/readyz", timeout=10).status_code == 200

    again = machine.run("make", "install", "DATA=data", check=False)
    assert "holds a portal already" in again.stderr


def users(database: Path) -> list[str]:
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
    try:
        return [row[0] for row in connection.execute("SELECT email FROM certs_user")]
    finally:
        connection.close()


@pytest.mark.proof
def test_a_port_that_is_taken_is_said_before_the_start(machine: Machine) -> None:
    machine.run("systemd-run", "--unit=other", "python3", "-m", "http.server", "80")
    wait_until(lambda: answers_plain(80), timeout=10, what="the other server")
    refused = machine.run("make", "install", "DATA=none", check=False)
    assert refused.returncode != 0
    assert "port 80 cannot be opened" in refused.stderr
    assert "BINDERY_HTTP_PORT in /etc/bindery/bindery.env" in refused.stderr
    with machine.path("/etc/bindery/bindery.env").open("a") as settings:
        settings.write("BINDERY_HTTP_PORT=8080\n")
    machine.run("systemctl", "enable", "--now", "bindery")  # as it was told
    wait_until(lambda: answers_plain(8080), timeout=20, what="the service beside it")


def answers_plain(port: int) -> bool:
    try:
        return requests.get(f"http://{LOOPBACK}:{port}/healthz", timeout=5).status_code in {200, 404}
    except requests.RequestException:
        return False
