"""What a run leaves for people to look at: screenshots always, logs of what failed."""

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "artifacts"


def artifact(name: str) -> Path:
    """A path for `name` in the directory of the running test; its parent exists."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "harness").split(" ")[0].rsplit("/", 1)[-1]
    directory = ARTIFACTS / re.sub(r"[^A-Za-z0-9_.-]+", "-", test).strip("-")
    directory.mkdir(parents=True, exist_ok=True)
    return directory / name


def keep(name: str, file: Path) -> None:
    """Copy a log to where the run's artefacts are."""
    if file.exists():
        artifact(name).write_bytes(file.read_bytes())
