"""`manage.py up`: owns the sockets, keeps web server and queue alive, recovers what was left half done.

One thread, one loop. What needs the database is a duty with a period; a database that is away for a while costs
nothing but those duties, while the children go on serving.
"""

import ctypes
import gc
import json
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType

import psutil
from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connection

from certs.schedule import schedules_ensure
from certs.services.addresses import public_url_given
from certs.services.bulk import bulk_requeue_lapsed
from certs.services.export import export_given
from certs.services.front import front_given
from certs.services.identity import identity_settle
from certs.services.installations import installations_requeue_lapsed
from certs.services.listeners import (
    LIVE_SECONDS,
    addresses_here,
    listener_get,
    listeners_ensure,
    listeners_leave,
    processes_prune,
)
from certs.services.migrations import schema_ensure
from certs.services.node_diagnoses import nodes_may_be_several
from certs.services.on_demand import on_demand_given
from certs.services.orders import orders_requeue_lapsed
from certs.services.own_certificate import own_certificate_scan
from certs.services.proofs import proofs_are_needed
from certs.services.queue import queue_enqueue, queue_stalled
from certs.services.rebinds import rebinds_close_interrupted
from certs.services.serving import placeholder_ensure
from portal import home
from portal.server.alarming import Alarming
from portal.server.children import Child, children_stop, reap_orphans
from portal.server.diagnosing import Diagnosing
from portal.server.exporting import Exporting
from portal.server.lock import SupervisorLock
from portal.server.proving import Proving
from portal.server.rebinding import Rebinder, Serving
from portal.server.sockets import BoundSocket, sockets_close, sockets_open

log = logging.getLogger("bindery.supervisor")

ROLES = ("all", "web", "worker")
_PR_SET_CHILD_SUBREAPER = 36
_LOOP_SECONDS = 0.2
_READY_SECONDS = 30.0
_WEB_GRACE = 40.0  # longer than gunicorn's own graceful_timeout
_QUEUE_GRACE = 15.0
_STALLED_GRACE = 3.0  # a stalled cluster seldom hears TERM
_COLLECTIONS = (700, 10, 10)  # as CPython begins; manage.py has others for the start


@dataclass
class Duty:
    """Something to do every `period` seconds, first after one period."""

    name: str
    period: float
    act: Callable[[], object]
    due: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.due += self.period


