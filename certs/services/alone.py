"""One at a time across threads, processes and nodes, for what outside of us has no such order of its own."""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from django.db import connection

from certs.domain.errors import Unavailable
from portal import home

PATIENCE_SECONDS = 45.0
_POLL_SECONDS = 0.1


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Hold the turn of that name. Raises Unavailable when others keep it for too long. Not inside `atomic()`.

    On PostgreSQL an advisory lock of the session, which ends with its connection; SQLite has one machine, so a locked
    file, which ends with its process.
    """
    digest = hashlib.sha256(name.encode()).digest()
    turn = _by_database(digest) if connection.vendor == "postgresql" else _by_file(digest)
    with turn:
        yield


@contextmanager
def _by_database(digest: bytes) -> Iterator[None]:
    number = int.from_bytes(digest[:8], signed=True)

    def ask(function: str) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {function}(%s)", [number])
            return bool(cursor.fetchone()[0])

    _await(lambda: ask("pg_try_advisory_lock"))
    try:
        yield
    finally:
        ask("pg_advisory_unlock")


@contextmanager
def _by_file(digest: bytes) -> Iterator[None]:
    directory = home.path() / "turns"
    directory.mkdir(mode=0o700, exist_ok=True)
    # The file stays: were it removed, one could hold what another has made anew.
    descriptor = os.open(directory / digest.hex()[:16], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take() -> bool:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    try:
        _await(take)
        yield
    finally:
        os.close(descriptor)


def _await(take: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not take():
        if time.monotonic() > deadline:
            raise Unavailable(
                f"Others have been at the same for {PATIENCE_SECONDS:g} s.", advice="It is tried again.", code="turn"
            )
        time.sleep(_POLL_SECONDS)
