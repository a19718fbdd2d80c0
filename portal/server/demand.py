"""Names that are visited and have no certificate: told apart in a handshake, asked for in a thread of their own.

A handshake costs one look into a set. What gets past it waits in a short queue, each name at most once a minute and
process; the rest is up to the service, which looks again.
"""

import logging
import queue
import threading
import time
from collections import OrderedDict

from django.db import DatabaseError, InterfaceError, close_old_connections, connection

from certs.domain.on_demand import HostList
from certs.services.on_demand import on_demand_ask

log = logging.getLogger("bindery.on_demand")
EVERY = 60.0  # seconds
WAITING = 64  # names; more are dropped, their next visitor asks again
KEPT = 1024


class Demand:
    def __init__(self) -> None:
        self._hosts = HostList()
        self._queue: queue.Queue[str] = queue.Queue(WAITING)
        self._asked: OrderedDict[str, float] = OrderedDict()  # the longest ago first
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def follow(self, hosts: HostList) -> None:
        """A name that is new on the list may have been visited a moment ago: all may be asked for again."""
        if hosts == self._hosts:
            return
        with self._lock:
            self._asked.clear()
        self._hosts = hosts
        if self._thread is None and hosts:
            self._thread = threading.Thread(target=self._run, name="on-demand", daemon=True)
            self._thread.start()

    def notice(self, server_name: str) -> None:
        """In a handshake, for a name without a certificate: never waits."""
        name = server_name.lower().rstrip(".")
        if not self._hosts.allows(name):
            return
        now = time.monotonic()
        with self._lock:
            if now < self._asked.get(name, now - EVERY) + EVERY or self._queue.full():
                return
            self._asked[name] = now
            self._asked.move_to_end(name)
            if len(self._asked) > KEPT:
                self._asked.popitem(last=False)
            self._queue.put_nowait(name)

    def _run(self) -> None:
        while True:
            self._ask(self._queue.get())

    def _ask(self, name: str) -> None:
        try:
            close_old_connections()
            asked = on_demand_ask(name)
            log.debug("%s: %s", name, asked.text)
        except (DatabaseError, InterfaceError) as error:
            log.error("%s was visited, but the database cannot be used: %s", name, error)
            connection.close()
        except Exception:  # the thread must outlive whatever one name meets; it is logged whole
            log.exception("%s was visited, but asking for it failed", name)
            connection.close()
