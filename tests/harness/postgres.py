"""A PostgreSQL server of its own, on a free loopback port, in a directory that goes afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from tests.harness import counterparts
from tests.harness.artifacts import keep
from tests.harness.ports import LOOPBACK, free_port, wait_until
from tests.harness.process import Process

PASSWORD = "only-for-this-test"


class Postgres:
    """Use as a context manager; `url` is for DATABASE_URL. PostgreSQL refuses to run as root, so root lends a user.

    `database` is made besides the one that is always there; all of it belongs to the user bindery.
    """

    def __init__(self, *, port: int = 0, password: str = PASSWORD, database: str = "postgres") -> None:
        self.port = port or free_port()
        self.password = password
        self.database = database
        self.home = Path(tempfile.mkdtemp(prefix="bindery-postgres-"))
        self._bin = counterparts.find("postgresql").parent
        self._user = _lent_user()
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"postgresql://bindery:{self.password}@{LOOPBACK}:{self.port}/postgres"

    def __enter__(self) -> Self:
        data = self.home / "data"
        data.mkdir(mode=0o700)
        password = self.home / "password"
        password.write_text(self.password)
        if self._user:
            for path in (self.home, data, password):
                shutil.chown(path, self._user)
        subprocess.run(
            [
                self._bin / "initdb",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--auth=scram-sha-256",
                "--username=bindery",
                f"--pwfile={password}",
                data,
            ],
            check=True,
            capture_output=True,
            user=self._user,
            cwd=self.home,
        )
        log = self.home / "postgres.log"
        log.touch(mode=0o666)
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "jit": "off",
            "max_connections": "200",
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self._process = Process([self._bin / "postgres", "-D", data, *words], log, user=self._user, cwd=self.home)
        wait_until(self._answers, timeout=30, what="PostgreSQL")
        if self.database != "postgres":
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{self.database}"')
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.stop(timeout=5)
        if error is not None:
            keep("postgres.log", self.home / "postgres.log")
        shutil.rmtree(self.home, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._process is not None
        if not self._process.is_alive():
            raise RuntimeError(f"PostgreSQL ended: {self._process.log[-2000:]}")
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


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
