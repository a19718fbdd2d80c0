import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from certs.domain.envelope import KeyRing
from certs.domain.errors import SecretError
from portal import home


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("BINDERY_SECRET_KEY", "BINDERY_KEY_RING", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BINDERY_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def add_canary(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE certs_keyringcanary (sealed TEXT)")
        connection.execute("INSERT INTO certs_keyringcanary VALUES ('x')")


def test_the_place_of_the_ring_is_named_where_a_copy_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("BINDERY_KEY_RING", "BINDERY_KEY_RING_FILE", "BINDERY_KEY_RING_PLACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BINDERY_HOME", str(tmp_path))
    assert home.key_ring_place() == str(tmp_path / "keyring.json")
    monkeypatch.setenv("BINDERY_KEY_RING_FILE", "/run/credentials/bindery.service/key_ring")
    assert home.key_ring_place() == "", "whoever gives it has it"
    monkeypatch.setenv("BINDERY_KEY_RING_PLACE", "/etc/bindery/key_ring.json")
    assert home.key_ring_place() == "/etc/bindery/key_ring.json"


def test_the_first_start_makes_private_secrets(data: Path) -> None:
    home.prepare()
    for name in ("secret_key", "keyring.json"):
        assert (data / name).stat().st_mode & 0o777 == 0o600
    assert data.stat().st_mode & 0o777 == 0o700
    assert len(home.secret_key()) >= 50
    assert len(home.key_ring().keys) == 1


def test_others_on_the_machine_cannot_read_the_database_in_a_directory_made_before(data: Path) -> None:
    data.mkdir(mode=0o755, exist_ok=True)
    (data / f".secret_key.{os.getpid()}").touch()  # a start that was cut off
    home.prepare()
    assert stat.S_IMODE(home.database_file().stat().st_mode) == 0o600
    with closing(sqlite3.connect(home.database_file())) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE x (y)")
        assert {stat.S_IMODE(file.stat().st_mode) for file in data.glob("bindery.sqlite3*")} == {0o600}


def test_a_second_start_keeps_them(data: Path) -> None:
    home.prepare()
    before = (data / "secret_key").read_text(), (data / "keyring.json").read_text()
    home.prepare()
    assert ((data / "secret_key").read_text(), (data / "keyring.json").read_text()) == before


@pytest.mark.parametrize("lost", ["secret_key", "keyring.json"])
def test_a_used_database_is_never_given_new_secrets(data: Path, lost: str) -> None:
    home.prepare()
    add_canary(home.database_file())
    (data / lost).unlink()
    with pytest.raises(home.HomeError, match=lost):
        home.prepare()
    assert not (data / lost).exists()


def test_secrets_from_the_environment_leave_nothing_on_disk(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINDERY_SECRET_KEY", "s" * 50)
    monkeypatch.setenv("BINDERY_KEY_RING", KeyRing.generate().to_json())
    home.prepare()
    assert list(data.iterdir()) == [home.database_file()]


def test_with_a_database_url_both_secrets_must_be_given(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/x")
    with pytest.raises(home.HomeError, match="BINDERY_SECRET_KEY and BINDERY_KEY_RING"):
        home.prepare()
    assert list(data.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BINDERY_HOME", str(tmp_path / "file" / "data"))
    with pytest.raises(home.HomeError, match="cannot be written"):
        home.prepare()


def test_a_file_that_is_no_database_is_left_alone(data: Path) -> None:
    data.mkdir()
    home.database_file().write_text("not a database, but long enough to be read as one " * 30)
    before = home.database_file().read_bytes()
    with pytest.raises(home.HomeError, match="cannot be read"):
        home.prepare()
    assert home.database_file().read_bytes() == before
    assert not (data / "keyring.json").exists()


def test_a_missing_ring_names_the_path_expected(data: Path) -> None:
    with pytest.raises(SecretError, match=r"keyring\.json"):
        home.key_ring()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"primary": "a", "keys": {}}', '{"primary":"a","keys":{"a":"AA=="}}']
)
def test_a_damaged_ring_is_refused(data: Path, text: str) -> None:
    data.mkdir()
    home.key_ring_file().write_text(text)
    with pytest.raises(SecretError):
        home.key_ring()
