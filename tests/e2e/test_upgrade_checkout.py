"""`git pull && make upgrade`, as the README says it: from the version that landed before this one, and back."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_up_certificates import NAME, wish
from tests.harness.artifacts import ROOT
from tests.harness.need import need
from tests.harness.pebble import Pebble
from tests.harness.ports import free_ports, is_listening, wait_until
from tests.harness.process import Process
from tests.harness.tls import served_fingerprint

pytestmark = [pytest.mark.e2e]


def git(*words: str, at: Path = ROOT) -> str:
    done = subprocess.run(["git", *words], cwd=at, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"left out: the history is not here: {done.stderr.strip()}")
    return done.stdout.strip()


def version_before() -> str:
    """The last commit whose tables are those of the version before."""
    newest = max(file.name for file in (ROOT / "certs" / "migrations").glob("0*.py"))
    added = git("log", "--diff-filter=A", "--format=%H", "--", f"certs/migrations/{newest}").splitlines()
    if not added:
        pytest.skip(f"left out: {newest} is not committed")
    return git("rev-parse", f"{added[-1]}~1")


class Checkout:
    """A clone with a data directory of its own, whose packages are those of this checkout."""

    def __init__(self, place: Path, commit: str) -> None:
        git("clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(place))
        self.place = place
        self.http_port, self.https_port = free_ports(2)
        self.log = place.with_name("up.log")
        (place / ".venv").symlink_to(Path(sys.prefix))
        self.change_to(commit)

    def change_to(self, commit: str) -> None:
        git("checkout", "--quiet", "--detach", commit, at=self.place)

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "--no-print-directory", *words], cwd=self.place, env=self._environ(), capture_output=True,
            text=True, timeout=280, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    @contextmanager
    def running(self, *arguments: str) -> Iterator[Process]:
        python = self.place / ".venv" / "bin" / "python"
        with_environment = {"env": self._environ(), "cwd": self.place}
        process = Process([python, self.place / "manage.py", "up", *arguments], self.log, **with_environment)
        try:
            wait_until(lambda: is_listening(self.https_port), timeout=40, what="the portal")
            yield process
        finally:
            process.stop(20)

    def _environ(self) -> dict[str, str]:
        foreign = ("BINDERY_", "DJANGO_", "COVERAGE_", "PYTEST_", "MAKE", "MFLAGS", "DATABASE_URL")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        ports = {"BINDERY_HTTP_PORT": str(self.http_port), "BINDERY_HTTPS_PORT": str(self.https_port)}
        return {**inherited, **ports, "PYTHONUNBUFFERED": "1"}

    def states(self) -> list[str]:
        with closing(sqlite3.connect(self.place / "data" / "bindery.sqlite3", timeout=20)) as database:
            return [state for (state,) in database.execute("SELECT state FROM certs_order")]


@pytest.mark.proof
def test_from_the_version_before_with_a_certificate_and_back(tmp_path: Path) -> None:
    need("pebble")
    before, now = version_before(), git("rev-parse", "HEAD")
    checkout = Checkout(tmp_path / "bindery", before)
    with Pebble(http_port=checkout.http_port) as ca:
        with checkout.running(*wish(ca, "--accept-le-sa")):
            wait_until(lambda: checkout.states() == ["done"], timeout=60, what="the order")
            fingerprint = served_fingerprint(checkout.https_port, NAME)
            checkout.change_to(now)  # git pull
            (checkout.place / "requirements.txt").touch()  # other packages: they are fetched for real
            held = checkout.make("upgrade")
            assert held.returncode != 0
            assert "a portal is running" in held.stderr, held
            assert served_fingerprint(checkout.https_port, NAME) == fingerprint  # untouched
        done = checkout.make("upgrade")
        assert done.returncode == 0, done
        assert "Upgraded" in done.stdout
        restore, packages = re.findall(r"(?m)^  (rm .*)$", done.stdout)
        again = checkout.make("upgrade")
        assert again.returncode == 0, again
        assert "snapshot" not in again.stdout
        with checkout.running():
            wait_until(
                lambda: served_fingerprint(checkout.https_port, NAME) == fingerprint, timeout=20, what="it served"
            )
            assert checkout.states() == ["done"]
        for line in (restore, packages):
            subprocess.run(line, shell=True, check=True, cwd=checkout.place)
        checkout.change_to(before)
        with checkout.running():
            wait_until(
                lambda: served_fingerprint(checkout.https_port, NAME) == fingerprint, timeout=20, what="it served"
            )
            assert checkout.states() == ["done"]


def test_an_upgrade_of_a_checkout_that_is_up_to_date_changes_nothing(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "bindery", git("rev-parse", "HEAD"))
    (checkout.place / ".venv").unlink()
    (checkout.place / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (checkout.place / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    (checkout.place / ".venv" / "ready-run").touch()
    done = checkout.make("upgrade")
    assert done.returncode == 0, done
    assert "Upgraded" in done.stdout
    assert not (checkout.place / ".venv-next").exists()
    (checkout.place / "portal" / "urls.py").write_text("import nowhere")
    before = sorted(path.name for path in (checkout.place / ".venv").iterdir())
    failed = checkout.make("upgrade")
    assert failed.returncode != 0
    assert "manage.py check" in failed.stderr
    assert sorted(path.name for path in (checkout.place / ".venv").iterdir()) == before
