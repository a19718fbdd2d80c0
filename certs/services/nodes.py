"""The name of this machine among the nodes of the portal, and the supervisor that runs here."""

import os
import socket
from pathlib import Path

import psutil
from django.conf import settings


def node_name() -> str:
    return settings.NODE or socket.gethostname()


def supervisor_pid(home: Path) -> int | None:
    """Who holds the lock of that data directory; 0: nobody that can be seen. None where nothing can be seen at all.

    Read from the kernel's list (proc_locks(5)): to try the lock could keep a supervisor from starting just then. Some
    file systems (btrfs, overlays) are listed there under another device; then the file's own word is taken, where it
    names a process that is one.
    """
    file = home / "bindery.lock"
    try:
        place, said = file.stat(), file.read_text()
        table = Path("/proc/locks").read_text()
    except FileNotFoundError:
        return 0
    except OSError:
        return None
    return _holder(table, place) or _named(said, place)


def _holder(table: str, place: os.stat_result) -> int:
    wanted = f"{os.major(place.st_dev):02x}:{os.minor(place.st_dev):02x}:{place.st_ino}"
    rows = (line.split() for line in table.splitlines())
    found = (int(row[4]) for row in rows if len(row) > 5 and row[1] == "FLOCK" and row[5] == wanted)
    return max(0, next(found, 0))


def _named(said: str, place: os.stat_result) -> int:
    try:
        process = psutil.Process(int(said))
        words = process.cmdline()
        is_one = "up" in words and any(Path(word).name == "manage.py" for word in words)
        # The number may be that of a supervisor long gone, given to somebody else by now.
        return process.pid if is_one and process.create_time() <= place.st_mtime + 1 else 0
    except (ValueError, psutil.Error):
        return 0
