"""`manage.py backup` where there is nothing to save: an empty file would be taken for a backup until it is needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.artifacts import ROOT


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "There is nothing in {database} yet. Name the data directory by BINDERY_HOME."),
        (b"", "There is nothing in {database} yet. Name the data directory by BINDERY_HOME."),
        (b"not a database at all" * 100, "file is not a database"),
    ],
    ids=["no file", "an empty file", "another file"],
)
def test_nothing_is_no_backup(tmp_path: Path, found: bytes | None, said: str) -> None:
    database, copy = tmp_path / "bindery.sqlite3", tmp_path / "saved"
    if found is not None:
        database.write_bytes(found)
    done = subprocess.run(
        [sys.executable, ROOT / "manage.py", "backup", copy],
        env={**os.environ, "BINDERY_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    assert said.format(database=database) in done.stderr
    assert "Traceback" not in done.stderr
    assert not copy.exists()
