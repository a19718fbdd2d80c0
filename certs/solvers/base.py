"""What a challenge solver must do, and what it is given."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol


@dataclass(frozen=True)
class Task:
    """One challenge to be solved: RFC 8555 §8.1. `asked` is the address the CA says it asked for, once it has."""

    name: str  # A-label
    token: str
    key_authorization: str
    asked: str = ""


@dataclass(frozen=True)
class Evidence:
    """What this machine sees where the CA looked; `curl` is the same for a person's own shell."""

    url: str
    curl: str
    seen: str


class Store(Protocol):
    """Where a solver puts an answer that every node of the portal must give."""

    def put(self, task: Task) -> None: ...

    def remove(self, task: Task) -> None: ...


class Solver(ABC):
    """Solvers know nothing of orders. `present` and `clean` may be called twice for the same task."""

    label: ClassVar[str]  # in sentences: "the … challenge"
    challenge_type: ClassVar[str]  # as the CA calls it

    @abstractmethod
    def present(self, task: Task, store: Store) -> None:
        """Put the answer in place; it must be there when the CA looks, many times and from anywhere."""

    @abstractmethod
    def clean(self, task: Task, store: Store) -> None:
        """Take the answer away again. Nothing to take away is no error."""

    @abstractmethod
    def look(self, task: Task) -> Evidence:
        """Look where the CA looked. Never raises: what goes wrong is what was seen."""
