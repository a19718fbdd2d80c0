"""The portal as people start it: `manage.py up` in a process of its own, with a data directory and ports of its own."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import requests
import urllib3

from certs.domain.addresses import address_shown
from tests.harness.artifacts import ROOT, keep
from tests.harness.ports import LOOPBACK, free_ports, is_listening, wait_until
from tests.harness.prepared import database_copy
from tests.harness.process import Process
from tests.harness.shell import Shell

SETUP_LINK = re.compile(r"https?://\S+/setup/[A-Za-z0-9_-]+/")


class PortalEnded(Exception):
    """`manage.py up` ended while it should run; the text is what it said."""


class Portal:
    """Use as a context manager, or `start` and `stop`; it may be started again on the same data directory.

    `address` is where the tests ask it. `lock_port` gives the HTTPS port by BINDERY_HTTPS_PORT, which locks it on the
    pages; without it the port is a mere default that a rebind may change. `environment` is added as it is. The first
    start is on an empty directory where the home is given or the secrets are the portal's own, else on a database that
    has its tables.
    """

    def __init__(
        self,
        *,
        home: Path | None = None,
        address: str = LOOPBACK,
        http_port: int = 0,
        https_port: int = 0,
        lock_port: bool = False,
        probe_port: int = 0,
        own_secrets: bool = False,
        environment: dict[str, str] | None = None,
        arguments: Sequence[str] = (),
        settings: str = "tests.settings",
    ) -> None:
        ports = free_ports(2)
        self.address = address
        self.http_port = http_port or ports[0]
        self.https_port = https_port or ports[1]
        self._own_home = home is None
        self.home = home or Path(tempfile.mkdtemp(prefix="bindery-portal-"))
        self.arguments = list(arguments)
        self.settings = settings
        self.environment = {
            "BINDERY_HOME": str(self.home),
            "BINDERY_HTTP_PORT": str(self.http_port),
            ("BINDERY_HTTPS_PORT" if lock_port else "BINDERY_TEST_HTTPS_PORT"): str(self.https_port),
            "BINDERY_TEST_PROBE_PORT": str(probe_port or self.http_port),
            "BINDERY_TEST_OWN_SECRETS": "1" if own_secrets else "0",
            "DJANGO_SETTINGS_MODULE": settings,
            "PYTHONUNBUFFERED": "1",
            **(environment or {}),
        }
        self._process: Process | None = None
        self._shell: Shell | None = None
        self._shell_lock = threading.Lock()
        if self._own_home and not own_secrets:
            database_copy(self.home / "bindery.sqlite3")

    # -- where it is ---------------------------------------------------------------------------------------------

    @property
    def http_url(self) -> str:
        return f"http://{address_shown(self.address, self.http_port)}"

    @property
    def https_url(self) -> str:
        return f"https://{address_shown(self.address, self.https_port)}"

    def url(self, host: str, scheme: str = "https") -> str:
        return f"{scheme}://{host}:{self.https_port if scheme == 'https' else self.http_port}"

    # -- its life ------------------------------------------------------------------------------------------------

    def start(self, *, wait: bool = True, timeout: float = 30) -> Self:
        """Raises PortalEnded with the last lines of its log, or TimeoutError."""
        self._process = Process(
            [sys.executable, ROOT / "manage.py", "up", *self.arguments],
            self.log_file,
            env=self._environ(),
            cwd=ROOT,
        )
        if wait:
            wait_until(self._is_up, timeout=timeout, what="the portal")
        return self

    def stop(self, timeout: float = 20) -> int:
        """Returns the exit code of `manage.py up`."""
        self._close_shell()
        return self.process.stop(timeout)

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self._end(failed=True)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(failed=error is not None)

    def _close_shell(self) -> None:
        if self._shell:
            self._shell.close()
            self._shell = None

    def _end(self, *, failed: bool) -> None:
        self._close_shell()
        if self._process:
            self._process.stop()
        if failed:
            keep("portal.log", self.log_file)
        if self._own_home:
            shutil.rmtree(self.home, ignore_errors=True)

    @property
    def process(self) -> Process:
        assert self._process is not None, "the portal was not started"
        return self._process

    @property
    def log_file(self) -> Path:
        return self.home / "up.log"

    @property
    def log(self) -> str:
        """Both streams of `manage.py up`, of all its starts."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def processes(self, words: str) -> list[int]:
        """Pids of the portal's descendants whose command line holds `words`."""
        found = []
        for each in self.process.children():
            try:
                if words in " ".join(each.cmdline()):
                    found.append(each.pid)
            except psutil.Error:  # it ended while we looked
                continue
        return found

    def _is_up(self) -> bool:
        if not self.process.is_alive():
            raise PortalEnded(self.log[-3000:])
        if "worker" in self.arguments:  # this role listens nowhere
            return "works on the queue" in self.log
        if not all(is_listening(port, self.address) for port in (self.http_port, self.https_port)):
            return False
        try:
            return self.get("/healthz").status_code == 200
        except requests.RequestException:
            return False

    def _environ(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("BINDERY_", "DJANGO_", "COVERAGE_", "PYTEST_")) and name != "DATABASE_URL"
        }
        return {**inherited, **self.environment}

    # -- asking it -----------------------------------------------------------------------------------------------

    def setup_link(self) -> str:
        """The last one-time link printed, rewritten to plain HTTP on loopback."""
        wait_until(lambda: SETUP_LINK.search(self.log), timeout=15, what="the set-up link on standard output")
        path = re.sub(r"^https?://[^/]+", "", SETUP_LINK.findall(self.log)[-1])
        return self.http_url + path

    def manage(
        self, *arguments: str, check: bool = True, timeout: float = 240, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command of manage.py; a fork beside the running portal, else an interpreter of its own.

        So it is, too, with an environment of its own, as settings are read once.
        """
        if environment is None and self._process is not None and self._process.is_alive():
            done = self._inside().manage(arguments, timeout)
        else:
            done = subprocess.run(
                [sys.executable, str(ROOT / "manage.py"), *arguments],
                env={**self._environ(), **(environment or {})},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        if check and done.returncode != 0:
            raise AssertionError(f"manage.py {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def run(self, code: str) -> Any:
        """Run Python inside the portal's Django, each time in a new process; what it assigns to `result` comes back."""
        return self._inside().run(code)

    def _inside(self) -> Shell:
        environment = self._environ()
        with self._shell_lock:
            if self._shell is not None and self._shell.environment != environment:
                self._close_shell()
            if self._shell is None:
                self._shell = Shell(environment)
            return self._shell

    def get(self, path: str, *, scheme: str = "http", **options: Any) -> requests.Response:
        """By loopback address, no certificate check, redirects not followed."""
        options = {"timeout": 30, "allow_redirects": False, "verify": False, **options}
        base = self.http_url if scheme == "http" else self.https_url
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
            return requests.get(base + path, **options)

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Read the SQLite database from outside."""
        file = self.home / "bindery.sqlite3"
        connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=20)
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]
        finally:
            connection.close()

    def count(self, table: str) -> int:
        return int(self.rows(f"SELECT count(*) AS n FROM {table}")[0]["n"])

    def hold_schedule(self) -> None:
        """From now on only the test orders and renews; what the schedule had begun has ended. Until the next start."""
        self.run(
            "from datetime import timedelta\n"
            "from django.utils import timezone\n"
            "from django_q.models import Schedule\n"
            "Schedule.objects.update(next_run=timezone.now() + timedelta(days=1))"
        )
        wait_until(lambda: self.count("django_q_ormq") == 0, timeout=30, what="the end of what the schedule began")

    def move_clock(self, seconds: float | timedelta) -> None:
        """The portal's clock is this far ahead of real time (not added to an earlier move)."""
        offset = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        file = self.home / "clock-offset"
        partial = file.with_suffix(".new")
        partial.write_text(str(offset))
        partial.rename(file)
