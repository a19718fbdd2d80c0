"""The name of this machine among the nodes of the portal, and the supervisor that runs here."""

import os
import socket
from pathlib import Path

from django.conf import settings


def node_name() -> str:
    return settings.NODE or socket.gethostname()


def supervisor_pid(home: Path) -> int | None:
    """Who holds the lock of that data directory; 0: nobody. None where the kernel does not show it to us.

    Read from the kernel's list (proc_locks(5)): to try the lock could keep a supervisor from starting just then.
    """
    try:
        place = (home / "bindery.lock").stat()
        table = Path("/proc/locks").read_text()
    except FileNotFoundError:
        return 0
    except OSError:
        return None
    wanted = f"{os.major(place.st_dev):02x}:{os.minor(place.st_dev):02x}:{place.st_ino}"
    for line in table.splitlines():
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5] == wanted:
            return int(words[4]) if int(words[4]) > 0 else None
    return 0
