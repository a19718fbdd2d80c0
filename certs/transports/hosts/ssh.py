"""A machine with POSIX commands, by SSH.

asyncssh runs in one event loop of its own, in a thread; a session is used from ordinary threads, each step with an end
to its time. Nothing of the account that runs the portal takes part: no agent, no configuration, no known_hosts file.
"""

import asyncio
import tempfile
import threading
from collections.abc import Awaitable, Iterator, Sequence
from concurrent.futures import TimeoutError as TimeUp
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from socket import AF_UNIX, socket
from time import monotonic
from typing import TypeVar

import asyncssh

from certs.domain.addresses import address_shown
from certs.domain.errors import InputError
from certs.domain.options import option
from certs.transports.hosts.base import (
    Connection,
    Identity,
    IdentityChanged,
    IdentityUnknown,
    LogInRefused,
    Ran,
    Unreachable,
    Witness,
    unseen,
)
from certs.transports.hosts.posix import PLAIN, PosixHost, Sudo, shown

asyncssh.set_log_level("WARNING")  # it tells of each connection, with the name of the account
T = TypeVar("T")
CONNECT_SECONDS = 10.0
LOG_IN_SECONDS = 20.0
_GRACE = 2.0  # for the loop to say itself that the time is up


@dataclass(frozen=True)
class Options:
    host: str = option("Host", longest=255, help="Name or address.")
    user: str = option("User", longest=255, help="The account there; it need not be root.")
    port: int = option("Port", default=22, low=1, high=65535)
    password: str = option(
        "Password", default="", secret=True, verbatim=True, help="For the log-in without a key, and for sudo."
    )
    ssh_key_path: str = option(
        "Path of the SSH key", default="", longest=4096, help="A file on the machine of the portal."
    )
    ssh_key: str = option("SSH key", default="", secret=True, lines=True, help="Its content, instead of a path.")
    ssh_key_password: str = option("Password of the SSH key", default="", secret=True, verbatim=True)
    sudo: bool = option("Use sudo", default=True, help="For what the account may not do itself.")


class Ssh(Connection):
    """The server runs on another machine, where an account can log in by SSH."""

    Options = Options
    label = "SSH"

    @property
    def place(self) -> str:
        return address_shown(self.options.host, self.options.port)

    def identity(self) -> Identity:
        with _said(self.place):
            shown = asyncssh.get_server_host_key(self.options.host, self.options.port, config=[])
            key = _wait(asyncio.wait_for(shown, CONNECT_SECONDS), CONNECT_SECONDS)
        if key is None:
            raise Unreachable(f"{self.place} shows no host key.")
        return _identity(key)

    @contextmanager
    def open(self, pin: str, witness: Witness = unseen) -> Iterator["SshHost"]:
        if not pin:
            shows = self.identity()
            raise IdentityUnknown(
                f"Nobody has approved the host key of {self.place} yet.",
                identity=shows,
                advice=f"Compare {shows.fingerprint} with the machine's own, then approve it.",
            )
        connection = self._connect(pin)
        try:
            sudo = Sudo(self.options.sudo, self.options.password)
            yield SshHost(self.place, sudo, connection, witness)
        finally:
            connection.close()
            with suppress(OSError, TimeUp, asyncssh.Error):
                _wait(connection.wait_closed(), _GRACE)

    def _connect(self, pin: str) -> asyncssh.SSHClientConnection:
        known = asyncssh.import_known_hosts(f"{_known_name(self.options.host, self.options.port)} {pin}")
        how = asyncssh.connect(
            self.options.host,
            self.options.port,
            username=self.options.user,
            password=self.options.password or None,
            client_keys=self._keys(),
            known_hosts=known,
            config=[],
            agent_path=None,
            gss_host=None,
            connect_timeout=CONNECT_SECONDS,
            login_timeout=LOG_IN_SECONDS,
            keepalive_interval=15,
        )
        try:
            with _said(self.place):
                return _wait(how, CONNECT_SECONDS + LOG_IN_SECONDS)
        except asyncssh.HostKeyNotVerifiable:
            shows = self.identity()
            raise IdentityChanged(
                f"The host key of {self.place} is another one than was approved. Nothing was sent.",
                identity=shows,
                advice=f"It shows {shows.fingerprint} now. Find out why before you approve it.",
            ) from None

    def _keys(self) -> list[asyncssh.SSHKey]:
        """Raises InputError."""
        passphrase = self.options.ssh_key_password or None
        try:
            if self.options.ssh_key:
                return [asyncssh.import_private_key(self.options.ssh_key, passphrase)]
            if self.options.ssh_key_path:
                return [asyncssh.read_private_key(self.options.ssh_key_path, passphrase)]
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
            if "assphrase" not in str(error):
                said = "The SSH key cannot be read: it is not a private key."
            else:
                said = (
                    f"The SSH key is encrypted, and its password {'does not open it' if passphrase else 'is missing'}."
                )
            raise InputError(said, code="ssh-key") from None
        except OSError as error:
            raise InputError(
                f"The SSH key {self.options.ssh_key_path} cannot be read: {error.strerror}.",
                advice="It is read as the account that runs the portal.",
                code="ssh-key",
            ) from None
        return []


