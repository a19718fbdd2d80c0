"""The data directory: whose its files are, who may read them, and whether there is room."""

import errno
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from certs.domain.containers import Kind
from certs.domain.diagnosis import Line, Situation, bad, fine, look, note, unknown
from certs.services.container import container_here, volume_risk
from certs.services.own_certificate import KEY_FILE, KEY_MODE
from certs.transports.local import user_name
from portal import home

LEAST, LITTLE = 64 << 20, 512 << 20  # bytes; a renewal needs kilobytes, a day of log and history megabytes
LEAST_FILES = 100
_MEMORY = frozenset({"tmpfs", "ramfs"})
_SUFFIXES = ("", "-wal", "-shm")


@dataclass(frozen=True)
class Private:
    """A file that nobody else may read."""

    path: Path
    mode: int
    what: str


def private_files(place: Path) -> list[Private]:
    database = home.database_file()
    return [
        Private(place / home.key_ring_file().name, 0o600, "the key ring, which opens every stored key"),
        Private(place / home.secret_key_file().name, 0o600, "the secret key, which signs sessions"),
        *(Private(Path(f"{database}{suffix}"), 0o600, "the database") for suffix in _SUFFIXES),
        Private(place / KEY_FILE, KEY_MODE, "a private key"),
        *(Private(file, 0o600, "a copy of the database") for file in sorted(home.snapshots().glob("*.sqlite3"))),
    ]


@look("files", database=False)
def data_directory(situation: Situation) -> Iterator[Line]:
    """Whether the data directory can be used."""
    place = situation.home
    try:
        found = place.stat()
    except FileNotFoundError:
        mend = "The first `manage.py up` makes it. If there should be one: is BINDERY_HOME right, is the disk mounted?"
        yield bad("data-directory", f"The data directory {place} does not exist.", mend)
        return
    except PermissionError:
        yield _not_ours("data-directory", place)
        return
    if not stat.S_ISDIR(found.st_mode):
        yield bad("data-directory", f"{place} is not a directory.", "Name another place with BINDERY_HOME.")
    elif not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        yield _not_ours("data-directory", place)
    elif _mode(found) & 0o022:
        sentence = f"Others on this machine may change what lies in the data directory {place} ({_mode(found):04o})."
        yield bad("data-directory", sentence, f"chmod 0700 {shlex.quote(str(place))}")
    elif _mode(found) & 0o044:
        sentence = f"Others on this machine see which files lie in the data directory {place} ({_mode(found):04o})."
        yield note("data-directory", sentence, f"chmod 0700 {shlex.quote(str(place))}")
    else:
        evidence = f"{place}: {_mode(found):04o}, owner {_owner(found.st_uid)}"
        yield fine("data-directory", "The data directory is there and closed to others.", evidence=evidence)


@look("files", database=False)
def file_modes(situation: Situation) -> Iterator[Line]:
    """Whether others on this machine may read secrets."""
    told, looked = 0, []
    for each in private_files(situation.home):
        try:
            mode = _mode(each.path.lstat())
        except FileNotFoundError:
            continue
        except PermissionError:
            yield _not_ours("file-modes", each.path)
            return
        looked.append(each.path.name)
        if mode & 0o077:
            told += 1
            sentence = f"Others on this machine may read {each.path} ({mode:04o}): {each.what}."
            yield bad("file-modes", sentence, f"chmod {each.mode:04o} {shlex.quote(str(each.path))}")
    if looked and not told:
        yield fine("file-modes", "Nobody else may read the secrets in the data directory.", evidence=", ".join(looked))


@look("files", database=False)
def file_owners(situation: Situation) -> Iterator[Line]:
    """Whether all files in the data directory are the portal's own."""
    place = situation.home
    try:
        owner = place.stat().st_uid
        foreign = [file for file in sorted(place.iterdir()) if file.lstat().st_uid != owner]
    except FileNotFoundError:
        return
    except PermissionError:
        yield _not_ours("file-owners", place)
        return
    who = _owner(owner)
    if foreign:
        names = ", ".join(file.name for file in foreign[:5])
        others = ", ".join(sorted({_owner(file.lstat().st_uid) for file in foreign}))
        yield bad(
            "file-owners",
            f"{names} in {place} belong to {others}, not to {who}: the portal cannot write them.",
            f"chown -R {shlex.quote(who)}: {shlex.quote(str(place))}",
        )
    else:
        yield fine("file-owners", f"Everything in the data directory belongs to {who}.")
    if os.geteuid() not in (0, owner):
        sentence = f"This runs as {user_name()}, while the data directory belongs to {who}."
        yield note("file-owners", sentence, f"Run it as {who}, so that it sees what the portal sees.")


