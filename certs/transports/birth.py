"""When a file came to be where it is: what no copy of it can take along.

cp -a, rsync, tar and a restored backup bring modes, owners and all times but this one: a filesystem sets the time of
birth itself (statx(2), stx_btime), to the nanosecond. It stays through mounting elsewhere, renamed hosts, new container
images, renumbered devices, chmod, chown, and being written. A copy of the whole filesystem, block by block, has it too.
"""

import ctypes
import os
import struct
from pathlib import Path

import psutil

_AT_FDCWD = -100
_STATX_BTIME = 0x800
_SIZE = 256
# Where inode numbers are made up at each mount, or may be.
_UNSTEADY = ("fuse", "9p", "virtiofs", "cifs", "smb", "vboxsf", "drvfs", "overlay")


def place_of(file: Path) -> dict[str, int]:
    """{"inode", "born"} of a file; "born" in ns, and each only where it can be relied on. Raises OSError."""
    inode = file.stat().st_ino
    if (born := _born(file)) is not None:
        return {"inode": inode, "born": born}
    return {} if _is_unsteady(file) else {"inode": inode}


def same_place(before: dict[str, int], now: dict[str, int]) -> bool:
    """Whether it can be the same file. What cannot be told counts as the same: a false alarm is learned to be clicked
    away."""
    if "born" in before and "born" in now:
        return before["born"] == now["born"]
    if "inode" in before and "inode" in now:
        return before["inode"] == now["inode"]
    return True


def _born(file: Path) -> int | None:
    """None where the system, the C library or the filesystem does not know it."""
    statx = getattr(ctypes.CDLL(None), "statx", None)
    buffer = ctypes.create_string_buffer(_SIZE)
    if statx is None or statx(_AT_FDCWD, os.fsencode(file), 0, _STATX_BTIME, buffer) != 0:
        return None
    (mask,) = struct.unpack_from("I", buffer, 0)
    seconds, nanoseconds = struct.unpack_from("qI", buffer, 80)
    return seconds * 10**9 + nanoseconds if mask & _STATX_BTIME and seconds > 0 else None


def _is_unsteady(file: Path) -> bool:
    within = [each for each in psutil.disk_partitions(all=True) if file.is_relative_to(each.mountpoint)]
    nearest = max(within, key=lambda each: len(each.mountpoint), default=None)
    return nearest is None or nearest.fstype.startswith(_UNSTEADY)
