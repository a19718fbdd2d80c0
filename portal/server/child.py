"""A child of the supervisor, forked from it: the portal's code is in memory once, and the child starts at once.

A child must not outlive its supervisor, however that one ends: an orphan would hold the ports and work on without
anybody to watch it. So the kernel is asked to kill it with its parent (prctl PR_SET_PDEATHSIG), and each process it
forks with it. The kernel means the thread that forked, not the process: the supervisor forks in its main thread only.
"""

import ctypes
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Collection, Mapping, Sequence
from typing import NoReturn

from django.db import connections

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_INHERITED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class ForkedProcess:
    """What is needed of subprocess.Popen: `pid`, `returncode`, `poll`, `wait`, `send_signal`."""

    def __init__(
        self, name: str, module: str, arguments: Sequence[str], env: Mapping[str, str], fds: Collection[int]
    ) -> None:
        # No database connection may be used on both sides of a fork, and no text be written twice.
        connections.close_all()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _become(name, [module, *arguments], env, fds, parent)
        _lead_group(self.pid)

    def poll(self) -> int | None:
        return self._reap(os.WNOHANG)

    def wait(self) -> int | None:
        return self._reap(0)

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _reap(self, options: int) -> int | None:
        if self.returncode is not None:
            return self.returncode
        try:
            pid, status = os.waitpid(self.pid, options)
        except ChildProcessError:
            self.returncode = 0  # somebody else took its ending; there is no code to be had
        else:
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def follow_parent(parent: int, name: str) -> None:
    """Die with `parent`; whatever is forked from here dies with its own parent in turn."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)

    def follow() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    follow()
    if os.getppid() != parent:  # it ended before the kernel knew
        os._exit(1)
    os.register_at_fork(after_in_child=follow)
    libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def _become(name: str, argv: list[str], env: Mapping[str, str], fds: Collection[int], parent: int) -> NoReturn:
    """In the child: never returns into the supervisor's code, whatever happens."""
    code = 1
    try:
        _lead_group(0)
        follow_parent(parent, f"bindery-{name}")
        for number in _INHERITED_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        _blind_all_but(fds)
        os.environ.update(env)
        sys.argv = argv
        runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:  # KeyboardInterrupt too: the supervisor's frames below must not see anything of it
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _blind_all_but(fds: Collection[int]) -> None:
    """Take the lock and the sockets that are not for this child away from it, without freeing their numbers.

    One kept here would listen with nobody to accept. But Python objects of the supervisor (sockets, memory maps) live
    on in this child and close their number when they are collected: freed now and given to a new file meanwhile, it
    would be that file they close. So each number leads to nowhere until its owner closes it.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in map(int, os.listdir("/dev/fd")):
        if fd > 2 and fd != nowhere and fd not in fds and _is_open(fd):
            os.dup2(nowhere, fd, inheritable=False)
    os.dup2(nowhere, 0)
    os.close(nowhere)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:  # the directory that was listed
        return False
    return True


def _lead_group(pid: int) -> None:
    """Done on both sides, since either may need it first."""
    try:
        os.setpgid(pid, 0)
    except (PermissionError, ProcessLookupError):
        return
