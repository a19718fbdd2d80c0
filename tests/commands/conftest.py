from collections.abc import Callable
from typing import Any

import pytest

from certs.management import waiting
from tests.commands.running import finish


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live worker, as far as the command can tell."""
    monkeypatch.setattr(waiting, "worker_alive", lambda: True)


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "worker_alive", lambda: False)


@pytest.fixture
def queue(worker: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`queue(state="failed", …)`: how orders end while the command waits; otherwise well."""
    ending: dict[str, Any] = {}
    monkeypatch.setattr(waiting.time, "sleep", lambda _: finish(**ending))
    return ending.update
