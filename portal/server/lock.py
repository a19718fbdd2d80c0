"""One supervisor per data directory: an flock on a file there, which the kernel lets go of however the holder ends."""

import fcntl
import os
from pathlib import Path

from certs.domain.errors import ConflictError


class SupervisorLock:
    """The file holds the supervisor's pid, for the sentence that the second one prints."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor = -1

    def acquire(self) -> None:
        """Raises ConflictError naming the holder."""
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise ConflictError(
                f"Bindery is already running with the data directory {self._file.parent} (process {holder}).",
                advice="End that one first, or give this one another directory with BINDERY_HOME.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor < 0:
            return
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
        self._descriptor = -1
