"""A child process that comes back: started, watched, restarted with a growing delay, ended with its whole group."""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from portal.server.child import ForkedProcess

log = logging.getLogger("bindery.supervisor")

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
SETTLED_AFTER = 60.0  # a child that lived this long starts again with the first delay


@dataclass
class Child:
    """One module kept running as a program; `env` is added to ours, of open files only `fds` are inherited.

    Each child leads a process group of its own: Ctrl-C on the terminal reaches the supervisor only, which then ends
    them in order, and a child that hangs can be killed with all that it forked.
    """

    name: str
    module: str
    arguments: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    fds: Sequence[int] = ()
    grace: float = 10.0  # seconds between TERM and KILL

    process: ForkedProcess | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    delay: float = FIRST_DELAY
    kill_at: float | None = None  # set while it is being ended

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def stopping(self) -> bool:
        return self.kill_at is not None

    def start(self) -> None:
        self.process = ForkedProcess(self.name, self.module, self.arguments, self.env, self.fds)
        self.started_at = time.monotonic()
        self.kill_at = None
        log.debug("%s started as process %s", self.name, self.process.pid)

    def tend(self) -> None:
        """Start it again when its time has come; kill it when it did not end in time. Call often."""
        if self.running:
            self._kill_if_late()
            return
        if self.process is not None:
            self._buried(self.process.returncode or 0)
        if not self.restart_at or time.monotonic() < self.restart_at:
            return
        self.restart_at = 0.0
        self.start()

    def stop(self, grace: float | None = None) -> None:
        """Ask it to end gracefully; `tend` sees to the rest. It does not come back."""
        self.restart_at = 0.0
        if not self.running or self.stopping:
            return
        self.kill_at = time.monotonic() + (self.grace if grace is None else grace)
        self._signal(signal.SIGTERM)

    def restart(self, grace: float) -> None:
        """End it, by force after `grace` seconds, and start it again at once."""
        self.stop(grace)
        self.wait(grace + 5)
        self.kill()
        self.process = None
        self.restart_at = time.monotonic()

    def wait(self, limit: float) -> bool:
        """Whether it ended within `limit` seconds."""
        deadline = time.monotonic() + limit
        while self.running and time.monotonic() < deadline:
            self._kill_if_late()
            time.sleep(0.02)
        return not self.running

    def kill(self) -> None:
        """Nothing of it is left when this returns, not even what it forked."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _kill_if_late(self) -> None:
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            log.warning("%s did not end in time and is killed", self.name)
            self.kill()

    def _buried(self, code: int) -> None:
        wanted = self.stopping
        lived = time.monotonic() - self.started_at
        self.kill()  # the rest of its group: a worker that outlived its master would go on unwatched
        self.process, self.kill_at = None, None
        if wanted:
            return
        if lived >= SETTLED_AFTER:
            self.delay = FIRST_DELAY
        self.restart_at = time.monotonic() + self.delay
        log.error("%s ended unexpectedly (%s); it starts again in %g s", self.name, _ending(code), self.delay)
        self.delay = min(self.delay * 2, LONGEST_DELAY)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


def children_stop(children: Sequence[Child], *, hurry: Callable[[], bool] = lambda: False) -> None:
    """End all of them side by side; `hurry` answers True when the person will not wait any longer."""
    for child in children:
        child.stop()
    while any(child.running for child in children):
        if hurry():
            break
        for child in children:
            child.tend()
        time.sleep(0.02)
    for child in children:
        child.kill()


def reap_orphans(children: Sequence[Child]) -> None:
    """As the first process of a container, or as their appointed reaper, bury what other processes left behind."""
    own = {child.pid for child in children}
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        # Only the first one waiting is shown; when it is ours its own poll() will take it.
        if found is None or found.si_pid in own:
            return
        os.waitpid(found.si_pid, 0)


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
