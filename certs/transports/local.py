"""This machine: programs with an end to their time and their output, and files below a directory without surprises."""

import contextlib
import getpass
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO

OUTPUT = 16 * 1024  # bytes kept of each stream, unless more is asked for; the rest is read and dropped
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Ran:
    """`code` is None where the time was up and the program was ended; below 0 it is the signal that ended it."""

    code: int | None
    output: bytes
    stderr: str

    @property
    def stdout(self) -> str:
        return self.output.decode("utf-8", "replace")


def machine_name(seconds: float = 2.0) -> str:
    """The full name of this machine; the one it gives itself where DNS does not tell in time: a resolver that is gone
    would hold up the first page by twenty seconds."""
    found: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=lambda: found.put(socket.getfqdn()), name="own-name", daemon=True).start()
    try:
        return found.get(timeout=seconds)
    except Empty:
        return socket.gethostname()


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    seconds: float,
    stdin: bytes = b"",
    cwd: Path | None = None,
    keep: int = OUTPUT,
) -> Ran:
    """Run a program without a shell, in a session of its own, with exactly this environment. `keep` bytes of each
    stream are kept.

    When it has ended, or its time is up, whatever it left running in its session's group is ended too. Raises OSError
    where it cannot be started.
    """
    process = subprocess.Popen(
        [str(word) for word in command],
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    stdout, stderr = _Drain(process.stdout, keep), _Drain(process.stderr, keep)
    feeder = threading.Thread(target=_feed, args=(process.stdin, stdin), daemon=True)
    feeder.start()
    in_time = _ended_within(process.pid, seconds)
    # Before it is reaped: its number, which is its group's, cannot have become another's yet.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    feeder.join(1)
    return Ran(code if in_time else None, stdout.content(), stderr.content().decode("utf-8", "replace"))


def user_name() -> str:
    """Of this process, for a person; its number where the machine has no name for it, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@dataclass(frozen=True)
class Folder:
    """A directory below which files are put and taken away. Nothing is followed out of it: what is a symbolic link
    below `root` is refused (OSError with errno ELOOP or ENOTDIR), even one that is set while we work."""

    root: Path

    def put(self, place: Sequence[str], name: str, content: bytes) -> list[str]:
        """A file anybody may read (0644), there as a whole or not at all; directories on the way are made (0755).

        Returns the directories that were made, relative to `root`. Raises OSError with the path in `filename`.
        """
        made: list[str] = []
        with self._at(place, made) as directory:
            partial = f".{name[:40]}.{secrets.token_hex(4)}"
            try:
                self._write(directory, partial, content)
                os.rename(partial, name, src_dir_fd=directory, dst_dir_fd=directory)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.unlink(partial, dir_fd=directory)
                raise _named(error, self.root.joinpath(*place, name)) from None
        return made

    def take(self, place: Sequence[str], name: str, content: bytes, made: Sequence[str] = ()) -> None:
        """Remove the file if it holds exactly `content`, then those of the directories `made` that are empty."""
        with contextlib.suppress(FileNotFoundError), self._at(place) as directory:
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
                with os.fdopen(descriptor, "rb") as stream:
                    ours = stream.read(len(content) + 1) == content
                if ours:
                    os.unlink(name, dir_fd=directory)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise _named(error, self.root.joinpath(*place, name)) from None
        for each in sorted(made, key=len, reverse=True):
            *above, last = Path(each).parts
            # In use again by somebody else, or gone: either is fine.
            with contextlib.suppress(OSError), self._at(above) as directory:
                os.rmdir(last, dir_fd=directory)

    @contextlib.contextmanager
    def _at(self, place: Sequence[str], made: list[str] | None = None) -> Iterator[int]:
        """A descriptor of the directory; it is made where a list for what was `made` is given."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            descriptor = os.open(self.root, flags)
        except OSError as error:
            raise _named(error, self.root) from None
        try:
            for number, part in enumerate(place, 1):
                path = Path(*place[:number])
                try:
                    if made is not None and _make(part, descriptor):
                        made.append(str(path))
                    below = os.open(part, flags | os.O_NOFOLLOW, dir_fd=descriptor)
                except OSError as error:
                    raise _named(error, self.root / path) from None
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def _write(self, directory: int, name: str, content: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, 0o644, dir_fd=directory), "wb") as stream:
            os.fchmod(stream.fileno(), 0o644)  # whatever the umask is
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())


@dataclass
class _Drain:
    """Reads a stream to its end in a thread, keeping the first `keep` bytes."""

    stream: IO[bytes] | None  # a pipe of Popen
    keep: int
    _kept: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def content(self) -> bytes:
        self._thread.join(1)  # one that escaped into a session of its own may hold the pipe for ever
        return bytes(self._kept)

    def _read(self) -> None:
        if self.stream is None:
            return
        with contextlib.suppress(OSError, ValueError), self.stream:
            while piece := os.read(self.stream.fileno(), 8192):
                self._kept += piece[: max(0, self.keep - len(self._kept))]


def _feed(stream: IO[bytes] | None, data: bytes) -> None:
    if stream is not None:
        with contextlib.suppress(OSError), stream:
            stream.write(data)


def _ended_within(pid: int, seconds: float) -> bool:
    """Waits without reaping, so that the number stays the process's own."""
    deadline = time.monotonic() + seconds
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _make(name: str, directory: int) -> bool:
    try:
        os.mkdir(name, 0o755, dir_fd=directory)
    except FileExistsError:
        return False
    os.chmod(name, 0o755, dir_fd=directory)  # noqa: S103 - a web server of another user reads there
    return True


def _named(error: OSError, path: Path) -> OSError:
    return OSError(error.errno, error.strerror or str(error), str(path))
