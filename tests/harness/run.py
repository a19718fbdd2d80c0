"""What one run of pytest shares among its workers: a directory that goes when it ends."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from uuid import uuid4

NAME = "BINDERY_TEST_RUN"  # the workers of pytest-xdist inherit it
_is_ours = NAME not in os.environ
os.environ.setdefault(NAME, uuid4().hex[:12])


def directory() -> Path:
    found = Path(tempfile.gettempdir()) / f"bindery-run-{os.environ[NAME]}"
    found.mkdir(mode=0o700, exist_ok=True)
    return found


@atexit.register
def _forget() -> None:
    if _is_ours:
        shutil.rmtree(Path(tempfile.gettempdir()) / f"bindery-run-{os.environ[NAME]}", ignore_errors=True)
