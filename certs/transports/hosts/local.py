"""This machine. The portal is not root: what needs root goes through sudo."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from socket import create_connection, socket
from time import monotonic

from certs.domain.options import option
from certs.transports.hosts.base import Connection, Identity, Ran, Unreachable, Witness, unseen
from certs.transports.hosts.posix import PLAIN, PosixHost, Sudo, shown
from certs.transports.local import machine_name, run


@dataclass(frozen=True)
class Options:
    sudo: bool = option("Use sudo", default=True, help="For what the portal's own account may not do.")
    password: str = option(
        "Password for sudo", default="", secret=True, verbatim=True, help="Empty where sudo asks for none."
    )


class Local(Connection):
    """The server runs on the same machine as the portal."""

    Options = Options
    label = "This machine"

    @property
    def place(self) -> str:
        return machine_name()

    def identity(self) -> Identity | None:
        return None

    @contextmanager
    def open(self, pin: str, witness: Witness = unseen) -> Iterator[PosixHost]:
        yield LocalHost("this machine", Sudo(self.options.sudo, self.options.password), witness)


class LocalHost(PosixHost):
    def __init__(self, place: str, sudo: Sudo, witness: Witness) -> None:
        super().__init__(place, "/var/tmp/bindery-local", sudo, witness)  # noqa: S108 - ours alone, or refused

    def _run(self, argv: Sequence[str], stdin: bytes, seconds: float, keep: int) -> Ran:
        began = monotonic()
        try:
            ran = run(argv, env=PLAIN, seconds=seconds, stdin=stdin, keep=keep)
        except OSError as error:
            if error.filename is None:
                raise Unreachable(f"{argv[0]} cannot be started here: {error.strerror}.") from None
            return Ran(shown(argv), 127, b"", f"{argv[0]}: {error.strerror}", monotonic() - began)
        return Ran(shown(argv), ran.code, ran.output, ran.stderr, monotonic() - began)

    @contextmanager
    def reach(self, host: str, port: int, *, seconds: float) -> Iterator[socket]:
        with create_connection((host, port), timeout=seconds) as raw:
            yield raw
