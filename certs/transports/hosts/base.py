"""Ways to reach a machine, one file each, and what may be asked of a machine once it is reached.

A connection knows nothing of web servers and sees no database. What it is given is what a person typed (`Options`) and
the identity that a person approved; a machine that shows another one is not talked to.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from socket import socket
from typing import Any, ClassVar

from certs.domain.errors import BinderyError, ConflictError, NotAllowed, Unavailable
from certs.domain.options import NoOptions

SECONDS = 30.0  # one remote step, unless it says otherwise
OUTPUT = 64 * 1024  # bytes kept of each stream, unless more is asked for


@dataclass(frozen=True)
class Identity:
    """What a machine shows before anybody logs in: `key` is what is pinned, `fingerprint` what a person compares."""

    kind: str  # "ssh-ed25519", "certificate"
    key: str
    fingerprint: str


@dataclass(frozen=True)
class Ran:
    """A command that has ended; `code` is None where its time was up, `command` is how a person would type it."""

    command: str
    code: int | None
    output: bytes
    errors: str
    seconds: float

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def text(self) -> str:
        return self.output.decode("utf-8", "replace")

    @property
    def why(self) -> str:
        """The last thing it said, for a sentence."""
        said = [line.strip() for line in (self.errors or self.text).splitlines() if line.strip()]
        if said:
            return said[-1][:300]
        return "it did not end in time" if self.code is None else f"it ended with {self.code} and said nothing"


class Unreachable(Unavailable):
    """Nobody answers there, or not as this connection speaks."""

    code = "host-unreachable"


class LogInRefused(NotAllowed):
    """The machine answers, and does not let us in."""

    code = "host-log-in"


class IdentityUnknown(NotAllowed):
    """Nobody has approved yet what the machine shows."""

    code = "host-identity-unknown"

    def __init__(self, message: str, *, identity: Identity, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.identity = identity


class IdentityChanged(ConflictError):
    """It shows another identity than the one that was approved: nothing is sent there."""

    code = "host-identity-changed"

    def __init__(self, message: str, *, identity: Identity, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.identity = identity


class CommandFailed(BinderyError):
    """A command on the machine did not do what it was for. `ran` is all that is known of it."""

    code = "host-command"

    def __init__(self, message: str, *, ran: Ran, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.ran = ran


Witness = Callable[[Ran], None]


def unseen(ran: Ran) -> None:
    """The witness of what nobody needs to know."""


@dataclass(frozen=True)
class FileSeen:
    """A file as it is there: `mode` in octal as stat prints it, `real` without any symbolic link on the way."""

    path: str
    real: str
    size: int
    mode: str
    owner: str
    group: str


class Connection(ABC):
    """Made for one endpoint with its options; `open` may be called any number of times."""

    Options: ClassVar[type[Any]] = NoOptions
    label: ClassVar[str]
    trusts_blindly: ClassVar[bool] = False  # named as insecure wherever it is shown

    def __init__(self, options: Any) -> None:
        self.options = options

    @property
    @abstractmethod
    def place(self) -> str:
        """What is reached, for a person: host:port."""

    @abstractmethod
    def identity(self) -> Identity | None:
        """What is shown there now, without a log-in; None where there is nothing to approve. Raises Unreachable."""

    @abstractmethod
    def open(self, pin: str, witness: Witness = unseen) -> AbstractContextManager[Any]:
        """An open session. `pin` is the `Identity.key` that was approved, "" where none was; `witness` is told of all
        that is done in it.

        Raises Unreachable, LogInRefused, IdentityUnknown, IdentityChanged, InputError for options that cannot work.
        """


class Host(ABC):
    """An open session with a machine that has POSIX commands. Not to be shared by threads."""

    place: str

    @abstractmethod
    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        root: bool = False,
        private: bool = False,
        seconds: float = SECONDS,
        keep: int = OUTPUT,
    ) -> Ran:
        """Run a program, without a terminal. `root`: with the rights of root, where sudo is to be used; nothing may be
        given on `stdin` then. `private`: what it prints is for us alone, and no witness is told. Raises Unreachable
        when the session breaks, LogInRefused when sudo refuses the password.
        """

    @abstractmethod
    def reach(self, host: str, port: int, *, seconds: float) -> AbstractContextManager[socket]:
        """A TCP connection from the machine to an address as the machine itself sees it. Raises OSError."""

    def check(
        self, argv: Sequence[str], what: str, *, advice: str = "", stdin: bytes = b"", root: bool = False, **how: Any
    ) -> Ran:
        """The same, where anything but success is an error: "{what}: the last thing it said". Raises CommandFailed."""
        ran = self.run(argv, stdin=stdin, root=root, **how)
        if not ran.ok:
            raise CommandFailed(f"{what}: {ran.why}", ran=ran, advice=advice)
        return ran
