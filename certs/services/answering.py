"""What answers HTTPS for a host: a binding of our own listener, or a front that terminates TLS and was looked at."""

from collections.abc import Sequence
from typing import Protocol

from certs.domain.hsts import Answering
from certs.models import PortalState
from certs.services.front import front_read
from certs.services.front_check import Seen, front_look, front_obstacles, front_seen
from certs.services.listeners import listener_answering
from certs.services.served import served_now
from certs.services.trust import answering_of, version_answering, version_is_public
from portal import clock


class Answerer(Protocol):
    """`obstacles` are sentences on what stands in the way besides the certificate; `http_port` is where plain HTTP is
    answered as far as it is known here, 0 where it is not."""

    obstacles: Sequence[str]
    answering: Answering | None

    @property
    def http_port(self) -> int: ...

    def is_public(self) -> bool:
        """Whether browsers trust the CA of what answers."""

    def is_served(self) -> bool | None:
        """Whether it is what should answer; None where that cannot be checked. Asks the network, or goes by a look."""


def answerer(host: str, state: PortalState | None = None, *, look: bool = False) -> Answerer:
    """With `look`, a front is looked at now (network); else it is what the last look at the public URL showed."""
    if not front_read(state).on:
        return _OwnListener(host)
    return _Front(front_look() if look else front_seen(state))


class _OwnListener:
    def __init__(self, host: str) -> None:
        self.obstacles: Sequence[str] = ()
        self._host, self._version = host, version_answering(host)
        self.answering = answering_of(self._version, host) if self._version else None

    @property
    def http_port(self) -> int:
        return listener_answering("http").port

    def is_public(self) -> bool:
        return self._version is not None and version_is_public(self._version, self._host)

    def is_served(self) -> bool | None:
        """Handshakes show the bound certificate."""
        return served_now(self._version.certificate).ok if self._version else False


class _Front:
    http_port = 0

    def __init__(self, seen: Seen | None) -> None:
        self._seen = seen
        self.obstacles: Sequence[str] = front_obstacles(seen)
        # "Could not be checked" is among the obstacles; that a placeholder answers is not known.
        unknown = Answering(False, clock.now(), clock.now(), True)
        self.answering: Answering | None = (seen.answering if seen else None) or unknown

    def is_public(self) -> bool:
        return self._seen is not None and self._seen.seen_at is not None and not self._seen.distrust

    def is_served(self) -> bool | None:
        """It leads here."""
        return None if self._seen is None or self._seen.trouble else self._seen.reaches
