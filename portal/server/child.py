"""The first lines of every child of the supervisor: `python -m portal.server.child PARENT MODULE ARGUMENT…`.

A child must not outlive its supervisor, however that one ends: an orphan would hold the ports and work on without
anybody to watch it. So the kernel is asked to kill this process with its parent (prctl PR_SET_PDEATHSIG), and each
process it forks with it. This is done here and not before the exec, where a Python that was given file capabilities
(setcap) would lose it.
"""

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, module, *arguments = sys.argv[1:]
    follow_parent(int(parent))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def follow_parent(parent: int) -> None:
    """Die with `parent`; whatever is forked from here dies with its own parent in turn."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)

    def follow() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    follow()
    if os.getppid() != parent:  # it ended before the kernel knew
        sys.exit(1)
    os.register_at_fork(after_in_child=follow)


if __name__ == "__main__":
    main()
