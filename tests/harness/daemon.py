"""A real server for a test: in a directory of its own, started, waited for, and ended with what it has said kept."""

import os
import tempfile
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness import counterparts
from tests.harness.artifacts import keep
from tests.harness.ports import wait_until
from tests.harness.process import Process


class Daemon(AbstractContextManager["Daemon"]):
    """Use as a context manager. `program` is a name of `tests.harness.counterparts`."""

    program: str
    user: str | None = None  # as whom it runs; None: as we do

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix=f"bindery-{self.program}-")
        self._process: Process | None = None

    @property
    def home(self) -> Path:
        return Path(self._directory.name)

    @property
    def log(self) -> str:
        return self._process.log if self._process else ""

    @abstractmethod
    def command(self, program: Path) -> Sequence[str | Path]:
        """Writes its files below `home`, and says how the program is started with them."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it does what it is for; OSError says no."""

    def environment(self) -> dict[str, str]:
        return {"LC_ALL": "C"}

    def ready(self) -> None:
        """Once it answers."""

    def end(self) -> None:
        """Before its time, as a server goes down."""
        assert self._process is not None
        self._process.stop(timeout=3)

    def __enter__(self) -> Self:
        self._process = Process(
            self.command(Path(counterparts.find(self.program))),
            self.home / f"{self.program}.log",
            env={**os.environ, **self.environment()},
            cwd=self.home,
            user=self.user,
        )
        try:
            wait_until(self._answers, timeout=20, what=self.program)
            self.ready()
        except Exception as error:
            error.add_note(self.log[-2000:])
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.stop(timeout=3)
        if error is not None:
            keep(f"{self.program}.log", self.home / f"{self.program}.log")
        self._directory.cleanup()

    def _answers(self) -> bool:
        assert self._process is not None
        if not self._process.is_alive():
            raise RuntimeError(f"{self.program} ended: {self.log[-2000:]}")
        try:
            return self.answers()
        except OSError:  # requests' errors are of these
            return False
