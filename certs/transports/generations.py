"""Files that change together: a directory per generation, and a link to the one in use.

    ROOT/NAME/20260901120000-1f2e3d4c5b6a/{cert.pem, privkey.pem, …}
    ROOT/NAME/current -> 20260901120000-1f2e3d4c5b6a

A generation is written beside the others, proven, and only then linked to, by one rename: whoever opens the directory
`current` once and reads below it has files that belong together. Whatever a kill leaves behind is cleared by the next
run. The directories belong to the process; only the files are given away, before anything is in them.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CURRENT = "current"
LOCK_SECONDS = 30.0
_PARTIAL = (".new-", ".current-", ".probe-")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SPOILT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Access:
    """Mode and owners of the files; -1 leaves owner or group as they come."""

    mode: int = 0o600
    uid: int = -1
    gid: int = -1

    @property
    def directory_mode(self) -> int:
        """Open where others than the process itself are to read the files: their names are no secret."""
        private = self.uid == -1 and self.gid == -1 and not self.mode & 0o077
        return 0o700 if private else 0o755


@dataclass(frozen=True)
class Shelf:
    """`keep` generations stay beside the one in use, and all that are younger than `grace` seconds, for readers that
    are still at it. `generation` matches what may be removed as one of ours. Every method raises OSError with the path
    in `filename`."""

    root: Path
    access: Access
    generation: re.Pattern[str]
    keep: int = 2
    grace: float = 60.0

    def publish(self, name: str, generation: str, files: Files, check: Callable[[Files], None]) -> bool:
        """Make `current` of `name` lead to exactly these files; False where it did already.

        `check` is given what was read back from the disk before anything leads to it, and may raise.
        """
        with self._locked() as root, self._folder(root, name) as folder:
            in_use = self._in_use(folder)
            written = in_use is None or not in_use.startswith(generation) or not self._holds(folder, in_use, files)
            if written:
                in_use = self._write(folder, generation, files, check)
                self._link(folder, in_use)
            self._tidy(folder, in_use or "")
            return written

    def remove(self, name: str) -> bool:
        """The link first, then what it led to. What is not ours stays, and its directory with it."""
        with self._locked() as root:
            try:
                folder = _open(name, _DIRECTORY, root, self.root / name)
            except FileNotFoundError:
                return False
            try:
                with _named(self.root / name):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(CURRENT, dir_fd=folder)
                    for each in os.listdir(folder):
                        if self._is_ours(each):
                            _clear(each, folder)
            finally:
                os.close(folder)
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=root)
        return True

    def probe(self) -> None:
        """Try what publishing needs, and leave nothing behind."""
        with self._locked() as root:
            name = f".probe-{secrets.token_hex(4)}"
            try:
                with _named(self.root / name):
                    os.close(self._create(name, root))
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=root)

    # The steps of a publication.

    def _write(self, folder: int, generation: str, files: Files, check: Callable[[Files], None]) -> str:
        partial = f".new-{secrets.token_hex(4)}"
        os.mkdir(partial, 0o700, dir_fd=folder)
        try:
            with self._opened(partial, folder) as directory:
                self._fill(directory, files, self._path(folder) / generation)
                check({name: _read(name, directory) for name in files})
        except BaseException:
            _clear(partial, folder)
            raise
        taken = set(os.listdir(folder))
        final = generation
        for number in range(2, 1000):  # a generation that was spoilt is never written into
            if final not in taken:
                break
            final = f"{generation}.{number}"
        os.rename(partial, final, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
        return final

    def _fill(self, directory: int, files: Files, path: Path) -> None:
        for name, content in files.items():
            with _named(path / name), os.fdopen(self._create(name, directory), "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        os.fchmod(directory, self.access.directory_mode)
        os.fsync(directory)

    def _create(self, name: str, directory: int) -> int:
        """An empty file that has its mode and its owners already, whatever the umask is."""
        descriptor = os.open(name, _NEW, 0o600 & self.access.mode, dir_fd=directory)
        try:
            os.fchmod(descriptor, self.access.mode)
            os.fchown(descriptor, self.access.uid, self.access.gid)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _link(self, folder: int, generation: str) -> None:
        partial = f".current-{secrets.token_hex(4)}"
        os.symlink(generation, partial, dir_fd=folder)
        os.rename(partial, CURRENT, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)

    def _in_use(self, folder: int) -> str | None:
        """Where `current` leads, None where that is none of our generations."""
        try:
            target = os.readlink(CURRENT, dir_fd=folder)
        except OSError:
            return None
        return target if self.generation.fullmatch(target) else None

    def _holds(self, folder: int, generation: str, files: Files) -> bool:
        try:
            with self._opened(generation, folder) as directory:
                return set(os.listdir(directory)) == set(files) and all(
                    _read(name, directory) == content for name, content in files.items()
                )
        except OSError as error:
            if error.errno in _SPOILT:
                return False
            raise

    def _tidy(self, folder: int, in_use: str) -> None:
        """Old generations and what a kill has left go; the others get mode and owners as they are now."""
        names = [name for name in os.listdir(folder) if self._is_ours(name)]
        found = {name: os.stat(name, dir_fd=folder, follow_symlinks=False) for name in names if name != in_use}
        others = sorted(found, key=lambda name: found[name].st_mtime_ns, reverse=True)
        whole = [name for name in others if not name.startswith(_PARTIAL) and stat.S_ISDIR(found[name].st_mode)]
        young = time.time_ns() - int(self.grace * 1e9)
        kept = [name for number, name in enumerate(whole) if number < self.keep or found[name].st_mtime_ns > young]
        for name in others:
            if name not in kept:
                _clear(name, folder)
        for name in (in_use, *kept):
            self._settle(name, folder)

    def _settle(self, generation: str, folder: int) -> None:
        with self._opened(generation, folder) as directory:
            self._allow(directory)
            for name in os.listdir(directory):
                with _named(self._path(folder) / generation / name):
                    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    if not stat.S_ISREG(found.st_mode) or self._fits(found):
                        continue
                    descriptor = os.open(name, _READ, dir_fd=directory)
                    try:
                        # Never a moment wider than before or after.
                        os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & self.access.mode)
                        os.fchown(descriptor, *self._owners(found))
                        os.fchmod(descriptor, self.access.mode)
                    finally:
                        os.close(descriptor)

    def _fits(self, found: os.stat_result) -> bool:
        owners = (found.st_uid, found.st_gid)
        return stat.S_IMODE(found.st_mode) == self.access.mode and owners == self._owners(found)

    def _owners(self, found: os.stat_result) -> tuple[int, int]:
        """An owner that is not set any more is the process again."""
        uid = self.access.uid if self.access.uid != -1 else os.geteuid()
        return uid, self.access.gid if self.access.gid != -1 else (
            os.getegid() if uid == os.geteuid() else found.st_gid
        )

    # Directories.

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """The root, held against every other process of this machine."""
        with _named(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            root = os.open(self.root, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            with _named(self.root):
                self._allow(root)
            with _named(self.root / ".lock"):
                lock = os.open(".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=root)
            try:
                _flock(lock, self.root / ".lock")
                yield root
            finally:
                os.close(lock)
        finally:
            os.close(root)

    @contextlib.contextmanager
    def _folder(self, root: int, name: str) -> Iterator[int]:
        with _named(self.root / name):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=root)
            with self._opened(name, root) as folder:
                self._allow(folder)
                yield folder

    @contextlib.contextmanager
    def _opened(self, name: str, parent: int) -> Iterator[int]:
        descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _allow(self, directory: int) -> None:
        if stat.S_IMODE(os.fstat(directory).st_mode) != self.access.directory_mode:
            os.fchmod(directory, self.access.directory_mode)

    def _is_ours(self, name: str) -> bool:
        return name.startswith(_PARTIAL) or self.generation.fullmatch(name) is not None

    def _path(self, folder: int) -> Path:
        """For a message only."""
        try:
            return Path(os.readlink(f"/proc/self/fd/{folder}"))
        except OSError:
            return self.root


def _clear(name: str, parent: int) -> None:
    """A link, or a directory with the files in it; nothing is followed."""
    try:
        os.unlink(name, dir_fd=parent)
        return
    except (IsADirectoryError, PermissionError):  # EPERM for a directory outside Linux
        pass
    directory = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        for each in os.listdir(directory):
            os.unlink(each, dir_fd=directory)
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=parent)


def _read(name: str, directory: int) -> bytes:
    with os.fdopen(os.open(name, _READ, dir_fd=directory), "rb") as stream:
        return stream.read()


def _open(name: str, flags: int, directory: int, path: Path) -> int:
    with _named(path):
        return os.open(name, flags, dir_fd=directory)


def _flock(descriptor: int, path: Path) -> None:
    """Raises TimeoutError where another process holds it for too long."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, "another process holds it", str(path)) from None
            time.sleep(0.05)
        else:
            return


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of what is done by descriptors name no path, or only its last part."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and Path(str(error.filename)).is_absolute():
            raise
        raise type(error)(error.errno, error.strerror or str(error), str(path)) from error
