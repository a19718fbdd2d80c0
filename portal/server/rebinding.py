"""Carrying out a wish for another address or port: open, prove, wait for the person, settle or return.

The old arbiter keeps serving until the new binding is confirmed; both share the sockets for plain HTTP. What is given
up is drained first: a connection in the accept queue of a closing socket would be reset.
"""

import logging
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil
from django.conf import settings

from certs.domain import states
from certs.domain.addresses import address_covers, address_is_any, address_shown
from certs.domain.errors import BinderyError
from certs.models import NodeProcess, Rebind
from certs.services.listeners import address_here, addresses_here
from certs.services.nodes import node_name
from certs.services.rebinds import rebind_is_late, rebind_judge, rebind_move, rebind_open
from portal.server.children import Child
from portal.server.sockets import BoundSocket, sockets_close, sockets_drain, sockets_open

log = logging.getLogger("bindery.supervisor")

OPENING_SECONDS = 30.0  # for the new arbiter to answer
HANDSHAKE_SECONDS = 3.0


@dataclass
class Serving:
    """What serves now. The supervisor starts `web` and tends it; a settled rebind puts another one in its place."""

    http: list[BoundSocket]
    https: list[BoundSocket]
    web: Child


@dataclass
class Leaving:
    """An arbiter on its way out, and the sockets that go with it."""

    child: Child
    sockets: list[BoundSocket]
    then: Callable[[], None] | None = None


@dataclass
class _Attempt:
    rebind: Rebind
    opened: list[BoundSocket]
    https: list[BoundSocket]
    web: Child
    started: float = field(default_factory=time.monotonic)


class Rebinder:
    """One step at a time, called by the supervisor's loop about twice a second."""

    def __init__(self, serving: Serving, make_web: Callable[[Sequence[BoundSocket]], Child]) -> None:
        self._serving = serving
        self._make_web = make_web
        self._attempt: _Attempt | None = None
        self._leaving: Leaving | None = None

    @property
    def children(self) -> list[Child]:
        """Arbiters besides the serving one."""
        return [part.web if isinstance(part, _Attempt) else part.child for part in self._parts()]

    @property
    def sockets(self) -> list[BoundSocket]:
        return (self._attempt.opened if self._attempt else []) + (self._leaving.sockets if self._leaving else [])

    def step(self) -> None:
        if self._leaving is not None:
            self._see_off(self._leaving)
        elif self._attempt is None:
            self._look_for_wish()
        else:
            self._go_on(self._attempt)

    def _parts(self) -> "list[_Attempt | Leaving]":
        return [part for part in (self._attempt, self._leaving) if part is not None]

    def _look_for_wish(self) -> None:
        rebind = rebind_open(node_name())
        if rebind is None or rebind.state != states.WISHED or not rebind_move(rebind, states.OPENING):
            return
        try:
            rebind_judge(rebind)
            self._attempt = self._open(rebind)
        except (BinderyError, OSError) as error:
            rebind_move(rebind, states.REFUSED, str(error))

    def _open(self, rebind: Rebind) -> _Attempt:
        current = {bound.key: bound for bound in self._serving.https}
        wanted = [(address, rebind.port) for address in rebind.addresses]
        kept = [current[key] for key in wanted if key in current]
        opened = sockets_open(
            [address for address, port in wanted if (address, port) not in current],
            rebind.port,
            "https",
            ours=self._serving.https,
        ) if len(kept) < len(wanted) else []  # fmt: skip
        # A specific address keeps its socket where the new wildcard covers it: nobody in its queue is lost.
        handed = [
            bound
            for bound in self._serving.https
            if bound.key not in wanted and any(_covers(key, bound) for key in wanted)
        ]
        https = [*kept, *opened, *handed]
        web = self._make_web([*self._serving.http, *https])
        web.start()
        return _Attempt(rebind, opened, https, web)

    def _go_on(self, attempt: _Attempt) -> None:
        attempt.rebind.refresh_from_db()
        state = attempt.rebind.state
        if state == states.OPENING:
            self._prove(attempt)
        elif state == states.CONFIRMED:
            self._settle(attempt)
        elif not attempt.web.running:
            self._give_up(attempt, states.RETURNED, "The process that served the new address ended.")
        elif rebind_is_late(attempt.rebind):
            self._give_up(attempt, states.RETURNED, "Nobody confirmed the new address in time.")

    def _prove(self, attempt: _Attempt) -> None:
        if not attempt.web.running:
            self._give_up(attempt, states.REFUSED, "The process for the new address could not start.")
        elif _answers(attempt):
            rebind_move(attempt.rebind, states.AWAITING, confirm_within=settings.REBIND_CONFIRM_SECONDS)
        elif time.monotonic() - attempt.started > OPENING_SECONDS:
            self._give_up(attempt, states.REFUSED, "The new address did not answer over TLS in time.")

    def _settle(self, attempt: _Attempt) -> None:
        old, given_up = self._serving.web, [bound for bound in self._serving.https if bound not in attempt.https]
        self._serving.web, self._serving.https = attempt.web, attempt.https
        self._attempt = None
        self._leaving = Leaving(old, given_up, lambda: _settled(attempt.rebind))
        sockets_drain(given_up)
        old.stop()

    def _give_up(self, attempt: _Attempt, state: str, message: str) -> None:
        # First the row: a confirmation that comes this very moment has won, and the next step settles it.
        if not rebind_move(attempt.rebind, state, message):
            return
        self._attempt = None
        self._leaving = Leaving(attempt.web, attempt.opened)
        sockets_drain(attempt.opened)
        attempt.web.stop()

    def _see_off(self, leaving: Leaving) -> None:
        if leaving.child.running:
            return
        leaving.child.kill()
        sockets_close(leaving.sockets)
        self._leaving = None
        if leaving.then is not None:
            leaving.then()


def _settled(rebind: Rebind) -> None:
    rebind_move(rebind, states.SETTLED)


def _covers(key: tuple[str, int], bound: BoundSocket) -> bool:
    address, port = key
    return port == bound.port and address_is_any(address) and address_covers(address, bound.address)


def _answers(attempt: _Attempt) -> bool:
    """A worker of the new arbiter has said what it serves, and every newly opened address shakes hands."""
    # All of a family that this machine has no address of, as where IPv6 is switched off, can be opened and not asked.
    asked = [bound for bound in attempt.opened if address_here(bound.address)] or attempt.opened
    return _reported(attempt.web) and all(_shakes_hands(bound) for bound in asked)


def _reported(web: Child) -> bool:
    if web.pid is None:
        return False
    try:
        workers = [process.pid for process in psutil.Process(web.pid).children()]
    except psutil.Error:
        return False
    return NodeProcess.objects.filter(node=node_name(), pid__in=workers, generation__gt=0).exists()


def _shakes_hands(bound: BoundSocket) -> bool:
    # Whether it answers is the question; what it serves is proven elsewhere, and may be the placeholder.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    place = (addresses_here([bound.address]), bound.port)
    try:
        with socket.create_connection(place, HANDSHAKE_SECONDS) as plain, context.wrap_socket(plain):
            return True
    except OSError as error:
        log.debug("%s does not answer yet: %s", address_shown(*place), error)
        return False
