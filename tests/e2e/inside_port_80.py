"""Run by test_port_80.py in a private network. What `doctor` shows is run as it stands, by those who would."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.harness.artifacts import ROOT
from tests.harness.namespace import is_inside
from tests.harness.ports import LOOPBACK, wait_until
from tests.harness.systemd import PACKAGES, Machine

CHECKOUT = "/srv/bindery"
OWN_UNIT = f"""[Service]
User=alice
WorkingDirectory={CHECKOUT}
ExecStart={CHECKOUT}/.venv/bin/python manage.py up
"""

pytestmark = pytest.mark.skipif(not is_inside(), reason="run by test_port_80.py in a namespace of its own")


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine() as running:
        yield running
        print(
            running.run("journalctl", "--no-pager", "-n", "80", "-o", "cat").stdout
        )  # shown where the test has failed


@pytest.fixture
def alice(machine: Machine) -> "Alice":
    return Alice(machine)


class Alice:
    """A person of that machine with sudo, who has a checkout whose packages are installed."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.run("useradd", "--create-home", "--shell", "/bin/sh", "alice")
        rights = machine.path("/etc/sudoers.d/alice")
        rights.write_text("alice ALL=(ALL) NOPASSWD: ALL\n")
        rights.chmod(0o440)
        checkout = machine.path(CHECKOUT)
        for name in ("certs", "portal", "templates", "static", "deploy"):
            shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Makefile", "manage.py", "requirements.txt"):
            shutil.copy(ROOT / name, checkout)
        self._packages(checkout / ".venv")
        machine.run("chown", "--recursive", "alice:", CHECKOUT)

    def _packages(self, venv: Path) -> None:
        """As if they had been installed: there is no index in this network."""
        installed = next((PACKAGES / "opt/bindery/venvs").iterdir()).name
        (venv / "bin").mkdir(parents=True)
        (venv / "bin/python").symlink_to("/usr/bin/python3")
        (venv / "lib").symlink_to(f"/opt/bindery/venvs/{installed}/lib")
        shutil.copy(PACKAGES / "opt/bindery/venvs" / installed / "pyvenv.cfg", venv)
        for stamp in ("made", "ready-run"):
            (venv / stamp).touch()

    def run(self, command: str, *, check: bool = True) -> str:
        return self.machine.run("su", "-", "alice", "-c", command, check=check).stdout

    def starts(self, command: str) -> None:
        """In a terminal that stays open; the last one is closed before."""
        self.machine.run("pkill", "-TERM", "--oldest", "-u", "alice", "-f", "python manage.py up", check=False)
        wait_until(lambda: not answers(8000), timeout=20, what="the end of the portal on port 8000")
        self.machine.run("sh", "-c", f"su - alice -c {json.dumps(command)} >/tmp/alice.log 2>&1 &")

    def shown(self) -> str:
        """The command that mends it, as the portal shows it to her."""
        return command_of(
            self.run(f"cd {CHECKOUT} && .venv/bin/python manage.py doctor --topic ports --json", check=False)
        )


def command_of(document: str) -> str:
    """How, the command, and a note are a line each."""
    told = [line for line in json.loads(document)["lines"] if line["code"] == "port-80"]
    assert told, document
    return str(told[0]["mend"].splitlines()[1])


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://{LOOPBACK}:{port}/healthz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def test_from_a_shell(alice: Alice) -> None:
    alice.starts(f"cd {CHECKOUT} && make run")
    wait_until(lambda: answers(8000), timeout=40, what="the portal on port 8000")
    command = alice.shown()
    assert command.startswith(f"cd {CHECKOUT} && sudo sysctl -w")
    assert "denied" in alice.run("python3 -c 'import socket; socket.create_server((\"\", 80))' 2>&1", check=False)
    alice.starts(command)
    wait_until(lambda: answers(80), timeout=40, what="the portal on port 80")


def test_in_a_unit_of_ones_own(alice: Alice) -> None:
    alice.machine.path("/etc/systemd/system/portal.service").write_text(OWN_UNIT)
    alice.machine.run("systemctl", "daemon-reload")
    alice.machine.run("systemctl", "start", "portal")
    wait_until(lambda: answers(8000), timeout=40, what="the portal on port 8000")
    command = alice.shown()
    assert "portal.service.d/port-80.conf" in command
    alice.run(command)
    wait_until(lambda: answers(80), timeout=40, what="the portal on port 80")


def test_as_the_service(machine: Machine) -> None:
    settings = machine.path("/etc/bindery/bindery.env")
    settings.parent.mkdir(mode=0o700)
    settings.write_text("BINDERY_LOG_LEVEL=warning\nBINDERY_HTTP_PORT=8000\n")
    machine.run("make", "install", "DATA=none")
    assert answers(8000)
    command = command_of(machine.run("bindery", "doctor", "--topic", "ports", "--json", check=False).stdout)
    machine.run("sh", "-c", command)
    wait_until(lambda: answers(80), timeout=40, what="the service on port 80")
    assert settings.read_text() == "BINDERY_LOG_LEVEL=warning\n"


def test_a_forward_on_this_machine() -> None:
    """The line of templates/configuration/_recipes.html, for a client at the other end of a cable."""
    text = (ROOT / "templates/configuration/_recipes.html").read_text()
    line = re.search(r"sudo (iptables .*) --to-ports \{\{ http_port \}\}", text)
    assert line
    script = f"""set -e
ip netns add outside 2>/dev/null || {{ mkdir -p /run/netns; mount -t tmpfs tmpfs /run/netns; ip netns add outside; }}
ip link add inner type veth peer name outer netns outside
ip addr add 192.0.2.1/24 dev inner && ip link set inner up
ip -n outside addr add 192.0.2.2/24 dev outer && ip -n outside link set outer up
python3 -m http.server 8000 --bind 192.0.2.1 >/dev/null 2>&1 & server=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
  python3 -c 'import urllib.request as u; u.urlopen("http://192.0.2.1:8000/", timeout=2)' && break
  sleep 0.3
done
ask='import urllib.request as u; u.urlopen("http://192.0.2.1/", timeout=5)'
ip netns exec outside python3 -c "$ask" 2>/dev/null && exit 3  # not without the rule
{line.group(1)} --to-ports 8000
ip netns exec outside python3 -c "$ask"
kill $server
"""
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
