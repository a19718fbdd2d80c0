"""Files that others may read, that are somebody else's, and a disk that is full: each really so."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from certs.domain.containers import Kind
from certs.domain.diagnosis import Line, Look, Situation, State
from certs.services.container import VolumeRisk
from certs.services.diagnosis import files
from portal import home
from tests.harness import counterparts
from tests.harness.artifacts import ROOT

Told = Callable[[Look], dict[State, list[Line]]]
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="takes root to give files away")


@pytest.fixture(autouse=True)
def _own_database(situation: Situation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "database_file", lambda: situation.home / "bindery.sqlite3")


def filled(place: Path) -> list[Path]:
    made = [
        place / name for name in ("keyring.json", "secret_key", "bindery.sqlite3", "bindery.sqlite3-wal", "server.key")
    ]
    for file in made:
        file.touch(mode=0o600)
    return made


@pytest.mark.parametrize("name", ["keyring.json", "secret_key", "bindery.sqlite3", "bindery.sqlite3-wal", "server.key"])
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_secret_that_others_may_read_is_red_with_the_command(
    situation: Situation, told: Told, name: str, mode: int
) -> None:
    filled(situation.home)
    assert [line.code for line in told(files.file_modes)[State.OK]] == ["file-modes"]
    (situation.home / name).chmod(mode)
    (line,) = told(files.file_modes)[State.BAD]
    assert name in line.sentence
    subprocess.run(["sh", "-c", line.mend], check=True)  # what it says mends it
    assert told(files.file_modes)[State.BAD] == []


def test_a_directory_that_others_change_is_red_and_one_they_see_is_worth_a_look(
    situation: Situation, told: Told
) -> None:
    for mode, state in ((0o700, State.OK), (0o711, State.OK), (0o755, State.NOTE), (0o770, State.BAD)):
        situation.home.chmod(mode)
        assert [line.code for line in told(files.data_directory)[state]] == ["data-directory"], oct(mode)


def test_a_directory_that_is_missing_or_none_is_red(situation: Situation, told: Told) -> None:
    situation.home.rmdir()
    assert "does not exist" in told(files.data_directory)[State.BAD][0].sentence
    situation.home.touch()
    assert "is not a directory" in told(files.data_directory)[State.BAD][0].sentence


@ROOT_ONLY
def test_a_file_of_another_user_is_red(situation: Situation, told: Told) -> None:
    filled(situation.home)
    os.chown(situation.home, 1, 1)
    for file in situation.home.iterdir():
        os.chown(file, 1, 1)
    assert told(files.file_owners)[State.BAD] == []
    os.chown(situation.home / "bindery.sqlite3-wal", 0, 0)
    (line,) = told(files.file_owners)[State.BAD]
    assert "bindery.sqlite3-wal" in line.sentence
    assert "root" in line.sentence
    subprocess.run(["sh", "-c", line.mend], check=True)
    assert told(files.file_owners)[State.BAD] == []


def test_room_is_told_with_its_figures(situation: Situation, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "free at" in told(files.disk)[State.OK][0].evidence
    monkeypatch.setattr(files, "LITTLE", 1 << 60)
    assert "nearly full" in told(files.disk)[State.NOTE][0].sentence
    monkeypatch.setattr(files, "LEAST", 1 << 60)
    assert "is full" in told(files.disk)[State.BAD][0].sentence


def test_trying_to_write_leaves_nothing_behind(situation: Situation, told: Told) -> None:
    told(files.disk_writes)
    assert list(situation.home.iterdir()) == []


_FULL = """
mount -t tmpfs -o size=128k tmpfs "$BINDERY_HOME" &&
dd if=/dev/zero of="$BINDERY_HOME/fill" bs=1k count=1024 2>/dev/null; ls "$BINDERY_HOME" >&2
exec "$0" manage.py doctor --topic files --json
"""


def test_a_disk_that_is_really_full_is_red(tmp_path: Path) -> None:
    """A small file system in memory, in a mount namespace of its own."""
    unshare = counterparts.find("unshare")
    flags = ["--mount"] if os.geteuid() == 0 else ["--map-root-user", "--mount"]
    if subprocess.run([unshare, *flags, "true"], capture_output=True, check=False).returncode:
        pytest.skip("left out: private namespaces")
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    ran = subprocess.run(
        [unshare, *flags, "sh", "-c", _FULL, sys.executable],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "BINDERY_HOME": str(place), "BINDERY_SECRET_KEY": "x"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 3, ran.stderr
    assert f"The disk of {place} is full." in ran.stdout
    assert "No space left on device" in ran.stdout
    assert "in memory" in ran.stdout


def test_data_that_go_with_the_container_are_red(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "volume_risk", lambda: VolumeRisk("It goes with the container.", "docker run -v …"))
    (line,) = told(files.volume)[State.BAD]
    assert line.mend == "docker run -v …"
    monkeypatch.setattr(files, "volume_risk", lambda: None)
    monkeypatch.setattr(files, "container_here", lambda: Kind.DOCKER)
    assert told(files.volume)[State.OK]
    monkeypatch.setattr(files, "container_here", lambda: Kind.NONE)
    assert not any(told(files.volume).values())


def test_a_copy_of_the_database_that_others_may_read_is_red(
    situation: Situation, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "snapshots", lambda: situation.home / "snapshots")
    (situation.home / "snapshots").mkdir()
    copy = situation.home / "snapshots" / "20260101-000000-certs.0003.sqlite3"
    copy.touch(mode=0o644)
    copy.chmod(0o644)
    assert copy.name in told(files.file_modes)[State.BAD][0].sentence