class Supervisor:
    """`announce` is called once, when the portal answers; `before_children` between opening sockets and starting;
    `tell` hears what a person should know before that: of a snapshot and the way back to it."""

    def __init__(
        self,
        role: str,
        *,
        announce: Callable[[], None],
        before_children: Callable[[], None] = lambda: None,
        tell: Callable[[str], object] = log.info,
    ) -> None:
        self._role = role
        self._announce = announce
        self._before_children = before_children
        self._tell = tell
        self._lock = SupervisorLock(home.lock_file())
        self._serving: Serving | None = None
        self._rebinder: Rebinder | None = None
        self._queue: Child | None = None
        self._duties: list[Duty] = []
        self._troubles: dict[str, str] = {}
        self._wake = threading.Event()
        self._signals = 0
        self._readiness: _Readiness | None = None

    def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises BinderyError for whatever prevents the start."""
        self._lock.acquire()
        try:
            self._prepare()
            self._become_supervisor()
            self._start()
            while not self._signals:
                self._turn()
                self._wake.wait(_LOOP_SECONDS)
        finally:
            self._end()

    @property
    def _serves(self) -> bool:
        return self._role in {"all", "web"}

    @property
    def _works(self) -> bool:
        return self._role in {"all", "worker"}

    @property
    def _children(self) -> list[Child]:
        serving = [self._serving.web] if self._serving else []
        leaving = self._rebinder.children if self._rebinder else []
        return [*serving, *leaving, *([self._queue] if self._queue else [])]

    def _prepare(self) -> None:
        """Everything that may refuse, before anything is started."""
        public_url_given(settings.PUBLIC_URL)
        schema_ensure(self._tell)
        if why := identity_settle():
            self._tell(f"{why} It serves, and orders nothing: say which portal goes on, by `manage.py take_over`.")
        schedules_ensure()
        on_demand_given()
        front_given()
        export_given()
        if not self._serves:
            self._leave()
            return
        listeners_ensure()
        rebinds_close_interrupted()
        processes_prune([])
        placeholder_ensure()
        http = sockets_open(settings.HTTP_ADDRESSES, settings.HTTP_PORT, "http")
        try:
            listener = listener_get("https")
            https = sockets_open(listener.addresses, listener.port, "https")
        except Exception:  # whatever it was: nothing may stay half open
            sockets_close(http)
            raise
        self._serving = Serving(http, https, self._make_web([*http, *https]))

    def _leave(self) -> None:
        """Of a node that served once and only works now."""
        if listeners_leave():
            rebinds_close_interrupted()

    def _become_supervisor(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, self._on_signal)
        if sys.platform.startswith("linux"):
            # What a killed child leaves behind comes to us and is buried here, as for the first process of a container.
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def _start(self) -> None:
        self._before_children()
        if self._serves:
            self._safely("import", lambda: own_certificate_scan(home.path()))
        # What is loaded by now stays shared with the children: the collector no longer writes to it.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_COLLECTIONS)
        if self._serving:
            self._serving.web.start()
            self._rebinder = Rebinder(self._serving, self._make_web)
            self._readiness = _Readiness(self._serving.http)
        if self._works:
            self._queue = Child("queue", "portal.server.cluster", grace=_QUEUE_GRACE)
            self._queue.start()
            # A sweep that was missed while the portal was down is caught up now.
            self._safely("tick", lambda: queue_enqueue("certs.tasks.tick"))
        self._duties = self._duty_table()

    def _duty_table(self) -> list[Duty]:
        table = [
            Duty("orphans", 1.0, lambda: reap_orphans(self._children)),
            Duty("alarms", settings.ALARM_WATCH_SECONDS, Alarming().step),
            Duty("export", settings.EXPORT_WATCH_SECONDS, Exporting().step),
        ]
        if self._rebinder:
            table += [
                Duty("rebind", 0.5, self._rebinder.step),
                Duty("processes", 5.0, self._prune_processes),
                Duty("import", settings.IMPORT_SCAN_SECONDS, lambda: own_certificate_scan(home.path())),
            ]
        if not self._serves:  # what was killed counts as serving until it has been silent for a while
            table.append(Duty("leave", LIVE_SECONDS, self._leave))
        if self._rebinder and proofs_are_needed():
            table.append(Duty("proofs", settings.PROOF_WATCH_SECONDS, Proving().step))
        if nodes_may_be_several():
            table.append(Duty("diagnosis", settings.DIAGNOSIS_WATCH_SECONDS, Diagnosing(self._role).step))
        if self._works:
            table += [
                Duty("recovery", settings.RECOVERY_SECONDS, orders_requeue_lapsed),
                Duty("installations", settings.RECOVERY_SECONDS, installations_requeue_lapsed),
                Duty("jobs", settings.RECOVERY_SECONDS, bulk_requeue_lapsed),
                Duty("watchdog", max(1.0, settings.WATCHDOG_SECONDS / 12), self._watch_queue),
            ]
        return table

    def _turn(self) -> None:
        for child in self._children:
            child.tend()
        if self._readiness is None or self._readiness.reached():
            self._announce_once()
        close_old_connections()
        for duty in self._duties:
            if self._signals:
                return
            if time.monotonic() >= duty.due:
                self._safely(duty.name, duty.act)
                duty.due = time.monotonic() + duty.period

    def _announce_once(self) -> None:
        announce, self._announce, self._readiness = self._announce, lambda: None, None
        self._safely("announcement", announce)

    def _safely(self, name: str, act: Callable[[], object]) -> None:
        """A duty that fails is logged when its trouble changes, and tried again: the portal must go on serving."""
        try:
            act()
        except (DatabaseError, InterfaceError) as error:
            connection.close()
            self._trouble(name, f"the database cannot be used: {str(error).strip()}")
        except Exception as error:  # one duty's fault must not end the others, nor the portal
            self._trouble(name, f"{type(error).__name__}: {error}", exception=error)
        else:
            if self._troubles.pop(name, None):
                log.info("%s works again", name)

    def _trouble(self, name: str, text: str, exception: Exception | None = None) -> None:
        if self._troubles.get(name) != text:
            log.error("%s failed: %s", name, text, exc_info=exception)
        self._troubles[name] = text

    def _watch_queue(self) -> None:
        if self._queue and self._queue.running and queue_stalled():
            log.error("the queue makes no progress; it is started anew")
            self._queue.restart(_STALLED_GRACE)

    def _prune_processes(self) -> None:
        arbiters = [child.pid for child in self._children if child.pid and child is not self._queue]
        living: list[int] = []
        for pid in arbiters:
            try:
                living += [process.pid for process in psutil.Process(pid).children()]
            except psutil.NoSuchProcess:
                continue
        processes_prune(living)

    def _make_web(self, sockets: Sequence[BoundSocket]) -> Child:
        described = [{"fd": bound.fd, "protocol": bound.protocol} for bound in sockets]
        return Child(
            "web",
            "gunicorn",
            ["-c", "python:portal.server.gunicorn_conf", "portal.wsgi:application"],
            env={"BINDERY_SOCKETS": json.dumps(described)},
            fds=[bound.fd for bound in sockets],
            grace=_WEB_GRACE,
        )

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self._wake.set()

    def _end(self) -> None:
        """Children first, gracefully; a second signal ends the waiting."""
        first = self._signals
        children_stop(self._children, hurry=lambda: self._signals > max(first, 1))
        if self._serving:
            leaving = self._rebinder.sockets if self._rebinder else []
            sockets_close([*self._serving.http, *self._serving.https, *leaving])
            self._safely("processes", lambda: processes_prune([]))
        reap_orphans([])
        connection.close()
        self._lock.release()


class _Readiness:
    """One request for /healthz that waits in the socket's queue until a process answers it; never blocks."""

    def __init__(self, listening: Sequence[BoundSocket]) -> None:
        self._deadline = time.monotonic() + _READY_SECONDS
        self._place = (addresses_here([bound.address for bound in listening]), listening[0].port)
        self._connection: socket.socket | None = None

    def reached(self) -> bool:
        """Also when it took too long: what there is to say must be said."""
        if time.monotonic() > self._deadline:
            return True
        try:
            if self._connection is None:
                self._connection = socket.create_connection(self._place, 1)
                self._connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                self._connection.setblocking(False)
            answered = bool(self._connection.recv(1))
        except BlockingIOError:
            return False
        except OSError:
            self._connection = None
            return False
        self._connection.close()
        self._connection = None
        return answered
