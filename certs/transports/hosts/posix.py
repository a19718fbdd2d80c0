"""A machine with POSIX commands: the rights of root by sudo, and files that are put in place as a whole or not at all.

Everything is a program with arguments: no shell reads a word that came from us, and no payload shares a stream with a
password (sudo hands on what it does not read itself). What needs root is the exact command line that a sudoers file
can name, without a wildcard: a file is staged in a directory of our own under a fixed name, copied beside its target,
compared, and renamed over it.
"""

import shlex
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import PurePosixPath

from certs.domain.errors import InputError
from certs.transports.hosts.base import (
    OUTPUT,
    SECONDS,
    CommandFailed,
    FileSeen,
    Host,
    LogInRefused,
    Ran,
    Witness,
)

# Where programs of the system are, whatever the account's own PATH says (Debian's leaves out sbin).
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PLAIN = {"LC_ALL": "C", "PATH": PATH}  # sudo's words and stat's are read
# With the words that they are always given.
FILE_TOOLS: dict[str, tuple[str, ...]] = {
    "cat": (),
    "cp": ("-a", "-T"),
    "mv": ("-f", "-T"),
    "readlink": ("-e",),
    "rm": ("-f",),
    "sha256sum": (),
    "stat": ("-L", "-c", "%F|%s|%a|%U|%G"),
}
# A file, and not what the shell has built in; nothing of its argument is read as code.
_LOOK_UP = 'IFS=:; for d in $PATH; do if [ -x "$d/$1" ]; then printf %s "$d/$1"; exit; fi; done; exit 1'
LARGEST = 4 * 1024 * 1024  # bytes of a file that is read


@dataclass(frozen=True)
class Sudo:
    """How root's rights are come by. `use` False: the account's own are all there are."""

    use: bool = True
    password: str = ""


