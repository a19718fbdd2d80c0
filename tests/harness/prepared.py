"""A migrated database, made once per run and copied: most tests are not about the first start, which takes seconds."""

import contextlib
import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.harness import run

ROOT = Path(__file__).resolve().parents[2]
FILE = "bindery.sqlite3"


def database_copy(file: Path) -> None:
    """It holds its tables and no more, not even the canary of a key ring."""
    shutil.copyfile(_template(), file)
    file.chmod(0o600)


@cache
def _template() -> Path:
    home = run.directory() / "prepared"
    with (run.directory() / "prepared.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker makes it, the others wait
        if not (home / "ready").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            _make(home)
            (home / "ready").touch()
    return home / FILE


def _make(home: Path) -> None:
    foreign = ("BINDERY_", "DJANGO_", "COVERAGE_", "DATABASE_URL")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    environment = {**inherited, "BINDERY_HOME": str(home), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    for command in (["migrate", "--skip-checks"], ["createcachetable"]):
        words = [sys.executable, str(ROOT / "manage.py"), *command, "--verbosity", "0"]
        subprocess.run(words, cwd=ROOT, env=environment, check=True)
    with contextlib.closing(sqlite3.connect(home / FILE)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
