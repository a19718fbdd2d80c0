"""The data directory: where it is, what lies in it, and how it is made the first time.

Works without Django, since the settings themselves need the secret key. What is here: the lock of the supervisor, the
SQLite database, the SECRET_KEY and the key ring (0600 each). Secrets are made only while the database holds no canary
row: a database without its ring must never be given a new one, which would make its secrets unreadable for good.
"""

import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from certs.domain.envelope import KeyRing
from certs.domain.errors import SecretError
from portal import env

BASE_DIR = Path(__file__).resolve().parent.parent


class HomeError(Exception):
    """The data directory cannot be used; the text is one sentence for the person."""


def path() -> Path:
    return Path(env.text("BINDERY_HOME") or BASE_DIR / "data").absolute()


def database_file() -> Path:
    return path() / "bindery.sqlite3"


def secret_key_file() -> Path:
    return path() / "secret_key"


def key_ring_file() -> Path:
    return path() / "keyring.json"


def snapshots() -> Path:
    """Copies of the database from before each change of its tables; made when the first is written."""
    return path() / "snapshots"


def identity_mark() -> Path:
    """What a copy of the directory is known by (`certs/services/identity.py`)."""
    return path() / "identity"


def lock_file() -> Path:
    return path() / "bindery.lock"


def secret_key() -> str:
    """SECRET_KEY from BINDERY_SECRET_KEY or the data directory; empty when there is none yet."""
    given = env.text("BINDERY_SECRET_KEY")
    if given:
        return given
    try:
        return secret_key_file().read_text().strip()
    except OSError:
        return ""


def key_ring() -> KeyRing:
    """The ring from BINDERY_KEY_RING or the data directory. Raises SecretError naming the path expected."""
    given = env.text("BINDERY_KEY_RING")
    if given:
        return KeyRing.from_json(given)
    try:
        return KeyRing.from_json(key_ring_file().read_text())
    except OSError as error:
        raise SecretError(
            f"The key ring is missing: {key_ring_file()} cannot be read ({error.strerror}).",
            advice="Put the saved key ring back there (mode 0600), or name it with BINDERY_KEY_RING_FILE.",
        ) from error


def key_ring_place() -> str:
    """Where the ring in use is kept, for sentences that ask for a copy of it; empty where whoever starts the portal
    gives it and so has it. A service gets it as a credential, and names the file with BINDERY_KEY_RING_PLACE."""
    given = env.text("BINDERY_KEY_RING_PLACE")
    return given or ("" if env.is_set("BINDERY_KEY_RING") else str(key_ring_file()))


def new_secret_key() -> str:
    return secrets.token_urlsafe(48)


def new_key_ring() -> str:
    return KeyRing.generate().to_json()


def prepare() -> None:
    """Make the directory and, for a database that has none yet, the secrets. Raises HomeError."""
    home = path()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = home / f".write-test-{os.getpid()}"
        probe.touch(mode=0o600)
        probe.unlink()
    except OSError as error:
        raise HomeError(
            f"The data directory {home} cannot be written: {error.strerror}. "
            "Give this user the right to write there, or name another directory with BINDERY_HOME."
        ) from error
    if env.is_set("DATABASE_URL"):
        missing = [name for name in ("BINDERY_SECRET_KEY", "BINDERY_KEY_RING") if not env.is_set(name)]
        if missing:
            raise HomeError(
                f"With DATABASE_URL, {' and '.join(missing)} must be given too (or as NAME_FILE): every node needs "
                "the same. `manage.py new_secrets` prints a fresh pair."
            )
        return
    # Sessions and password hashes are no business of others on this machine, even where the directory is open to them.
    database_file().touch(mode=0o600)
    used = has_canary(database_file())
    for file, name, make in (
        (secret_key_file(), "BINDERY_SECRET_KEY", new_secret_key),
        (key_ring_file(), "BINDERY_KEY_RING", new_key_ring),
    ):
        if env.is_set(name) or file.exists():
            continue
        if used:
            raise HomeError(
                f"{file} is missing, but the database {database_file()} was made with one. "
                f"Put the saved copy back, or name it with {name}_FILE. Nothing was changed."
            )
        _write_secret(file, make())


def has_canary(database: Path) -> bool:
    """Whether the SQLite file holds the canary row, that is, secrets sealed by a ring. Raises HomeError."""
    if not database.exists() or database.stat().st_size == 0:
        return False
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=20)) as connection:
            tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'certs_keyringcanary'").fetchall()
            return bool(tables) and bool(connection.execute("SELECT 1 FROM certs_keyringcanary").fetchall())
    except sqlite3.Error as error:
        raise HomeError(f"The database {database} cannot be read: {error}. Nothing was changed.") from error


def _write_secret(file: Path, content: str) -> None:
    """Created with its final mode, complete or not at all."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)  # of a start that was cut off: in a container the number is always the same
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(content + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    partial.rename(file)
