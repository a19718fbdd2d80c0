"""A database that is missing, empty, damaged, locked or older, and a ring that is missing, unreadable or another's."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from certs.domain.diagnosis import Line, Look, Situation, State
from certs.domain.envelope import KeyRing
from certs.domain.errors import Unavailable
from certs.services import database as database_service
from certs.services import search_index, secrets
from certs.services.database import database_lock_problem, database_problem
from certs.services.diagnosis import database
from certs.services.filters import Filters
from certs.services.search import certificates_search
from certs.services.search_index import search_index_make
from tests import stock
from tests.harness.artifacts import ROOT

Told = Callable[[Look], dict[State, list[Line]]]


def problem_of(file: Path) -> str:
    with pytest.raises(Unavailable) as found:
        database_service._sqlite(file, 0.2)
    return found.value.code


def test_what_is_no_database_is_told_and_not_made(tmp_path: Path) -> None:
    file = tmp_path / "bindery.sqlite3"
    assert problem_of(file) == "no-database"
    assert not file.exists()
    file.touch()
    assert problem_of(file) == "no-database"
    assert file.stat().st_size == 0
    file.write_bytes(b"this is no database at all" * 100)
    assert problem_of(file) == "database-damaged"
    file.unlink()
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE x (y)")
    assert problem_of(file) == "no-database"
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_database_that_another_program_holds_is_red(settings: Settings, told: Told) -> None:
    file = settings.DATABASES["default"]["NAME"]
    if not str(file).endswith("sqlite3"):
        pytest.skip("SQLite only")
    assert database_problem() is None
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        problem = database_lock_problem(0.2)
        assert problem is not None
        assert problem.code == "database-locked"
        (line,) = told(database.database)[State.BAD]
        assert "is locked by another program" in line.sentence
        other.execute("ROLLBACK")
    assert told(database.database)[State.OK]


@pytest.mark.django_db
def test_pending_migrations_are_red(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(database.migrations)[State.OK]
    monkeypatch.setattr(database, "migrations_pending", lambda: ["certs.0099_more"])
    (line,) = told(database.migrations)[State.BAD]
    assert line.evidence == "certs.0099_more"


@pytest.mark.django_db
@pytest.mark.parametrize("part", ["TRIGGER certs_name_trigram_update", "TABLE certs_name_trigram"])
def test_an_index_of_names_without_a_part_is_told_and_made_whole(told: Told, part: str) -> None:
    """Without a trigger names would be missed in silence."""
    if connection.vendor != "sqlite":
        pytest.skip("SQLite only")
    assert told(database.search_index)[State.OK]
    with connection.cursor() as cursor:
        if part.startswith("TABLE"):
            for name in ("insert", "delete", "update"):
                cursor.execute(f"DROP TRIGGER certs_name_trigram_{name}")
        cursor.execute(f"DROP {part}")
    stock.uploaded("first.example.com")
    (line,) = told(database.search_index)[State.NOTE]
    assert "reads every name" in line.sentence
    assert search_index_make()
    assert told(database.search_index)[State.OK]
    stock.uploaded("second.example.com")
    for name in ("first", "second"):
        found = certificates_search("command line", Filters(text=f"{name}.exa"))
        assert [row.name for row in found.rows] == [f"{name}.example.com"]


@pytest.mark.django_db
def test_a_database_that_refuses_the_index_goes_on_without(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    search_index.search_index_drop()
    monkeypatch.setitem(search_index._MAKE, connection.vendor, ["CREATE EXTENSION IF NOT EXISTS pg_nothing"])
    assert not search_index_make()
    assert told(database.search_index)[State.NOTE]


@pytest.mark.django_db
def test_a_ring_of_another_database_is_red(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(database.key_ring_fits)[State.NOTE]
    secrets.canary_check()
    assert told(database.key_ring_fits)[State.OK]
    monkeypatch.setattr(secrets, "ring", KeyRing.generate)
    (line,) = told(database.key_ring_fits)[State.BAD]
    assert "does not belong to this database" in line.sentence


@pytest.mark.django_db
def test_whether_a_ring_that_is_not_there_fits_cannot_be_told(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets.canary_check()
    monkeypatch.delenv("BINDERY_KEY_RING", raising=False)
    assert told(database.key_ring_fits)[State.UNKNOWN]


@pytest.mark.parametrize(
    ("content", "words"), [(None, "is missing"), ("{}", "not readable"), ("nonsense", "not readable")]
)
def test_a_ring_that_cannot_be_read_is_red(
    situation: Situation, told: Told, monkeypatch: pytest.MonkeyPatch, content: str | None, words: str
) -> None:
    monkeypatch.delenv("BINDERY_KEY_RING", raising=False)
    monkeypatch.setenv("BINDERY_HOME", str(situation.home))
    if content is not None:
        (situation.home / "keyring.json").write_text(content)
    (line,) = told(database.key_ring)[State.BAD]
    assert words in line.sentence
    (situation.home / "keyring.json").write_text(KeyRing.generate().to_json())
    assert told(database.key_ring)[State.OK]


def doctor(home: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", "doctor", *words],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "BINDERY_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_anything_it_makes_nothing_and_says_what_is_missing(tmp_path: Path) -> None:
    place = tmp_path / "none"
    ran = doctor(place, "--topic", "database", "--topic", "files")
    assert ran.returncode == 3, ran.stderr
    assert "There is no database yet" in ran.stdout
    assert "Traceback" not in ran.stdout + ran.stderr
    assert not place.exists()
    assert max(len(line) for line in ran.stdout.splitlines() if str(tmp_path) not in line) <= 80


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BINDERY_HTTP_PORT", "abc", "BINDERY_HTTP_PORT must be a whole number"),
        ("DATABASE_URL", "postgresql://u:pw@h:hunter/x", "DATABASE_URL cannot be read"),
        ("BINDERY_CA_BUNDLE", "/nowhere/ca.pem", "BINDERY_CA_BUNDLE"),
        ("BINDERY_SECRET_KEY_FILE", "/nowhere/key", "BINDERY_SECRET_KEY_FILE"),
    ],
)
def test_settings_that_cannot_be_read_are_a_line_and_no_traceback(
    tmp_path: Path, name: str, value: str, words: str
) -> None:
    ran = doctor(tmp_path, **{name: value})
    assert ran.returncode == 3
    assert words in ran.stdout
    assert "WRONG" in ran.stdout
    assert "Traceback" not in ran.stdout + ran.stderr
    assert "hunter" not in ran.stdout + ran.stderr


def test_a_postgresql_that_is_away_ends_soon_with_a_sentence_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://bindery:planted-pw@127.0.0.1:9/portal"
    ran = doctor(tmp_path, "--topic", "database", DATABASE_URL=url, BINDERY_SECRET_KEY="x")
    assert ran.returncode == 3
    assert "127.0.0.1:9" in ran.stdout
    assert "planted-pw" not in ran.stdout + ran.stderr
    assert "not known without the" in ran.stdout


@pytest.mark.django_db
def test_a_copy_of_a_portal_is_red(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(database.held)[State.OK]
    monkeypatch.setattr(database, "identity_held", lambda: "The data directory of this portal is a copy.")
    (line,) = told(database.held)[State.BAD]
    assert "orders nothing" in line.sentence
    assert "take_over" in line.mend
