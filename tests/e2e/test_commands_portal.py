"""The commands beside a running portal: through the real queue, with exit codes as the shell sees them."""

import contextlib
import hashlib
import json
import os
import pty
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.harness.artifacts import ROOT
from tests.harness.pebble import Pebble
from tests.harness.portal import Portal
from tests.harness.ports import LOOPBACK, wait_until

pytestmark = pytest.mark.e2e
DAY = 86400


def served(portal: Portal) -> str:
    pem = ssl.get_server_certificate((LOOPBACK, portal.https_port), timeout=10)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def manage(portal: Portal, *words: str) -> tuple[int, dict[str, Any]]:
    done = portal.manage(*words, "--json", "--exit-code", check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else {"error": done.stderr}


def await_worker(portal: Portal, alive: bool = True) -> None:
    code = "from certs.services.queue import worker_alive; result = worker_alive()"
    wait_until(lambda: portal.run(code) is alive, timeout=30, what=f"a worker alive: {alive}")


def test_issue_check_and_renew_are_served(portal: Portal, pebble: Pebble) -> None:
    words = ["--directory", pebble.directory_url, "--ca-bundle", str(pebble.ca_bundle_file), "--allow-private-ca"]
    await_worker(portal)
    placeholder = served(portal)

    code, told = manage(portal, "issue", "a.example.test", *words, "--accept-terms", "--bind")
    assert (code, told["result"]) == (10, "renewed"), told
    assert told["certificates"][0]["served"] is True
    first = served(portal)
    assert first != placeholder

    portal.hold_schedule()
    assert manage(portal, "check_certificates")[0] == 0
    portal.move_clock(70 * DAY)
    code, told = manage(portal, "check_certificates")
    assert (code, told["counts"]) == (10, {"renewed": 1}), told
    assert told["certificates"][0]["served"] is True
    assert served(portal) not in {first, placeholder}

    code, told = manage(portal, "renew", "a.example.test")
    assert (code, told["result"]) == (4, "held-back"), told
    code, told = manage(portal, "renew", "a.example.test", "--force")
    assert code == 10, told
    assert pebble.issued() == 3


def test_a_terminal_gets_a_progress_display(portal: Portal, pebble: Pebble) -> None:
    await_worker(portal)
    words = ["--directory", pebble.directory_url, "--ca-bundle", str(pebble.ca_bundle_file), "--allow-private-ca"]
    ours, theirs = pty.openpty()
    command = [sys.executable, str(ROOT / "manage.py"), "issue", "a.example.test", *words, "--accept-terms"]
    environment = {**portal._environ(), "TERM": "xterm", "COLUMNS": "100"}
    with ThreadPoolExecutor(1) as pool:
        screen = pool.submit(read_terminal, ours)
        try:
            done = subprocess.run(
                command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, timeout=240, check=False
            )
        finally:
            os.close(theirs)
        shown = screen.result()
    os.close(ours)
    assert done.returncode == 0, done
    assert done.stdout.decode().splitlines()[-1] == "1 renewed."
    assert "a.example.test: " in shown
    assert "/7" in shown


def read_terminal(descriptor: int) -> str:
    """To its end; a terminal holds 4 KiB, and who writes more waits until it is read."""
    said = b""
    with contextlib.suppress(OSError):  # EIO: nobody has it open any more
        while piece := os.read(descriptor, 65536):
            said += piece
    return said.decode()


def test_a_stopped_portal_is_told_at_once(portal: Portal) -> None:
    await_worker(portal)
    portal.stop()
    await_worker(portal, alive=False)  # its last sign of life counts for some seconds
    done = portal.manage("check_certificates", check=False)
    assert done.returncode == 4
    assert "No worker is running" in done.stderr
    assert portal.manage("check_certificates", "--inline").stdout.strip() == "None due."
