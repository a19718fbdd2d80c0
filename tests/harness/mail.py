"""A real SMTP server (aiosmtpd) on loopback, with STARTTLS, log-in and the moods that mail servers have."""

import asyncio
import socket
import ssl
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.harness import pki
from tests.harness.ports import LOOPBACK, free_port

NAME = "localhost"
USER, PASSWORD = "bindery", "a secret for the relay"


@dataclass(frozen=True)
class Received:
    sender: str
    to: list[str]
    mail: EmailMessage
    tls: bool
    user: str

    @property
    def text(self) -> str:
        return str(self.mail.get_content())


@dataclass
class Moods:
    """`drop` cuts the connection, `stall` says nothing more, each at "MAIL", "RCPT", "DATA" or "taken" (the mail is
    accepted, but its sender never hears of it); `refuse` are recipients; `answer` is said instead to DATA."""

    refuse: set[str] = field(default_factory=set)
    drop: str = ""
    stall: str = ""
    answer: str = ""


class MailServer:
    """`security` as in the channel's options; with `log_in`, mail without USER and PASSWORD is refused."""

    def __init__(self, *, security: str = "starttls", log_in: bool = False) -> None:
        self.security, self.log_in = security, log_in
        self.port = free_port()
        self.moods = Moods()
        self.received: list[Received] = []
        self.root = pki.authority("A Mail Root")
        self._pair = pki.leaf(self.root, [NAME])
        self._controller: Controller | None = None

    def __enter__(self) -> Self:
        self._controller = Controller(
            self,
            hostname=LOOPBACK,
            port=self.port,
            ssl_context=self._context() if self.security == "tls" else None,
            tls_context=self._context() if self.security == "starttls" else None,
            auth_required=self.log_in,
            auth_require_tls=self.security == "starttls",
            authenticator=self._authenticate,
        )
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._controller is not None
        with suppress(AssertionError):
            self._controller.stop(no_assert=True)

    @property
    def options(self) -> dict[str, Any]:
        """For the channel."""
        given = {"server": NAME, "port": self.port, "security": self.security, "ca_bundle": self.root.pem}
        given |= {"sender": "Bindery <bindery@example.com>", "to": "ops@example.com"}
        return given | ({"user": USER, "password": PASSWORD} if self.log_in else {})

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "pair.pem"
            file.write_text(self._pair.pem + self._pair.key_pem)
            context.load_cert_chain(file)
        return context

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, auth_data=USER) if right else AuthResult(success=False, handled=False)

    # What aiosmtpd asks of its handler.

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if mood := await self._mood("MAIL", server):
            return mood
        envelope.mail_from = address
        return "250 2.1.0 Ok"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if mood := await self._mood("RCPT", server):
            return mood
        if address in self.moods.refuse:
            return "550 5.1.1 Nobody of this name here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if mood := await self._mood("DATA", server):
            return mood
        if self.moods.answer:
            return self.moods.answer
        content = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content).encode()
        mail = message_from_bytes(content, _class=EmailMessage, policy=policy.default)
        user = str(session.auth_data or "") if session.authenticated else ""
        tls = self.security == "tls" or session.ssl is not None
        self.received.append(Received(str(envelope.mail_from), list(envelope.rcpt_tos), mail, tls, user))
        await self._mood("taken", server)
        return "250 2.0.0 Ok: queued as 4F2A"

    async def _mood(self, step: str, server: SMTP) -> str:
        if self.moods.stall == step:
            await asyncio.sleep(30)
        if self.moods.drop == step and server.transport is not None:
            server.transport.abort()
            return "421 4.3.0 Never seen"
        return ""


class Dripping:
    """Not an SMTP server: one that never ends its greeting, a byte at a time."""

    def __enter__(self) -> Self:
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = int(self._listener.getsockname()[1])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        self._listener.settimeout(5)
        with suppress(OSError):
            sock, _ = self._listener.accept()
            with sock:
                while not self._over.is_set():
                    sock.sendall(b"2")
                    time.sleep(0.05)