class SshHost(PosixHost):
    def __init__(self, place: str, sudo: Sudo, connection: asyncssh.SSHClientConnection, witness: Witness) -> None:
        account = connection.get_extra_info("username")
        super().__init__(place, f"/var/tmp/bindery-{account}", sudo, witness)  # noqa: S108 - ours alone, or refused
        self._connection = connection

    def _run(self, argv: Sequence[str], stdin: bytes, seconds: float, keep: int) -> Ran:
        began = monotonic()
        # What the server sets for the account is a matter of its own files; a server need not accept ours.
        command = shown(["env", *(f"{name}={value}" for name, value in PLAIN.items()), *argv])
        with _said(self.place):
            code, output, errors = _wait(_execute(self._connection, command, stdin, seconds, keep), seconds + _GRACE)
        return Ran(shown(argv), code, output, errors.decode("utf-8", "replace"), monotonic() - began)

    @contextmanager
    def reach(self, host: str, port: int, *, seconds: float) -> Iterator[socket]:
        """Through the session, by a socket in a directory that only we can enter."""
        with tempfile.TemporaryDirectory(prefix="bindery-") as directory:
            path = Path(directory, "s")
            forward = self._connection.forward_local_path_to_port(str(path), host, port)
            try:
                listener = _wait(forward, seconds)
            except (TimeUp, asyncssh.Error) as error:
                raise OSError(f"no way through the session: {error}") from None
            try:
                with _unix_socket(path, seconds) as raw:
                    yield raw
            finally:
                listener.close()


async def _execute(
    connection: asyncssh.SSHClientConnection, command: str, stdin: bytes, seconds: float, keep: int
) -> tuple[int | None, bytes, bytes]:
    """Both streams are read to their end, since a program that cannot write waits; `keep` bytes of each are kept."""
    async with asyncio.timeout(seconds + 1):
        process = await connection.create_process(command, encoding=None)
        try:
            async with asyncio.timeout(seconds):
                _, output, errors = await asyncio.gather(
                    _feed(process, stdin), _kept(process.stdout, keep), _kept(process.stderr, keep)
                )
                await process.wait_closed()
        except TimeoutError:
            process.close()
            return None, b"", b""
    code = process.exit_status
    return (-1 if code is None else code), output, errors


async def _feed(process: asyncssh.SSHClientProcess[bytes], data: bytes) -> None:
    with suppress(OSError, asyncssh.Error):
        if data:
            process.stdin.write(data)
            await process.stdin.drain()
        process.stdin.write_eof()


async def _kept(stream: asyncssh.SSHReader[bytes], keep: int) -> bytes:
    found = bytearray()
    while piece := await stream.read(32 * 1024):
        found += piece[: max(0, keep - len(found))]
    return bytes(found)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """One for all sessions of this process; begun when it is first needed, which is after any fork."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True, name="ssh").start()
    return loop


def _wait(what: Awaitable[T], seconds: float) -> T:
    async def run() -> T:
        found: T = await what
        return found

    return asyncio.run_coroutine_threadsafe(run(), _loop()).result(seconds + _GRACE)


@contextmanager
def _said(place: str) -> Iterator[None]:
    """What asyncssh raises, in our words."""
    try:
        yield
    except asyncssh.PermissionDenied:
        raise LogInRefused(
            f"{place} lets nobody in with this user, key or password.", advice="Check all three, and the account there."
        ) from None
    except asyncssh.HostKeyNotVerifiable:
        raise
    except (asyncssh.Error, OSError, TimeoutError, TimeUp) as error:
        reason = getattr(error, "reason", "") or getattr(error, "strerror", None) or str(error) or "no answer in time"
        raise Unreachable(
            f"{place} cannot be reached by SSH: {reason}.", advice="Check the address and port."
        ) from None


def _identity(key: asyncssh.SSHKey) -> Identity:
    line = key.export_public_key().decode().strip()
    algorithm, encoded = line.split()[:2]
    return Identity(algorithm, f"{algorithm} {encoded}", key.get_fingerprint())


def _known_name(host: str, port: int) -> str:
    return host if port == 22 else f"[{host}]:{port}"


@contextmanager
def _unix_socket(path: Path, seconds: float) -> Iterator[socket]:
    """A connection to a socket in the file system. Raises OSError."""
    with socket(AF_UNIX) as raw:
        raw.settimeout(seconds)
        raw.connect(str(path))
        yield raw
