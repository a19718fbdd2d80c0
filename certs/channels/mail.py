"""Mail by SMTP (RFC 5321), with STARTTLS (RFC 3207) or TLS from the first byte (RFC 8314)."""

import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from ipaddress import ip_address
from typing import Any

from certs.channels.base import Channel, Site, Undelivered
from certs.domain.alarms import Level, Message
from certs.domain.errors import InputError
from certs.domain.options import option
from certs.domain.urls import url_split
from certs.transports.connections import trust_context
from certs.transports.line import Line, Purpose
from certs.transports.outbound_errors import mend, reason

STEP_SECONDS, WHOLE_SECONDS = 15.0, 45.0  # between two answers of the server; for all of it
_PURPOSE = Purpose("mail", "If it is your own mail server, tick “It may be on a private address”.")
_SECURITY = (
    ("starttls", "STARTTLS (usual on port 587)"),
    ("tls", "TLS from the start (usual on port 465)"),
    ("none", "None: everybody on the way can read and change the mail"),
)
_POLICY = SMTP.clone(cte_type="7bit")


@dataclass(frozen=True)
class Options:
    server: str = option("Mail server", help="Host name of the server that takes your mail, without the port.")
    sender: str = option("From", help="The address the mail comes from.")
    to: str = option("To", help="Who gets the mail; several addresses with commas between them.")
    port: int = option("Port", default=587, low=1, high=65535)
    security: str = option("Encryption", default="starttls", choices=_SECURITY)
    user: str = option("User", default="", help="Empty where the server asks for none.")
    password: str = option("Password", default="", secret=True)
    ca_bundle: str = option(
        "Roots to trust", default="", lines=True, help="PEM of your own CA's root, besides the system's; usually empty."
    )


class Mail(Channel):
    """A mail to one or several people, by a mail server of yours."""

    Options = Options
    label = "Mail"

    def __init__(self, options: Any = None, site: Site | None = None) -> None:
        super().__init__(options, site)
        given: Options = self.options
        self._sender, self._to = _addresses(given.sender, "sender"), _addresses(given.to, "to")
        if len(self._sender) != 1:
            raise InputError("A mail has one sender.", advice="Give one address under From.", code="sender")
        if given.user and given.security == "none":
            raise InputError(
                "User and password are not sent without encryption.",
                advice="Choose STARTTLS or TLS, or leave the user empty.",
                code="security",
            )
        if given.user and not given.password:
            raise InputError("The user needs a password.", advice="Give both or none.", code="password")
        self._trust = trust_context(given.ca_bundle)

    def send(self, message: Message) -> str:
        mail = self._mail(message)
        steps = _Conversation(self.options.server)
        with steps.watched(), self._connected(steps, message.portal) as smtp:
            steps.say("From", smtp.mail(str(self._sender[0].addr_spec)))
            refused = [
                said for address in self._to if (said := steps.ask(address.addr_spec, smtp.rcpt(address.addr_spec)))
            ]
            if len(refused) == len(self._to):
                raise steps.refused("none of the addresses was taken", "; ".join(refused))
            answer = steps.say("the mail", smtp.data(mail.as_bytes(policy=_POLICY)))
        return "; ".join([answer, *(f"not taken: {said}" for said in refused)])

    @contextmanager
    def _connected(self, steps: "_Conversation", portal: str) -> Iterator[smtplib.SMTP]:
        given: Options = self.options
        line = Line(_PURPOSE, allow_private=self.site.allow_private, until=time.monotonic() + WHOLE_SECONDS)
        smtp = _Smtp(line, self._trust if given.security == "tls" else None, _own_name(portal))
        steps.smtp = smtp
        try:
            steps.say("the connection", smtp.connect(given.server, given.port), good=(220,))
            if given.security == "starttls":
                smtp.ehlo_or_helo_if_needed()
                if not smtp.has_extn("starttls"):
                    raise steps.refused("it offers no encryption", "", advice="Choose TLS, with its port.")
                steps.say("STARTTLS", smtp.starttls(context=self._trust), good=(220,))
            smtp.ehlo_or_helo_if_needed()
            if given.user:
                steps.say("the log-in", smtp.login(given.user, given.password), good=(235, 503))
            yield smtp
            with suppress(OSError, smtplib.SMTPException):
                smtp.quit()  # the mail is taken already
        finally:
            smtp.close()

    def _mail(self, message: Message) -> EmailMessage:
        sender = self._sender[0]
        mail = EmailMessage(policy=_POLICY)
        mail["From"], mail["To"] = sender, self._to
        mail["Subject"] = " ".join(message.subject.split())
        mail["Date"] = format_datetime(message.at)
        # The same when it is sent again: mailboxes drop the second one.
        mail["Message-ID"] = f"<{message.id}@{sender.domain}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834 §5: no robot shall answer
        mail["X-Auto-Response-Suppress"] = "All"  # the same for Exchange
        if message.level >= Level.URGENT:
            mail["Importance"] = "high"
        mail.set_content(message.text)
        return mail


