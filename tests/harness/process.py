"""A program the tests start: its own session, its output in a file, and an end that leaves nothing behind."""

import atexit
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.harness.ports import PATIENCE_FACTOR


class Process:
    """Started by the constructor; `stop` may be called twice. Output of both streams is in `log_file`."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log_file: Path,
        *,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
    ) -> None:
        self.command = [str(word) for word in command]
        self.log_file = log_file
        with log_file.open("ab") as log:
            self.popen = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                user=user,
                start_new_session=True,
            )
        atexit.register(self.stop)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def returncode(self) -> int | None:
        return self.popen.poll()

    def is_alive(self) -> bool:
        return self.popen.poll() is None

    def children(self) -> list[psutil.Process]:
        """All descendants alive now."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def stop(self, timeout: float = 15) -> int:
        """TERM, then KILL for whoever is left of the whole family. Returns the exit code."""
        family = self.children()
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                self.popen.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(timeout * PATIENCE_FACTOR)
        self.kill(family)
        atexit.unregister(self.stop)
        return self.popen.wait(30)

    def kill(self, family: Sequence[psutil.Process] = ()) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
