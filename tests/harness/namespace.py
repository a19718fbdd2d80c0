"""A private network where ports 80 and 443 are free, names are ours to give, and nothing leaks out.

Some programs insist on fixed ports and on the system's resolver (Caddy's CA). A test module for them is run as a whole
inside network and mount namespaces of its own; it takes root, or a kernel that lets users make namespaces.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.harness import counterparts, run
from tests.harness.artifacts import ROOT

INSIDE = "BINDERY_TEST_INSIDE"
_PREPARE = 'mount --bind "$0" /etc/hosts && ip link set lo up && exec "$@"'
_NO_IPV4 = _PREPARE.replace("up &&", "up && ip address del 127.0.0.1/8 dev lo &&")


def is_inside() -> bool:
    return os.environ.get(INSIDE) == "1"


def _unshare() -> list[str]:
    flags = ["--mount", "--net"] if os.geteuid() == 0 else ["--map-root-user", "--mount", "--net"]
    return [str(counterparts.find("unshare")), *flags]


def refusal() -> str:
    """Why no namespace can be made here; empty where it can."""
    done = subprocess.run([*_unshare(), "true"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip() or "unshare failed")


def run_inside(
    module: Path, *, names: list[str], arguments: Sequence[str] = (), timeout: float = 420, ipv4: bool = True
) -> None:
    """Run the tests of `module` inside; `names` lead to loopback. Fails with their output, prints it otherwise.

    Without `ipv4` the network has no address of that family, not even 127.0.0.1.
    """
    reason = refusal()
    if reason:
        if counterparts.is_demanded():
            pytest.fail(f"left out: private namespaces: {reason}")
        pytest.skip(f"left out: private namespaces: {reason}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "BINDERY_"))}
    with tempfile.NamedTemporaryFile("w", prefix="bindery-hosts-") as hosts:
        loopback = "127.0.0.1" if ipv4 else "::1"
        hosts.write(f"{loopback} localhost {' '.join(names)}\n::1 localhost\n")
        hosts.flush()
        tests = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--tb=short",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            *arguments,
            str(module),
        ]
        done = subprocess.run(
            [*_unshare(), "sh", "-c", _PREPARE if ipv4 else _NO_IPV4, hosts.name, *tests],
            cwd=ROOT,
            env={**environment, INSIDE: "1", run.NAME: os.environ[run.NAME]},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    if done.returncode != 0:
        pytest.fail(f"inside the namespace:\n{done.stdout}\n{done.stderr}", pytrace=False)
    print(done.stdout)