class PosixHost(Host):
    def __init__(self, place: str, stage: str, sudo: Sudo, witness: Witness) -> None:
        self.place = place
        self._witness = witness
        self.stage_directory = stage
        self._sudo = sudo
        self._root: bool | None = None
        self._asks: dict[str, bool] = {}  # program -> whether sudo wants the password for it
        self._tools: dict[str, str] = {}
        self._staged = False

    @abstractmethod
    def _run(self, argv: Sequence[str], stdin: bytes, seconds: float, keep: int) -> Ran:
        """Run it as the account, with the environment `PLAIN`. Raises Unreachable."""

    @property
    def is_root(self) -> bool:
        if self._root is None:
            self._root = self._run(["id", "-u"], b"", SECONDS, OUTPUT).text.strip() == "0"
        return self._root

    @property
    def elevates(self) -> bool:
        """Whether sudo stands between us and root's rights."""
        return self._sudo.use and not self.is_root

    @property
    def account(self) -> str:
        return self._run(["id", "-un"], b"", SECONDS, OUTPUT).text.strip()

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
        if not root or not self.elevates:
            ran = self._run(argv, stdin, seconds, keep)
        elif stdin:
            raise ValueError("what runs under sudo is given nothing on its standard input")
        else:
            ran = self._as_root(argv, seconds, keep)
        self._witness(replace(ran, output=b"") if private else ran)
        return ran

    def tool(self, name: str) -> str:
        """The full path of a program. Raises CommandFailed."""
        if name not in self._tools:
            if name.startswith("/"):
                return name
            ran = self._run(["sh", "-c", _LOOK_UP, "sh", name], b"", SECONDS, OUTPUT)
            path = ran.text
            if not ran.ok:
                raise CommandFailed(
                    f"There is no program “{name}” on {self.place}.", ran=ran, advice="Install it, or give its path."
                )
            self._tools[name] = path
        return self._tools[name]

    # Files

    def file_command(self, name: str, *paths: str) -> list[str]:
        """The exact command line, as a sudoers file names it too."""
        return [self.tool(name), *FILE_TOOLS[name], "--", *paths]

    def file(self, path: str, *, root: bool = True) -> FileSeen | None:
        """None where there is none. Raises CommandFailed, also for what is no file."""
        seen = self.run(self.file_command("stat", path), root=root)
        if not seen.ok:
            if "No such file" in seen.errors:
                return None
            raise CommandFailed(f"{path} on {self.place} cannot be looked at: {seen.why}", ran=seen, advice=_RIGHTS)
        kind, size, mode, owner, group = seen.text.strip().split("|")
        if "regular" not in kind:
            raise CommandFailed(f"{path} on {self.place} is a {kind}, not a file.", ran=seen)
        real = self.check(self.file_command("readlink", path), f"{path} cannot be followed", root=root)
        return FileSeen(path, real.text.rstrip("\n"), int(size), mode, owner, group)

    def read(self, path: str, *, root: bool = True, largest: int = LARGEST) -> bytes:
        """Raises CommandFailed, InputError for what is larger."""
        ran = self.check(
            self.file_command("cat", path),
            f"{path} on {self.place} cannot be read",
            advice=_RIGHTS,
            root=root,
            private=True,
            keep=largest + 1,
        )
        if len(ran.output) > largest:
            raise InputError(f"{path} on {self.place} is larger than {largest // 1024} KiB.")
        return ran.output

    def digest(self, path: str, *, root: bool = True) -> str:
        """SHA-256 in hex, "" where there is no such file. Raises CommandFailed."""
        ran = self.run(self.file_command("sha256sum", path), root=root)
        if not ran.ok and "No such file" in ran.errors:
            return ""
        if not ran.ok:
            raise CommandFailed(f"{path} on {self.place} cannot be read: {ran.why}", ran=ran, advice=_RIGHTS)
        return ran.text.removeprefix("\\")[:64]

    def stage(self, name: str, content: bytes) -> str:
        """Put it, readable by this account alone, into the directory for it. Raises CommandFailed."""
        self._stage_ready()
        path = f"{self.stage_directory}/{name}"
        self.check(["dd", f"of={path}", "conv=fsync"], f"{path} cannot be written", stdin=content)
        if self.digest(path, root=False) != sha256(content).hexdigest():
            raise InputError(f"{path} on {self.place} did not arrive as it was sent.", advice="Try again.")
        return path

    def unstage(self, name: str) -> None:
        """Remove it, if it is there; the directory stays, since another endpoint's session may be using it. Raises
        CommandFailed."""
        path = f"{self.stage_directory}/{name}"
        self.check(["rm", "-f", "--", path], f"{path} cannot be removed")

    def _stage_ready(self) -> None:
        """Ours alone: a directory that somebody else has put there, for us to fill, is refused."""
        if self._staged:
            return
        path = self.stage_directory
        made = self._run(["mkdir", "-m", "700", "--", path], b"", SECONDS, OUTPUT)
        if not made.ok and "File exists" not in made.errors:
            raise CommandFailed(f"{path} on {self.place} cannot be made: {made.why}", ran=made)
        seen = self._run(["stat", "-c", "%F|%a|%u", "--", path], b"", SECONDS, OUTPUT)
        own = self._run(["id", "-u"], b"", SECONDS, OUTPUT).text.strip()
        if seen.text.strip() != f"directory|700|{own}":
            raise CommandFailed(
                f"{path} on {self.place} was made by somebody else.",
                ran=seen,
                advice="Remove it there, then try again.",
            )
        self._staged = True

    # Root

    def _as_root(self, argv: Sequence[str], seconds: float, keep: int) -> Ran:
        """Without the password first: what needs none would read it (ENDPOINTS §0)."""
        program = argv[0]
        if not self._asks.get(program):
            ran = self._run(["sudo", "-n", "--", *argv], b"", seconds, keep)
            if not _wants_password(ran):
                return ran
            self._asks[program] = True
        if not self._sudo.password:
            raise LogInRefused(
                f"sudo on {self.place} asks for a password to run {program}.",
                advice="Give the password with the endpoint, or put the lines that its page shows into a sudoers file.",
            )
        secret = self._sudo.password.encode() + b"\n"
        ran = self._run(["sudo", "-k", "-S", "-p", "", "--", *argv], secret, seconds, keep)
        if ran.code == 1 and ("incorrect password" in ran.errors or "no password was provided" in ran.errors):
            self._asks.clear()
            raise LogInRefused(
                f"sudo on {self.place} refuses the password.", advice="Give the right one with the endpoint."
            )
        return ran


_RIGHTS = "Let the account read it, or allow it with the sudoers lines that the endpoint's page shows."


def beside(path: str, mark: str) -> str:
    """A name in the same directory for what is not there yet, or not any more. It begins with a dot, since servers
    read every other file of a directory that they include."""
    place = PurePosixPath(path)
    return str(place.with_name(f".{place.name}.bindery-{mark}"))


def shown(argv: Iterable[str]) -> str:
    return shlex.join(argv)


def _wants_password(ran: Ran) -> bool:
    return ran.code == 1 and "a password is required" in ran.errors
