"""A directory tree read once, from the disk or out of an uploaded archive, into `domain.migration.Tree`.

Nothing is written, and nothing outside of the tree is read: a link that leads out of it is named, not followed. What
cannot be read is named with its reason.
"""

import io
import os
import posixpath
import stat
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from certs.domain.errors import InputError
from certs.domain.migration import Tree

FILE_BYTES = 256 * 1024  # nothing of interest is larger
MOST_FILES = 100_000
MOST_BYTES = 256 * 1024 * 1024
ARCHIVE_BYTES = 20 * 1024 * 1024  # of an upload, as it comes
ARCHIVE_FILES = 20_000
ARCHIVE_CONTENT = 100 * 1024 * 1024
_DEEPEST = 8
_LONGEST = 4096  # of a path: Linux knows none that is longer

Wanted = Callable[[str], bool]


def everything(path: str) -> bool:
    return True


@dataclass
class _Reading:
    """What was read so far. `most_files` and `most_bytes` end it with InputError."""

    place: str
    most_files: int
    most_bytes: int
    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    entries: int = 0
    total: int = 0

    def count(self, size: int) -> None:
        """Every entry, read or not: a broken archive may lead back to its own beginning."""
        self.entries, self.total = self.entries + 1, self.total + size
        if self.entries > self.most_files or self.total > self.most_bytes:
            raise InputError(
                f"{self.place} holds more than {self.most_files} files or {self.most_bytes // 1024**2} MiB.",
                advice="Give the directory of certbot or acme.sh itself, or a copy of it without what is not needed.",
                code="tree-large",
            )

    @property
    def tree(self) -> Tree:
        return Tree(self.place, self.files, self.links, self.unread)


def tree_read(place: Path, wanted: Wanted = everything) -> Tree:
    """Of the files below `place` those whose relative path is wanted. Raises InputError where it is no directory that
    can be read, or holds far too much."""
    try:
        root = place.resolve(strict=True)
        os.listdir(root)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "its links lead in a circle"
        raise InputError(f"{place} cannot be read: {reason}.", code="tree-unreadable") from None
    reading = _Reading(str(place), MOST_FILES, MOST_BYTES)
    _walk(reading, root, root, wanted)
    return reading.tree


def _walk(reading: _Reading, root: Path, folder: Path, wanted: Wanted) -> None:
    below = folder.relative_to(root)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        reading.unread[str(below)] = _reason(error)
        return
    for entry in entries:
        path = (below / entry.name).as_posix()
        if not wanted(path):
            continue
        if entry.is_symlink():
            reading.count(0)
            _link(reading, root, Path(entry.path), path)
        elif entry.is_dir(follow_symlinks=False):
            if len(PurePosixPath(path).parts) < _DEEPEST:
                _walk(reading, root, Path(entry.path), wanted)
        else:
            _file(reading, Path(entry.path), path)


def _link(reading: _Reading, root: Path, link: Path, path: str) -> None:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        reading.unread[path] = "it is a link that leads nowhere"
        return
    if target.is_relative_to(root):
        reading.links[path] = target.relative_to(root).as_posix()
    else:
        reading.unread[path] = f"it is a link that leads out of {reading.place}"


def _file(reading: _Reading, file: Path, path: str) -> None:
    try:
        data = file_read(file)
    except InputError as error:
        reading.count(0)
        reading.unread[path] = error.message
        return
    reading.count(len(data))
    reading.files[path] = data


