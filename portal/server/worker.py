"""The gunicorn worker: HTTP and TLS listeners in one process, and no thread ever waits for a client to go on.

gunicorn's own thread worker pins a thread per unfinished handshake or head, speaks TLS on all listeners or on none,
and builds a context per connection. This subclass keeps its pool, its parser and its way of running a request, and
replaces the way of a connection to a thread and back (connection.py). It touches internals of gunicorn 27.0.1;
tests/portal/server/test_worker_pins.py fails when they move.
"""

import errno
import ssl
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

from django.conf import settings
from gunicorn import http
from gunicorn.workers import gthread

from portal.plainhttp import is_plain_http_path
from portal.server import inherited, redirects
from portal.server.challenging import ChallengeAnswers
from portal.server.connection import LINGER_SECONDS, Connection, Limits, Phase, Wish
from portal.server.framing import BODY_LIMIT
from portal.server.swap import Follower

_SWEEP_SECONDS = 1.0
_ACCEPTS = 4  # at once, then connections that wait have their turn
_HELD_BYTES = 64 * 1024 * 1024  # of all waiting connections together, looked at once a sweep
_REST_SECONDS = 5.0  # for what the application did not read of a body
_REST_PIECE = 256 * 1024
_LANE_SECONDS = 30.0  # a request waits so long for its turn to be read
_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF})
# Linux hands on what already befell the connection that waits, to be treated like EAGAIN (accept(2), "Error handling").
_BEFALLEN = {errno.ENETDOWN, errno.EPROTO, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EOPNOTSUPP}
_AGAIN = frozenset({errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK, errno.ENETUNREACH, errno.EPERM, *_BEFALLEN})
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_WATCH = {Wish.READ: EVENT_READ, Wish.WRITE: EVENT_WRITE}


@dataclass
class Lane:
    """Work for which only `width` threads are taken at a time, so that it can never take them all."""

    width: int
    busy: int = 0
    queue: deque[Connection] = field(default_factory=deque)


class SchemeConfig:
    """gunicorn's configuration as one connection sees it: the parser takes the scheme from `is_ssl`."""

    def __init__(self, cfg: Any, *, is_ssl: bool) -> None:
        self._cfg = cfg
        self.is_ssl = is_ssl

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cfg, name)


