"""An ACME server of ours (RFC 8555 over real HTTPS, on a free loopback port) that misbehaves where a test says so.

    with AcmeServer(http_port=responder.port) as ca:
        ca.fault("newOrder", Fault.RATE_LIMITED, retry_after=3, times=2)

It verifies signatures, nonces, addresses and requests for real, asks http-01 at `http_port` for real, and counts what
it was asked. What it can do wrong is the enumeration `Fault`; a test may change its state, too: `orders_lose`,
`accounts_lose`, `authorizations_end`.
"""

import socket
import ssl
import tempfile
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.harness import pki
from tests.harness.acme_ca import PATHS, UNSIGNED, Answer, Authorization, Ca, Challenge, Request
from tests.harness.acme_faults import AFTERWARDS, INSTEAD, OF_ANY_ANSWER, Dated, Fault
from tests.harness.ports import LOOPBACK

__all__ = ["AcmeServer", "Dated", "Fault"]

POLL_HIGH = 60.0  # a Retry-After beside 200 is obeyed up to this many seconds, beside 429 and 503 wholly
TOLERANCE = timedelta(milliseconds=50)


@dataclass
class Planned:
    """A fault as it was set; `used` counts how often it was met."""

    resource: str
    kind: Fault
    times: int | None  # None: for ever
    after: int  # calls of the resource that go well before it
    rate: float  # how likely each call meets it
    options: dict[str, Any]
    used: int = 0


@dataclass(frozen=True)
class Call:
    """One request; `early`: it came before the Retry-After of an earlier answer was over."""

    resource: str
    path: str
    account: str
    at: datetime  # by the server's clock
    early: bool


class AcmeServer(Ca):
    """Use as a context manager; after `stop`, `start` goes on with the same state on the same port.

    `clock` (of `Ca`) is what Retry-After and validity are measured by: give `portal.clock.now` to a test that moves it.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.calls: list[Call] = []
        self.broken: list[str] = []  # faults of this server that nobody asked for
        self._faults: list[Planned] = []
        self._holds: dict[tuple[str, ...], datetime] = {}
        self._over = threading.Event()
        self._directory_root = pki.authority("Misbehaving directory")
        self._leaf = pki.leaf(self._directory_root, ["localhost"])
        self._port = 0

    @property
    def directory_url(self) -> str:
        return f"{self.url}/directory"

    @property
    def ca_bundle_pem(self) -> str:
        """The root of the directory's own HTTPS, not of what it issues."""
        return self._directory_root.pem

    def fault(
        self, resource: str, kind: Fault, *, times: int | None = 1, after: int = 0, rate: float = 1.0, **options: Any
    ) -> Planned:
        """The next `times` calls of the resource ("*": of any) meet it, None for ever, once `after` calls went by."""
        assert resource in {*PATHS.values(), "validation", "*"}, resource
        planned = Planned(resource, kind, times, after, rate, options)
        with self._lock:
            self._faults.append(planned)
        return planned

    def heal(self) -> None:
        with self._lock:
            self._faults.clear()

    def count(self, resource: str) -> int:
        return sum(call.resource == resource for call in self.calls)

    @property
    def early(self) -> list[Call]:
        """The calls that came before a Retry-After was over."""
        return [call for call in self.calls if call.early]

    def start(self) -> Self:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(self._leaf.pem + self._leaf.key_pem)
            file.flush()
            context.load_cert_chain(Path(file.name))
        self._over.clear()
        self._http = _Http((LOOPBACK, self._port), _Handler)
        self._http.ca = self
        self._http.context = context
        self._port = self._http.server_address[1]
        self.url = f"https://localhost:{self._port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def stop(self) -> None:
        self._over.set()
        self._http.shutdown()
        self._http.server_close()
        self._http.hang_up()
        self._thread.join()
        assert not self.broken, "\n".join(self.broken)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Everything between a request and its answer; called by the handler's threads."""
        request = Request(method, path, body)
        resource = PATHS.get(path.split("/")[1], "")
        with self._lock:
            faults = self._met(resource)
            self._note(resource, request)
        instead = next((fault for fault in faults if fault.kind in INSTEAD), None)
        answer = INSTEAD[instead.kind](self, instead.options) if instead else self.carry_out(resource, request)
        with self._lock:
            date = format_datetime(datetime.now(UTC), usegmt=True)
            nonce = {} if resource in UNSIGNED - {"newNonce"} else {"Replay-Nonce": self.nonce()}
            answer.headers = {**nonce, "Date": date, **answer.headers}
            for planned in faults:
                if planned.kind in (OF_ANY_ANSWER if instead else AFTERWARDS):
                    AFTERWARDS[planned.kind](self, answer, planned.options)
            self._hold(request, answer)
        return answer

    def found(self, authorization: Authorization, challenge: Challenge, expected: str) -> Any:
        with self._lock:
            faults = self._met("validation")
        for planned in faults:
            answer = INSTEAD[planned.kind](self, planned.options)
            self.wait(answer.stall)
            if answer.document is not None:
                return answer.document
        return super().found(authorization, challenge, expected)

    def wait(self, seconds: float) -> None:
        """Ended by the end of the server."""
        self._over.wait(seconds)

    def _met(self, resource: str) -> list[Planned]:
        met = []
        for planned in self._faults:
            if not _is_about(planned, resource):
                continue
            if planned.after:
                planned.after -= 1
            elif planned.times != 0 and self._dice.random() < planned.rate:
                planned.times = None if planned.times is None else planned.times - 1
                planned.used += 1
                met.append(planned)
        return met

    def _note(self, resource: str, request: Request) -> None:
        now = self.clock()
        until = self._holds.get(request.subject, now)
        self.calls.append(Call(resource, request.path, request.kid, now, now < until - TOLERANCE))

    def _hold(self, request: Request, answer: Answer) -> None:
        wait = _wait(answer)
        if wait is None or answer.cut or (answer.status == 200 and not _is_at_it(answer.document)):
            return
        if answer.status == 200:
            wait = min(wait, POLL_HIGH)
        self._holds[request.subject] = self.clock() + timedelta(seconds=wait)


