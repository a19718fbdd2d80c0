"""What a challenge solver must do, and what it is given.

A solver knows nothing of orders and sees no database. The order stores each task before `present` and forgets it only
after `clean`, so that what a crash leaves behind is found and taken away.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from certs.domain.options import NoOptions


@dataclass(frozen=True)
class Task:
    """One challenge to be solved (RFC 8555 §8). `asked` is the address the CA says it asked for, once it has."""

    name: str  # A-label without "*.", or an address
    token: str
    key_authorization: str
    asked: str = ""
    type: str = "http-01"  # as the CA calls it; one of the solver's `challenge_types`
    wildcard: bool = False
    account_url: str = ""
    issuers: tuple[str, ...] = ()  # dns-persist-01: the CA's issuer-domain-names


@dataclass(frozen=True)
class Evidence:
    """What this machine sees where the CA looked; `curl` is the same for a person's own shell."""

    url: str
    curl: str
    seen: str
    right: bool = False  # it was the right answer


@dataclass(frozen=True)
class Sight:
    """What one server shows. `right` is None where it could not be asked from here."""

    server: str
    right: bool | None
    words: str


@dataclass(frozen=True)
class Instruction:
    """What a person has to put in place: a DNS record, say. `done`: the CA can see it already."""

    what: str  # "TXT record"
    name: str
    value: str
    done: bool = False
    alias: str = ""  # the name that the CA asks for, where it is an alias of `name`
    sights: tuple[Sight, ...] = ()
    trouble: str = ""  # why nobody could be asked
    blind: bool = False  # no server that decides could be asked: it may be there all the same


def _never() -> bool:
    return False


def _as_it_comes(_: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Site:
    """What a solver may know of the portal around it."""

    home: Path = Path()
    version: str = ""
    resolvers: tuple[str, ...] = ()  # host or host:port of recursive DNS servers; empty: the system's
    authorities: tuple[str, ...] = ()  # asked instead of a zone's own servers (split-horizon DNS); empty: those
    hooks: Path = Path("hooks")  # the directory whose scripts may be run
    # Whether loopback and private addresses may be looked at; asked only where one looks.
    allow_private: Callable[[], bool] = _never
    # `with site.alone(NAME)`: nobody else in the whole portal is at the same. Raises Unavailable after a while.
    alone: Callable[[str], AbstractContextManager[None]] = _as_it_comes


class Solver(ABC):
    """Made for one order with its options. `present` and `clean` may be called twice for the same task."""

    Options: ClassVar[type[Any]] = NoOptions
    label: ClassVar[str]  # in sentences: "the … challenge"
    challenge_types: ClassVar[tuple[str, ...]]  # as the CA calls them; the first one that it offers is taken
    wildcards: ClassVar[bool] = False  # can prove *.example.com
    addresses: ClassVar[bool] = False  # can prove an IP address
    by_portal: ClassVar[bool] = False  # any node answers with the stored task; there is nothing to take away
    by_hand: ClassVar[bool] = False  # a person acts: the order waits for days, and shows `instructions`
    runs_programs: ClassVar[bool] = False  # whoever sets its options decides what runs on this machine
    # Options that say where an answer is put, and so where it is taken away: not changed while one stands there.
    put_by: ClassVar[tuple[str, ...]] = ()
    chooser: ClassVar[str] = ""  # the option that decides which others there are, as a provider its parameters

    def __init__(self, options: Any = None, site: Site | None = None) -> None:
        self.options = options if options is not None else self.Options()
        self.site = site or Site()

    @classmethod
    def options_for(cls, given: Mapping[str, Any]) -> type[Any]:
        """The Options there are for what is `given` already; they only differ where there is a `chooser`."""
        return cls.Options

    @abstractmethod
    def present(self, task: Task) -> dict[str, Any]:
        """Put the answer in place, for the CA to see many times and from anywhere. Returns JSON that `clean` needs.

        Network and subprocesses are allowed, a minute at most. Raises BinderyError.
        """

    def awaited(self, task: Task) -> str:
        """What is still being waited for before the CA may look, in one sentence; "" when it can see the answer.

        Asked again and again; 10 s at most. Raises BinderyError only for what waiting cannot mend.
        """
        return ""

    def is_blind(self, task: Task) -> bool:
        """Whether what is awaited cannot be seen from here at all, so that waiting much longer tells nothing. 10 s at
        most."""
        return False

    @abstractmethod
    def clean(self, task: Task, data: Mapping[str, Any]) -> None:
        """Take the answer away again. `data` is what `present` returned, empty where it was killed before it did.

        Nothing to take away is no error. Raises BinderyError when it could not be done now.
        """

    @abstractmethod
    def look(self, task: Task) -> Evidence:
        """Look where the CA looked, about 5 s at most. Never raises: what goes wrong is what was seen."""

    def instructions(self, task: Task) -> tuple[Instruction, ...]:
        """What a person has to do, for solvers that are `by_hand`."""
        return ()
