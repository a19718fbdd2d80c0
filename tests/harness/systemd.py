"""Debian's own systemd, booted beside the tests: `make install` and its unit for real, on a copy of this machine.

The copy is an overlay on the root directory, in namespaces of its own for processes, mounts and control groups; the
network is the caller's. Of the machine's own units only the journal is started. It takes root.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.harness import counterparts
from tests.harness.artifacts import ROOT
from tests.harness.ports import wait_until

PACKAGES = ROOT / ".cache" / "service"  # made once by `make install DESTDIR=…`: its packages are those of each machine
_SYSTEMD = Path("/lib/systemd/systemd")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_UNITS = Path("etc/systemd/system")
_BOOT = """
set -e
root=$1
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
cd "$root"
mkdir -p before
pivot_root . before
umount --lazy /before
mount --make-rshared /
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system
"""


def refusal() -> str:
    """Why it cannot be booted here; empty where it can."""
    if os.geteuid() != 0:
        return "a machine of its own for systemd takes root"
    if not _SYSTEMD.exists():
        return f"there is no {_SYSTEMD}"
    return "" if _control_groups() else "no writable cgroup2 here"


def packages_install() -> None:
    """What `make install` puts below DESTDIR; quick where the packages are there already. Skips without a Python that a
    service may use, and fails where CI demands all."""
    environment = {**os.environ, "OUTSIDE_HOMES": "1"}
    found = subprocess.run(
        [ROOT / "deploy/find_python.sh"], env=environment, capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        (pytest.fail if counterparts.is_demanded() else pytest.skip)(f"left out: the service: {found.stderr.strip()}")
    done = subprocess.run(
        ["make", "--no-print-directory", "install", f"DESTDIR={PACKAGES}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


class Machine:
    """Use as a context manager, inside a mount namespace of one's own (tests/harness/namespace.py)."""

    def __init__(self, hosts: str = "127.0.0.1 localhost\n") -> None:
        self.hosts = hosts
        self._place = Path(tempfile.mkdtemp(prefix="bindery-machine-"))
        self.root = self._place / "root"
        self._group = (_control_groups() or Path("/nowhere")) / f"bindery-machine-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._assemble()
            self._group.mkdir()
            enter = 'echo 0 > "$0/cgroup.procs" && exec "$@"'
            apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--cgroup", "--uts", "--ipc"]
            self._process = subprocess.Popen(
                ["sh", "-c", enter, str(self._group), *apart, "sh", "-c", _BOOT, "sh", str(self.root)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            wait_until(self._is_up, timeout=20, what="systemd")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, *words: str, check: bool = True, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """As root on that machine, in this checkout."""
        done = subprocess.run(
            ["nsenter", f"--target={self._init()}", "--all", "--root", "--wd", "--",
             "env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root",
             "sh", "-c", 'cd "$0" && exec "$@"', str(ROOT), *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def shows(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _assemble(self) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self._place], check=True)
        self.root.mkdir()
        self._overlay(Path("/"), self.root, "machine")
        for place in ("tmp", "dev"):
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", self.root / place], check=True)
        checkout = self.path(str(ROOT))
        if (
            not checkout.exists() or ROOT.stat().st_dev != Path("/").stat().st_dev
        ):  # below /tmp, or on a disk of its own
            checkout.mkdir(parents=True, exist_ok=True)
            self._overlay(ROOT, checkout, "checkout")
        self.bring_the_packages()
        for name in _DEVICES:
            (self.root / "dev" / name).touch()
            subprocess.run(["mount", "--bind", f"/dev/{name}", self.root / "dev" / name], check=True)
        (self.root / "dev/fd").symlink_to("/proc/self/fd")
        (self.root / "dev/shm").mkdir()
        (self.root / "dev/ptmx").symlink_to("pts/ptmx")
        (self.root / "dev/console").touch()
        (self.root / "etc/hosts").write_text(self.hosts)
        (self.root / "etc/fstab").write_text("")
        (self.root / ".dockerenv").unlink(missing_ok=True)  # where this machine is a container, its copy is none
        self._leave_out_the_units_of_this_machine()

    def _overlay(self, lower: Path, target: Path, name: str) -> None:
        """What is written there goes away with the machine."""
        upper, work = self._place / f"{name}-upper", self._place / f"{name}-work"
        upper.mkdir()
        work.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, target], check=True)

    def bring_the_packages(self) -> None:
        """As if they had been installed before, so that `make install` finds them and needs no index."""
        venvs, target = PACKAGES / "opt/bindery/venvs", "/opt/bindery/venvs"
        if self._process:
            self.run("mkdir", "-p", target)
            self.run("mount", "--bind", "-o", "ro", str(venvs), target)
        else:
            self.path(target).mkdir(parents=True)
            subprocess.run(["mount", "--bind", "-o", "ro", venvs, self.path(target)], check=True)

    def drop_the_packages(self) -> None:
        """So that they may be removed."""
        self.run("umount", "/opt/bindery/venvs")
        subprocess.run(["umount", self.path("/opt/bindery/venvs")], check=False, capture_output=True)

    def _leave_out_the_units_of_this_machine(self) -> None:
        units = self.root / _UNITS
        for wants in [*units.glob("*.wants"), *units.glob("*.requires")]:
            shutil.rmtree(wants)
        for unit in (self.root / "lib/systemd/system").glob("*.wants/*"):
            if not unit.name.startswith("systemd-journald") and not unit.name.endswith(".target"):
                masked = units / unit.name
                masked.unlink(missing_ok=True)
                masked.symlink_to("/dev/null")
        default = units / "default.target"
        default.unlink(missing_ok=True)
        default.symlink_to("/lib/systemd/system/multi-user.target")
        (units / "getty.target").symlink_to("/dev/null")

    def _init(self) -> int:
        """The pid of systemd, seen from here."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"systemd ended with {self._process.returncode}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def _is_up(self) -> bool:
        pid = self._init()
        if not pid or Path(f"/proc/{pid}/comm").read_text().strip() != "systemd":
            return False
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in {"running", "degraded"}

    def _end(self) -> None:
        if self._process:
            self._process.kill()  # its child is the first process of its namespace: all others end with it
            self._process.wait(30)
        deadline = time.monotonic() + 10
        while self._group.exists() and time.monotonic() < deadline:
            for directory, _, _ in os.walk(self._group, topdown=False):
                with contextlib.suppress(OSError):  # until the last process is gone
                    os.rmdir(directory)
            time.sleep(0.05)
        subprocess.run(["umount", "--recursive", "--lazy", self._place], check=False, capture_output=True)
        shutil.rmtree(self._place, ignore_errors=True)


def _control_groups() -> Path | None:
    for place in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (place / "cgroup.procs").exists() and os.access(place / "cgroup.procs", os.W_OK):
            own = next(
                (line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"), ""
            )
            return place / own.lstrip("/") if (place / own.lstrip("/")).is_dir() else place
    return None