def _wait(answer: Answer) -> float | None:
    """What its Retry-After asks for, in seconds; a date is by the clock of its Date, right or wrong."""
    given = answer.headers.get("Retry-After", "")
    if given.isdigit():
        return float(given)
    try:
        moment = parsedate_to_datetime(given)
    except ValueError:
        return None
    now = datetime.now(UTC)
    off = parsedate_to_datetime(answer.headers["Date"]) - now.replace(microsecond=0)
    return (moment - off - now).total_seconds()


def _is_at_it(document: Any) -> bool:
    """Whether the CA works on it: only then a Retry-After is about the next poll."""
    challenges = document.get("challenges", ()) if isinstance(document, dict) else ()
    states = {item.get("status") for item in (document, *challenges) if isinstance(item, dict)}
    return "processing" in states


def _is_about(planned: Planned, resource: str) -> bool:
    if planned.resource == "*":
        signed = resource not in UNSIGNED
        return resource != "validation" and (signed or planned.kind != Fault.BAD_NONCE)
    return planned.resource == resource


class _Http(ThreadingHTTPServer):
    """TLS is begun by each connection's own thread, so that a client that says nothing stops no other."""

    daemon_threads = True
    request_queue_size = 128
    context: ssl.SSLContext
    ca: AcmeServer

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: set[socket.socket] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(30)
        with self.context.wrap_socket(request, server_side=True) as wrapped:
            self._open.add(wrapped)
            try:
                super().finish_request(wrapped, client_address)
            finally:
                self._open.discard(wrapped)

    def hang_up(self) -> None:
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: Any) -> None:
        """A client that went away, and a connection that we cut ourselves."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def do_HEAD(self) -> None:
        self._serve()

    do_GET = do_POST = do_HEAD

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            answer = self.server.ca.answer(self.command, self.path, body)
        except Exception:
            self.server.ca.broken.append(traceback.format_exc())
            raise
        if answer.cut == "whole":
            self.server.ca.wait(answer.stall)
            self._hang_up()
            return
        content = answer.content()
        self.send_response_only(answer.status)
        for name, value in {"Content-Type": answer.type, **answer.headers}.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if answer.cut else content)
        if answer.cut:
            self.wfile.flush()
            self.server.ca.wait(answer.stall)
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()

    def log_message(self, *_: Any) -> None:
        pass