@look("files", database=False)
def disk(situation: Situation) -> Iterator[Line]:
    """Whether there is room on the disk."""
    place = situation.home
    if not place.is_dir():
        return
    found = os.statvfs(place)
    free, whole = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    evidence = f"{_size(free)} of {_size(whole)} free at {place}"
    if found.f_flag & os.ST_RDONLY:
        yield bad(
            "disk", f"The disk of {place} is mounted read-only.", "Look into the kernel's log, and mount it anew."
        )
    elif free < LEAST:
        mend = "Make room or enlarge it: without it nothing is renewed, though what is served stays served."
        yield bad("disk", f"The disk of {place} is full.", mend, evidence=evidence)
    elif found.f_files and found.f_favail < LEAST_FILES:
        mend = "Remove files that nobody needs: the file system has no room for the names of more."
        yield bad("disk", f"The disk of {place} can take no more files.", mend, evidence=f"{found.f_favail} left")
    elif free < LITTLE:
        yield note("disk", f"The disk of {place} is nearly full.", "Make room.", evidence=evidence)
    else:
        yield fine("disk", "There is room on the disk.", evidence=evidence)
    if _kind_of(place) in _MEMORY and volume_risk() is None:
        mend = "Name a place on a disk with BINDERY_HOME, and move the files there."
        yield bad("disk-memory", f"{place} lies in memory: all of it is gone after a restart.", mend)


@look("files", database=False)
def volume(situation: Situation) -> Iterator[Line]:
    """Whether the data outlive the container."""
    if risk := volume_risk():
        yield bad("volume", risk.text, risk.mend)
    elif (kind := container_here()) != Kind.NONE:
        yield fine("volume", "The data outlive this container.", evidence=kind.value)


@look("files", database=False)
def disk_writes(situation: Situation) -> Iterator[Line]:
    """Whether a file can be written into the data directory."""
    place = situation.home
    if not place.is_dir() or not os.access(place, os.W_OK):
        return  # told by another check
    try:
        # A file without a name (open(2)): nothing is left behind, whoever runs this and however it ends.
        with os.fdopen(os.open(place, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), "wb") as stream:
            stream.write(b"\0" * 65536)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        if error.errno in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}:
            yield unknown("disk-writes", "Writing was not tried: this file system has no files without names.")
            return
        mend = "Make room, or give the portal's user the right to write there."
        yield bad("disk-writes", f"Nothing can be written into {place}: {error.strerror}.", mend)
        return
    yield fine("disk-writes", "A file can be written there.")


def _not_ours(code: str, place: Path) -> Line:
    who = _owner_of(place)
    mend = f"Run this as the portal's user{f', {who}' if who else ''}: `sudo -u {who or 'bindery'} …`, or as root."
    return unknown(code, f"{place} may not be looked at by {user_name()}.", mend)


def _owner_of(place: Path) -> str:
    for each in (place, *place.parents):
        try:
            return _owner(each.stat().st_uid)
        except OSError:
            continue
    return ""


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _mode(found: os.stat_result) -> int:
    return stat.S_IMODE(found.st_mode)


def _size(count: int) -> str:
    value, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}" if unit != "bytes" else f"{count} bytes"


def _kind_of(place: Path) -> str:
    """Of the file system, by the longest mount point above (proc_pid_mounts(5)); "" where it cannot be told."""
    try:
        rows = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return ""
    real = place.resolve()
    mounts = {Path(row[1].replace("\\040", " ")): row[2] for row in rows if len(row) > 2}
    return next((mounts[each] for each in (real, *real.parents) if each in mounts), "")