class _Conversation:
    """What the server said last, and every way in which the talk may end as an Undelivered with it."""

    def __init__(self, server: str) -> None:
        self.smtp: smtplib.SMTP | None = None
        self._server = server
        self._answer = ""
        self._late = False

    def ask(self, what: str, said: tuple[int, bytes]) -> str:
        """ "" where the server agreed, else its answer with what it was about."""
        self._answer = _shown(said)
        return "" if 200 <= said[0] < 300 else f"{what}: {self._answer}"

    def say(self, what: str, said: tuple[int, bytes], good: tuple[int, ...] = ()) -> str:
        self._answer = _shown(said)
        if said[0] in good or (not good and 200 <= said[0] < 300):
            return self._answer
        raise self.refused(f"it refused {what}", self._answer)

    def refused(self, why: str, answer: str, advice: str = "") -> Undelivered:
        told = f" It said: {answer}" if answer else ""
        return Undelivered(f"{self._server} did not take the mail: {why}.{told}", advice=advice, answer=answer)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Cuts the connection when the whole takes too long, however the server spaces its bytes."""
        watch = threading.Timer(WHOLE_SECONDS, self._cut)
        watch.daemon = True
        watch.start()
        try:
            yield
        except Undelivered as error:
            raise (self._named(error) if self._late else error) from None
        except (OSError, ValueError, smtplib.SMTPException) as error:
            raise self._named(error) from error
        finally:
            watch.cancel()

    def _named(self, error: Exception) -> Exception:
        # smtplib says "disconnected" of a server that was only silent.
        if self._late or isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
            return self._lost("did not answer in time")
        if isinstance(error, smtplib.SMTPResponseException):
            log_in = isinstance(error, smtplib.SMTPAuthenticationError)
            answer = _shown((error.smtp_code, error.smtp_error))
            return self.refused("it refused user and password" if log_in else "it refused", answer)
        if isinstance(error, ssl.SSLError):
            return Undelivered(
                f"The certificate of {self._server} is not trusted here, or it speaks no TLS: {reason(error)}.",
                advice="Give the name that its certificate holds; for your own CA, give its root under Roots to trust. "
                f"{mend(error)}".strip(),
            )
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return self.refused("it lacks what is needed", str(error))
        gone = isinstance(error, smtplib.SMTPServerDisconnected)
        return self._lost("closed the connection" if gone else f"cannot be reached: {reason(error)}")

    def _lost(self, why: str) -> Undelivered:
        told = f" It said last: {self._answer}" if self._answer else ""
        return Undelivered(f"{self._server} {why}.{told}", advice="Check server and port.", answer=self._answer)

    def _cut(self) -> None:
        self._late = True
        sock = self.smtp.sock if self.smtp else None
        if sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Smtp(smtplib.SMTP):
    """Connects to an address that `line` has judged; the certificate expected stays that of the name."""

    def __init__(self, line: Line, tls: ssl.SSLContext | None, own_name: str) -> None:
        self._line, self._tls = line, tls
        super().__init__(local_hostname=own_name, timeout=STEP_SECONDS)

    def connect(self, host: str = "localhost", port: int = 0, source_address: Any = None) -> tuple[int, bytes]:
        self._host = host  # what `starttls` verifies
        return super().connect(host, port, source_address)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        failure: OSError = TimeoutError("timed out")
        for family, kind, protocol, address in self._line.addresses(host, port, timeout):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(min(timeout, self._line.left()))
                sock.connect(address)
                sock.settimeout(timeout)
                return self._tls.wrap_socket(sock, server_hostname=host) if self._tls else sock
            except OSError as error:
                failure = error
                sock.close()
        raise failure


def _addresses(text: str, field: str) -> list[Address]:
    """Raises InputError for what is no mail address."""
    found = []
    for part in text.split(","):
        name, spec = parseaddr(part)
        try:
            address = Address(display_name=name, addr_spec=spec)
        except (ValueError, HeaderParseError, IndexError):
            address = Address()
        if not (address.username and address.domain and spec.isascii() and text.isprintable()):
            raise InputError(
                f"“{part.strip()[:100]}” is not a mail address.",
                advice="Write ops@example.com, several with commas between them.",
                code=field,
            )
        found.append(address)
    return found


def _own_name(portal: str) -> str:
    """For EHLO (RFC 5321 §4.1.1.1): the portal's name, or its address as a literal."""
    host = url_split(portal).hostname or "localhost"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return f"[{host}]" if address.version == 4 else f"[IPv6:{host}]"


def _shown(said: tuple[int, bytes | str]) -> str:
    """The server's code and text, on one line."""
    text = said[1].decode("utf-8", "replace") if isinstance(said[1], bytes) else str(said[1])
    return " ".join(f"{said[0]} {text}".split())[:500]