def file_read(file: Path) -> bytes:
    """A small plain file, never through a link in its last part. Raises InputError with the reason, as the end of a
    sentence."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise InputError("it is not a plain file")
            data = stream.read(FILE_BYTES + 1)
    except OSError as error:
        raise InputError(_reason(error)) from None
    if len(data) > FILE_BYTES:
        raise InputError(f"it is larger than {FILE_BYTES // 1024} KiB")
    return data


def _reason(error: OSError) -> str:
    text = error.strerror or type(error).__name__
    return text[0].lower() + text[1:]


def archive_read(data: bytes, name: str, wanted: Wanted = everything) -> Tree:
    """Of a .tar or .tar.gz, unpacked in memory; a single directory around everything is taken off.

    Raises InputError for what is no such archive, and for one beyond the limits.
    """
    if len(data) > ARCHIVE_BYTES:
        raise InputError(
            f"{name} is larger than {ARCHIVE_BYTES // 1024**2} MiB.",
            advice="Leave out what is not needed: logs, csr/ and keys/.",
            code="tree-large",
        )
    reading = _Reading(name, ARCHIVE_FILES, ARCHIVE_CONTENT)
    raw: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_unzipped(data, name)), mode="r:") as archive:
            for member in archive:
                _member(reading, archive, member, raw)
    except (tarfile.TarError, EOFError, ValueError, OSError, RecursionError) as error:
        raise InputError(
            f"{name} is no .tar or .tar.gz archive, or is damaged.",
            advice="Make it with: tar -C /etc -czf letsencrypt.tar.gz letsencrypt",
            code="tree-unreadable",
        ) from error
    return _bared(reading, raw, wanted)


def _unzipped(data: bytes, name: str) -> bytes:
    """At most what an archive may hold: gzip makes a thousand bytes of one."""
    if data[:2] != b"\x1f\x8b":
        return data
    unzip = zlib.decompressobj(wbits=31)
    try:
        plain = unzip.decompress(data, ARCHIVE_CONTENT + 1)
    except zlib.error as error:
        raise ValueError("damaged") from error
    if len(plain) > ARCHIVE_CONTENT:
        raise InputError(f"{name} unpacks to more than {ARCHIVE_CONTENT // 1024**2} MiB.", code="tree-large")
    return plain


def _member(reading: _Reading, archive: tarfile.TarFile, member: tarfile.TarInfo, raw: dict[str, str]) -> None:
    reading.count(member.size if member.isreg() else 0)
    path = _inside(PurePosixPath(member.name))
    if member.isdir():
        return
    if not path or len(path) > _LONGEST:
        why = "too long" if path else "one that leads out of the archive"
        reading.unread[member.name[:200]] = f"its name is {why}"
    elif member.issym():
        raw[path] = member.linkname
    elif member.islnk():
        raw[path] = f"/{member.linkname}"
    elif not member.isreg():
        reading.unread[path] = "it is not a plain file"
    elif member.size > FILE_BYTES:
        reading.unread[path] = f"it is larger than {FILE_BYTES // 1024} KiB"
    elif (stream := archive.extractfile(member)) is not None:
        reading.files[path] = stream.read()


def _inside(path: PurePosixPath) -> str:
    """Without .. and ./; "" where it leads out. An absolute path counts from the root of the archive."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            if not parts:
                return ""
            parts.pop()
        elif part not in ("/", "."):
            parts.append(part)
    return "/".join(parts)


def _bared(reading: _Reading, raw: dict[str, str], wanted: Wanted) -> Tree:
    folders = [str(PurePosixPath(path).parent) for path in (*reading.files, *raw)]
    common = posixpath.commonpath(folders) if folders else ""
    cut = f"{common}/" if common not in ("", ".") else ""
    unread = dict(reading.unread)
    links = {}
    for path, target in raw.items():
        # An absolute target is one of a hard link, or of a link that meant the machine the archive was made on.
        inside = _inside(PurePosixPath(target) if target.startswith("/") else PurePosixPath(path).parent / target)
        if inside and inside.startswith(cut) and inside != path:
            links[path[len(cut) :]] = inside[len(cut) :]
        else:
            unread[path[len(cut) :]] = "it is a link that leads out of the archive"
    files = {path[len(cut) :]: data for path, data in reading.files.items()}
    return Tree(
        reading.place,
        {path: data for path, data in files.items() if wanted(path)},
        {path: target for path, target in links.items() if wanted(path)},
        {path.removeprefix(cut): why for path, why in unread.items()},
    )
