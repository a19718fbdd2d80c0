"""Which portal is meant: whether it runs, and whether it was set as this command is."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certs.domain.diagnosis import Line, Look, Situation, State
from certs.services import nodes
from certs.services.diagnosis import settings as checks

Told = Callable[[Look], dict[State, list[Line]]]
_SUPERVISOR = (
    "import sys; from pathlib import Path; from portal.server.lock import SupervisorLock; "
    "SupervisorLock(Path(sys.argv[1])).acquire(); print(flush=True); sys.stdin.read()"
)


@pytest.fixture
def running(situation: Situation) -> Iterator[Callable[..., int]]:
    """Starts a process that holds the lock of the data directory, with these settings."""
    started: list[subprocess.Popen[str]] = []

    def start(**environment: str) -> int:
        process = subprocess.Popen(
            [sys.executable, "-c", _SUPERVISOR, str(situation.home / "bindery.lock"), "manage.py", "up"],
            env={**clean(), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout
        process.stdout.readline()
        return process.pid

    yield start
    for process in started:
        process.communicate("")


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in checks.settings_given(os.environ)}


def test_where_no_portal_runs_it_says_so(told: Told) -> None:
    assert "No portal is seen running" in told(checks.running)[State.NOTE][0].sentence


def test_a_portal_that_runs_is_named_and_its_settings_are_compared(
    told: Told, running: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in checks.settings_given(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("BINDERY_KEY_RING", "planted-ring")
    pid = running(
        BINDERY_HTTP_PORT="8000", BINDERY_KEY_RING_FILE="/run/credentials/key_ring", BINDERY_LOG_LEVEL="debug"
    )
    found = told(checks.running)
    assert f"process {pid}" in found[State.OK][0].sentence
    assert "other settings than this: BINDERY_HTTP_PORT." in found[State.NOTE][0].sentence
    monkeypatch.setenv("BINDERY_HTTP_PORT", "8000")
    found = told(checks.running)
    assert [line.code for line in found[State.OK]] == ["running", "same-settings"]
    assert not found[State.NOTE]
    assert "planted-ring" not in str(found)


def test_another_database_is_told_by_name_only(
    told: Told, running: Callable[..., int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in checks.settings_given(os.environ):
        monkeypatch.delenv(name)
    file = tmp_path / "url"
    file.write_text("postgresql://u:planted-pw@one/x\n")
    running(DATABASE_URL_FILE=str(file))
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:planted-pw@one/x")
    assert not told(checks.running)[State.NOTE]
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:planted-pw@two/x")
    (line,) = told(checks.running)[State.NOTE]
    assert "other settings than this: DATABASE_URL." in line.sentence
    assert "planted-pw" not in str(line)


def test_where_the_kernel_lists_another_device_the_files_word_is_taken(
    situation: Situation, running: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "_holder", lambda *_: 0)
    file = situation.home / "bindery.lock"
    assert nodes.supervisor_pid(situation.home) == 0
    pid = running()
    assert nodes.supervisor_pid(situation.home) == pid
    file.write_text(f"{os.getpid()}\n")  # alive, and no supervisor
    assert nodes.supervisor_pid(situation.home) == 0
    file.write_text("nonsense")
    assert nodes.supervisor_pid(situation.home) == 0


def test_a_file_with_a_key_that_everybody_reads_is_red(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ring"
    file.touch(mode=0o600)
    monkeypatch.delenv("BINDERY_KEY_RING", raising=False)
    monkeypatch.setenv("BINDERY_KEY_RING_FILE", str(file))
    assert not told(checks.files_named)[State.BAD]
    file.chmod(0o644)
    (line,) = told(checks.files_named)[State.BAD]
    subprocess.run(["sh", "-c", line.mend], check=True)
    assert not told(checks.files_named)[State.BAD]
