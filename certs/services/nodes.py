"""The name of this machine among the nodes of the portal, and the supervisor that runs here."""

import os
import socket
from pathlib import Path

from django.conf import settings


def node_name() -> str:
    return settings.NODE or socket.gethostname()


def supervisor_pid(home: Path) -> int | None:
    """Who holds the lock of that data directory; 0: nobody. None where the kernel does not show it to us.

    Read from the kernel's list (proc_locks(5)): to try the lock could keep a supervisor from starting just then. On
    btrfs and overlays the list names another device than stat does; there the pid in the file has to be the holder's.
    """
    file = home / "bindery.lock"
    try:
        place = file.stat()
        table = Path("/proc/locks").read_text()
    except FileNotFoundError:
        return 0
    except OSError:
        return None
    device, inode = f"{os.major(place.st_dev):02x}:{os.minor(place.st_dev):02x}", str(place.st_ino)
    for line in table.splitlines():
        words = line.split()
        if len(words) < 6 or words[1] != "FLOCK" or not words[5].endswith(f":{inode}"):
            continue
        if words[5] == f"{device}:{inode}" or words[4] == _noted(file):
            return int(words[4]) if int(words[4]) > 0 else None
    return 0


def _noted(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
