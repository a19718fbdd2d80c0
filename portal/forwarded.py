"""The first thing that a request passes: what a proxy says of it holds, or is gone, before anything reads it.

The rule is `certs/domain/forwarded.py`, the setting `certs/services/front.py`. A believed proxy's word is put where the
server's own stands (REMOTE_ADDR, the scheme, the Host header), so that cookies, CSRF, throttles and logs need to know
nothing of it. gunicorn's own belief in 127.0.0.1 is switched off (`portal/server/gunicorn_conf.py`).
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponseBase

from certs.domain.forwarded import HANDED_ON, NOT_BELIEVED, Believed, HandedOn, Said, believed, is_near
from certs.services import addresses
from certs.services.front import Front, front_read
from certs.services.front_notices import notice_add
from certs.services.portal_state import state_update
from portal import clock
from portal.plainhttp import is_plain_http_path

# Their names tell a person what kind of proxy it is. None of them is seen by anything behind this middleware.
HEADERS = {
    "HTTP_X_FORWARDED_FOR": "X-Forwarded-For",
    "HTTP_X_FORWARDED_PROTO": "X-Forwarded-Proto",
    "HTTP_X_FORWARDED_HOST": "X-Forwarded-Host",
    "HTTP_FORWARDED": "Forwarded",
    "HTTP_VIA": "Via",
}
# What other programs believe besides.
_ALSO = (
    "HTTP_X_REAL_IP",
    "HTTP_X_SCHEME",
    "HTTP_X_URL_SCHEME",
    "HTTP_X_CLIENT_IP",
    "HTTP_TRUE_CLIENT_IP",
    "HTTP_CF_CONNECTING_IP",
    "HTTP_FRONT_END_HTTPS",
)
_PREFIX = "HTTP_X_FORWARDED_"
_MINUTE = 60.0
_KEEP_SECONDS = 60.0
log = logging.getLogger("bindery.web")


def handed_on(request: HttpRequest) -> HandedOn | None:
    """None for a request that came directly, or through a proxy that is not listed."""
    found = request.META.get(HANDED_ON)
    return found if isinstance(found, HandedOn) else None


def handed_on_silently(request: HttpRequest) -> HandedOn | None:
    """A listed proxy handed it on and did not say how it came, so plain HTTP is no reason to send anybody anywhere."""
    found = handed_on(request)
    if found is None:
        peer = request.META.get("REMOTE_ADDR", "")
        try:
            found = HandedOn(peer, says_scheme=False) if front_read().trusts(peer) else None
        except DatabaseError:
            return None
    return found if found and not found.says_scheme else None


class Minutely:
    """What was last done more than a minute ago, by this process."""

    def __init__(self) -> None:
        self._at: dict[object, float] = {}

    def is_due(self, key: object = None) -> bool:
        return time.monotonic() - self._at.get(key, float("-inf")) >= _MINUTE

    def done(self, key: object = None) -> None:
        self._at[key] = time.monotonic()


_silent = Minutely()


def silence_note() -> None:
    """Remember for the page that a listed proxy said nothing of the scheme; at most once a minute."""
    if _silent.is_due():
        _silent.done()
        try:
            state_update(front_silent_at=clock.now())
        except DatabaseError as error:
            log.debug("It could not be noted: %s", error)


class ForwardedHeaders:
    """First of all in settings.MIDDLEWARE."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self._front, self._read_at = Front(), float("-inf")
        self._notices = Minutely()

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        meta, peer = request.META, request.META.get("REMOTE_ADDR", "")
        host = meta.get("HTTP_HOST", "")
        said, sent = _take(meta)
        if not sent:
            return self.get_response(request)
        told = believed(peer, said, self._current(request.path_info).proxies)
        if told is not None:
            _apply(meta, peer, told)
            if not told.scheme:
                silence_note()
            return self.get_response(request)
        meta[NOT_BELIEVED] = "https" in said.proto.lower()
        response = self.get_response(request)
        if self._notices.is_due(is_near(peer)):
            self._notice(peer, host, sent)
        return response

    def _notice(self, peer: str, host: str, sent: list[str]) -> None:
        """Only of who asked for this portal: a scanner that asks for anything is nothing to remember."""
        try:
            if addresses.host_is_accepted(addresses.host_normalize(host)):
                self._notices.done(is_near(peer))
                notice_add(peer, sent)
        except DatabaseError as error:
            log.debug("A proxy was noticed, which could not be stored: %s", error)

    def _current(self, path: str) -> Front:
        """As the database has it now. Paths that must answer without a database do with what was read last."""
        if is_plain_http_path(path) and time.monotonic() - self._read_at < _KEEP_SECONDS:
            return self._front
        try:
            self._front, self._read_at = front_read(), time.monotonic()
        except DatabaseError as error:
            log.debug("Which proxies are listed could not be read: %s", error)
        return self._front


def _take(meta: dict[str, Any]) -> tuple[Said, list[str]]:
    """The headers, which are gone then, and the names of those that were there."""
    said = Said(*(meta.get(_PREFIX + name, "") for name in ("FOR", "PROTO", "HOST")))
    sent = [shown for name, shown in HEADERS.items() if name in meta]
    for name in [name for name in meta if name in HEADERS or name in _ALSO or name.startswith(_PREFIX)]:
        del meta[name]
    return said, sent


def _apply(meta: dict[str, Any], peer: str, told: Believed) -> None:
    meta[HANDED_ON] = HandedOn(peer, bool(told.scheme))
    meta["REMOTE_ADDR"] = told.client
    if told.scheme:
        meta["wsgi.url_scheme"] = told.scheme
    if told.host:
        meta["HTTP_HOST"] = told.host
