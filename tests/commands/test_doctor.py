"""`manage.py doctor`: exit codes, JSON, width, colours, and that it leaves no trace, whoever runs it."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from certs.domain.diagnosis import TOPICS, Line, Look, State
from certs.management.diagnosis import diagnosis_text
from certs.services import diagnoses
from certs.services.secrets import canary_check
from tests.commands.running import run
from tests.harness.artifacts import ROOT
from tests.harness.prepared import database_copy

SCHEMA = json.loads((ROOT / "docs" / "doctor.schema.json").read_text())
LONG = "word " * 40
LINES = [
    Line("a", State.BAD, f"Broken: {LONG}", f"Mend: {LONG}\nverbatim. CAA 0 issue", "seen it", "files"),
    Line("b", State.NOTE, "Look.", "", "", "files"),
    Line("c", State.UNKNOWN, "Whether it is so: nobody said.", "", "", "cas"),
    Line("d", State.OK, "Fine.", "", "evidence of it", "cas"),
]


def test_the_text_keeps_to_eighty_columns_and_says_each_thing_once() -> None:
    text = list(diagnosis_text(LINES))
    assert max(map(len, text)) <= 80
    whole = "\n".join(text)
    for words in ("WRONG  Broken", "→ Mend", "verbatim. CAA 0 issue", "seen: seen it", "look   Look.", "ok     Fine."):
        assert whole.count(words) == 1, words
    assert "evidence of it" not in whole
    assert "evidence of it" in "\n".join(diagnosis_text(LINES, evidence=True))
    assert text[-1] == "1 WRONG, 1 look, 1 could not check, 1 ok. To mend: a."
    assert "\x1b" not in whole


def test_without_lines_it_says_so() -> None:
    assert list(diagnosis_text([])) == ["nothing was looked at."]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_the_exit_code_tells_whether_something_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    for line, code in zip(LINES, (3, 0, 0, 0), strict=True):
        made = Look("x", "Whether", line.topic, lambda _, line=line: [line], 5.0, False)  # type: ignore[misc]
        monkeypatch.setattr(diagnoses, "declared", lambda *_, made=made: (made,))
        assert run("doctor").code == code
        ran = run("doctor", "--json")
        assert ran.code == code
        jsonschema.validate(ran.json, SCHEMA)
        assert ran.json["lines"][0]["sentence"] == line.sentence


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_only_the_topics_that_are_named_are_looked_at() -> None:
    canary_check()
    found = run("doctor", "--json", "--topic", "database", "--topic", "files").json
    assert {line["topic"] for line in found["lines"]} == {"database", "files"}
    assert run("doctor", "--topic", "weather").code == 2
    assert set(SCHEMA["properties"]["lines"]["items"]["properties"]["topic"]["enum"]) == set(TOPICS)


def home_with_database(place: Path) -> Path:
    place.mkdir(mode=0o700)
    database_copy(place / "bindery.sqlite3")
    return place


def environment(home: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "BINDERY_HOME": str(home), "BINDERY_SECRET_KEY": "x", **more}


def on_a_terminal(words: list[str], env: dict[str, str]) -> str:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=env, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    said, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline and select.select([leader], [], [], 60)[0]:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        said += piece
    process.wait(10)
    os.close(leader)
    return said.decode()


def test_colours_are_for_a_terminal_that_wants_them(tmp_path: Path) -> None:
    words = ["doctor", "--topic", "files"]
    home = home_with_database(tmp_path / "home")
    assert "\x1b[32m" in on_a_terminal(words, environment(home, TERM="xterm"))
    assert "\x1b" not in on_a_terminal(words, environment(home, TERM="xterm", NO_COLOR="1"))


def test_a_reader_that_wants_the_first_lines_only_may_go_away(tmp_path: Path) -> None:
    ran = subprocess.run(
        ["sh", "-c", '"$0" manage.py doctor --topic files | head -1', sys.executable],
        cwd=ROOT,
        env=environment(home_with_database(tmp_path / "home")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("Files and disk\n", "")


def snapshot(place: Path) -> dict[str, tuple[int, int, int]]:
    return {file.name: (file.lstat().st_uid, file.lstat().st_mode, file.lstat().st_size) for file in place.iterdir()}


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to be two users")
def test_root_leaves_nothing_of_its_own_in_the_data_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    home = home_with_database(tmp_path / "home")
    for file in (home, home / "bindery.sqlite3"):
        os.chown(file, 65534, 65534)
    before = snapshot(home)
    watcher = Watcher(home)
    ran = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json", "--topic", "database", "--topic", "files"],
        cwd=ROOT,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode in (0, 3), ran.stderr
    jsonschema.validate(json.loads(ran.stdout), SCHEMA)
    assert watcher.owners_seen() <= {65534}  # not even in passing: a portal that starts meanwhile must not meet them
    assert snapshot(home) == before


class Watcher:
    """Who owns what appears in a directory, as often as it can be looked at."""

    def __init__(self, place: Path) -> None:
        import threading

        self._owners: set[int] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(place,), daemon=True)
        self._thread.start()

    def _watch(self, place: Path) -> None:
        while not self._ended.is_set():
            for file in place.iterdir():
                try:
                    self._owners.add(file.lstat().st_uid)
                except FileNotFoundError:
                    continue

    def owners_seen(self) -> set[int]:
        self._ended.set()
        self._thread.join(5)
        return self._owners