class ThreadWorker(gthread.ThreadWorker):  # type: ignore[misc]  # gunicorn has no type information
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        sockets = inherited.read_once()
        self._secure_addresses = inherited.secure_addresses(sockets)
        self._https_port = inherited.https_port(sockets)
        self._secure_cfg = SchemeConfig(self.cfg, is_ssl=True)
        self._plain_cfg = SchemeConfig(self.cfg, is_ssl=False)
        self._limits = Limits(
            hello=settings.HELLO_SECONDS,
            handshake=settings.HANDSHAKE_SECONDS,
            head=settings.HEADER_SECONDS,
            idle=float(self.cfg.keepalive),
        )
        self.waiting: dict[Connection, None] = {}  # for the client, the longest first
        self._bodies = Lane(max(1, self.cfg.threads // 4))  # to be read by a thread that waits for the client
        self._challenges = Lane(max(1, self.cfg.threads // 8))
        self._sweep_at = 0.0
        self.follower = Follower()
        self._answers = ChallengeAnswers()

    # The loop of the main thread.

    def run(self) -> None:
        self.follower.start()
        try:
            self._serve()
        finally:
            self.follower.stop()

    def _serve(self) -> None:
        self.poller.register(self.method_queue.fileno(), EVENT_READ, self.method_queue.run_callbacks)
        self.set_accept_enabled(True)
        while self.alive:
            self.notify()
            self.set_accept_enabled(self.nr_conns < self.worker_connections or self._shed())
            self.wait_for_and_dispatch_events(timeout=_SWEEP_SECONDS)
            if not self.is_parent_alive():
                break
            self._sweep()
        self._drain()
        self.tpool.shutdown(wait=False)
        self.poller.close()
        self.method_queue.close()
        for listener in self.sockets:
            listener.close()

    def _drain(self) -> None:
        """End without dropping a request: what has begun is answered, what is on its way has LINGER_SECONDS to come."""
        self.alive = False
        self.set_accept_enabled(False)
        now = time.monotonic()
        for conn in self.waiting:
            self._cap(conn, now)
        while self.nr_conns > 0 and time.monotonic() < now + self.cfg.graceful_timeout:
            self.notify()
            self.wait_for_and_dispatch_events(timeout=0.1)
            self._sweep(force=True)

    def _cap(self, conn: Connection, now: float) -> None:
        """In a worker that stops, a connection without a request waits no longer than LINGER_SECONDS."""
        if conn.is_idle:
            conn.cap(now + LINGER_SECONDS)

    def _sweep(self, *, force: bool = False) -> None:
        """Close what is over its time: one pass over the waiting connections a second (1,000 take 0.1 ms)."""
        now = time.monotonic()
        if now < self._sweep_at and not force:
            return
        self._sweep_at = now + _SWEEP_SECONDS
        overdue = [conn for conn in self.waiting if conn.deadline <= now]
        self._shed_bytes()
        for conn in overdue:
            if conn not in self.waiting:
                continue
            # A request that came at the last moment is served: closing would drop it.
            if conn.phase is Phase.REQUEST and conn.is_idle and conn.has_input():
                continue
            if conn.is_late:
                conn.reproach()
            self._drop(conn)

    def _shed_bytes(self) -> None:
        """What waiting clients have sent and not yet read must not fill the memory: the largest go first."""
        held = sum(conn.held_bytes for conn in self.waiting)
        if held <= _HELD_BYTES:
            return
        for conn in sorted(self.waiting, key=lambda conn: conn.held_bytes, reverse=True):
            held -= conn.held_bytes
            self._drop(conn)
            if held <= _HELD_BYTES:
                return

    # From the listener to a thread and back; all on the main thread.

    def accept(self, listener: Any) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, client = listener.accept()
            except OSError as error:
                if error.errno in _NO_DESCRIPTORS and self._shed():
                    continue
                if error.errno not in _AGAIN | _NO_DESCRIPTORS:
                    raise
                return
            sock.setblocking(False)
            server = listener.getsockname()
            conn = Connection(
                sock, client, server, secure_listener=server in self._secure_addresses, limits=self._limits
            )
            self.nr_conns += 1
            self._proceed(conn, conn.advance())
            if self.nr_conns >= self.worker_connections:
                return

    def _ready(self, conn: Connection, _fileobj: Any) -> None:
        if conn not in self.waiting:  # it was closed after the poller had reported it
            return
        try:
            self._proceed(conn, conn.advance())
        except Exception:  # a fault in the handling of one connection must not end all the others; it is logged whole
            self.log.exception("A connection could not be handled.")
            self._drop(conn)

    def finish_request(self, conn: Connection, fs: "Future[Wish]") -> None:
        """A pool thread is done with `conn` (called through gunicorn's method queue)."""
        if conn.lane is not None:
            lane, conn.lane = conn.lane, None
            lane.busy -= 1
            self._next_in(lane)
        if fs.cancelled():
            self._drop(conn)
            return
        error = fs.exception()
        if error is not None:
            self.log.error("A connection could not be handled.", exc_info=error)
        self._proceed(conn, Wish.CLOSE if error else fs.result())

    def _proceed(self, conn: Connection, wish: Wish) -> None:
        if wish in _WATCH:
            self._watch(conn, _WATCH[wish])
            return
        if wish is Wish.CLOSE:
            self._drop(conn)
            return
        self._unwatch(conn)
        if wish is Wish.WORK:
            self.enqueue_req(conn)
            return
        self.waiting[conn] = None
        if wish is Wish.STREAM:
            conn.deadline = time.monotonic() + _LANE_SECONDS
        lane = self._challenges if wish is Wish.CHALLENGE else self._bodies
        lane.queue.append(conn)
        self._next_in(lane)

    def _next_in(self, lane: "Lane") -> None:
        while lane.queue and lane.busy < lane.width:
            conn = lane.queue.popleft()
            if conn not in self.waiting:
                continue
            del self.waiting[conn]
            conn.lane = lane
            lane.busy += 1
            self.enqueue_req(conn)

    def _watch(self, conn: Connection, events: int) -> None:
        if conn not in self.waiting:
            self.waiting[conn] = None
            if not self.alive:
                self._cap(conn, time.monotonic())
        if conn.events == events:
            return
        if conn.events:
            self.poller.modify(conn.fd, events, partial(self._ready, conn))
        else:
            self.poller.register(conn.fd, events, partial(self._ready, conn))
        conn.events = events

    def _unwatch(self, conn: Connection) -> None:
        self.waiting.pop(conn, None)
        if conn.events:
            conn.events = 0
            self.poller.unregister(conn.fd)

    def _drop(self, conn: Connection) -> None:
        self._unwatch(conn)
        conn.sock.close()
        self.nr_conns -= 1

    def _shed(self) -> bool:
        """Make room at the limit of connections: the one that has said nothing for the longest time goes."""
        victim = next((conn for conn in self.waiting if conn.is_idle), None)
        if victim is None:
            return False
        self._drop(victim)
        return True

    # In a pool thread.

    def handle(self, conn: Connection) -> Wish:
        if conn.phase is Phase.HANDSHAKE:
            wish = conn.handshake(self.follower.context) if conn.challenge is None else self._prove(conn)
            if wish is not Wish.WORK:
                return wish
        conn.sock.begin()
        keep = self._answer(conn)
        if conn.sock.closed:
            return Wish.CLOSE
        return conn.finish(keep=keep, unread=conn.parser.unreader.take_buffered() if keep else b"")

    def _prove(self, conn: Connection) -> Wish:
        """Show a CA what it wants to see, on its own connection only; without an answer it is told so."""
        if conn.is_tls:
            return conn.handshake(None)
        context = self._answers.context(conn.challenge or "")
        return conn.refuse_protocol() if context is None else conn.handshake(context)

    def _answer(self, conn: Connection) -> bool:
        """Answer one request; whether the connection may be kept. What ends it is told apart as gunicorn does."""
        data, framing, continued = conn.take_request()
        if framing is None or framing.is_too_large:
            self._refuse(conn, head=framing is None)
            return False
        if conn.parser is None:
            cfg = self._secure_cfg if conn.is_tls else self._plain_cfg
            conn.parser = http.get_parser(cfg, conn.sock, conn.client)
        conn.parser.unreader.unread(data)
        req = None
        try:
            req = next(conn.parser)
            if continued:
                req._expected_100_continue = False
            if conn.is_tls != conn.secure_listener and not (conn.secure_listener and is_plain_http_path(req.path)):
                answer = redirects.wrong_protocol(req, on_tls_port=conn.secure_listener, https_port=self._https_port)
                conn.sock.sendall(answer)
                return False
            return self.handle_request(req, conn) and self._is_read(conn)
        except (http.errors.NoMoreData, StopIteration) as error:
            self.log.debug("Closing connection. %s", error)
        except (TimeoutError, ssl.SSLError) as error:
            self.log.debug("The client stopped in the middle: %s", error)
            conn.sock.outbox.clear()
        except OSError as error:
            conn.sock.outbox.clear()
            if error.errno not in _GONE:
                self.log.exception("Socket error processing request.")
        except Exception as error:  # whatever the application raises becomes an answer
            self.handle_error(req, conn.sock, conn.client, error)
        return False

    def _is_read(self, conn: Connection) -> bool:
        """Whether the next request can begin: read what the application has left of the body, as far as it comes soon.

        gunicorn gives up at 64 KiB, and closes behind an answer that has promised to keep the connection: a client that
        sends its next request at that moment would find it gone (a refused upload, and the click after it).
        """
        body, left = conn.parser.mesg.body, BODY_LIMIT
        conn.sock.deadline = min(conn.sock.deadline, time.monotonic() + _REST_SECONDS)
        try:
            while left > 0 and (data := body.read(_REST_PIECE)):
                left -= len(data)
        except Exception as error:  # it is answered already; that the rest makes no sense only ends the connection
            self.log.debug("Closing connection. %s", error)
            return False
        return left > 0

    def _refuse(self, conn: Connection, *, head: bool) -> None:
        if head:
            status, text = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The head of this request is too large."
        else:
            status, text = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body of this request is too large."
        with suppress(OSError):
            conn.sock.sendall(redirects.answer(status, text))
