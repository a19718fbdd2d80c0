"""A PostgreSQL server of its own, on a free loopback port, in a directory that goes afterwards."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psycopg

from tests.harness import counterparts
from tests.harness.daemon import Daemon
from tests.harness.ports import LOOPBACK, free_port

PASSWORD = "only-for-this-test"


class Postgres(Daemon):
    """`url` is for DATABASE_URL. PostgreSQL refuses to run as root, so root lends a user.

    `database` is made besides the one that is always there; all of it belongs to the user bindery.
    """

    program = "postgresql"

    def __init__(self, *, port: int = 0, password: str = PASSWORD, database: str = "postgres") -> None:
        super().__init__()
        self.port = port or free_port()
        self.password = password
        self.database = database
        self.user = _lent_user()

    @property
    def url(self) -> str:
        return f"postgresql://bindery:{self.password}@{LOOPBACK}:{self.port}/postgres"

    def command(self, program: Path) -> Sequence[str | Path]:
        data = self.home / "data"
        data.mkdir(mode=0o700)
        password = self.home / "password"
        password.write_text(self.password)
        if self.user:
            for path in (self.home, data, password):
                shutil.chown(path, self.user)
        words = ["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "--username=bindery"]
        subprocess.run(
            [program.with_name("initdb"), *words, f"--pwfile={password}", data],
            check=True,
            capture_output=True,
            user=self.user,
            cwd=self.home,
        )
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "jit": "off",
            "max_connections": "200",
        }
        given = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [program.with_name("postgres"), "-D", data, *given]

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def ready(self) -> None:
        if self.database != "postgres":
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{self.database}"')


def _lent_user() -> str | None:
    """A user without rights where we are root, else None: ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise counterparts.Missing("there is no user postgres or nobody to run PostgreSQL as")
