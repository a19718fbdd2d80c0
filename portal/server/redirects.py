"""Answers of the server itself, where a request came in the wrong protocol or is too large for any page."""

import logging
import re
from http import HTTPStatus
from typing import Any

from django.db import DatabaseError, connection

from certs.domain.errors import BinderyError
from certs.services.addresses import https_url, url_make
from portal import loops

log = logging.getLogger("bindery.web")
# Whoever sends one of these is a proxy, or wants to be taken for one: it is told what is wrong either way.
_FROM_A_FRONT = frozenset({"X-FORWARDED-FOR", "X-FORWARDED-PROTO", "X-FORWARDED-HOST", "FORWARDED"})

_AUTHORITY = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?")


def answer(status: HTTPStatus, text: str, location: str = "", cookie: str = "") -> bytes:
    """A whole response of plain text that ends the connection."""
    body = f"{text}\n".encode()
    head = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Connection: close",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
    ]
    if location:
        # Not to be kept by a browser: the port may be another one tomorrow.
        head += [f"Location: {location}", "Cache-Control: no-store"]
    if cookie:
        head.append(f"Set-Cookie: {cookie}")
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def authority_split(host: str) -> tuple[str, int | None] | None:
    """Name or address (without brackets) and port of a Host header (RFC 9110 section 7.2), None where it is not one."""
    match = _AUTHORITY.fullmatch(host)
    if match is None:
        return None
    name, port = match.groups()
    return name.strip("[]"), int(port) if port else None


def to_https(base: str, target: str, sent: int = 0) -> bytes:
    """The redirect that keeps method and path (308, RFC 9110 section 15.4.9); `base` is https://name[:port].

    `sent` is how often this browser was sent there before.
    """
    location = base + (target if target.startswith("/") else "/")
    return answer(HTTPStatus.PERMANENT_REDIRECT, f"Please use {location}", location, loops.cookie(sent + 1))


def wrong_protocol(req: Any, *, on_tls_port: bool, https_port: int | None) -> bytes:
    """TLS on the plain port, or plain HTTP on the TLS port: the same address over HTTPS.

    `req` is gunicorn's request, `https_port` the one that this process listens on.
    """
    sent = loops.count(_cookies(req))
    if sent >= loops.MOST or any(name in _FROM_A_FRONT for name, _value in req.headers):
        return _front_goes_wrong(on_tls_port=on_tls_port)
    authority = authority_split(next((value for name, value in req.headers if name == "HOST"), ""))
    if authority is None:
        return answer(HTTPStatus.BAD_REQUEST, "This request names no host.")
    host, port = authority
    # On the TLS port, the port that the client used leads here, whatever stands before it outside.
    base = url_make("https", host, port) if on_tls_port and port else _https_base(host, https_port)
    return to_https(base, f"{req.path}?{req.query}" if req.query else req.path, sent)


def _cookies(req: Any) -> dict[str, str]:
    given = "; ".join(value for name, value in req.headers if name == "COOKIE")
    pairs = (pair.strip().partition("=") for pair in given.split(";"))
    return {name: value for name, _equals, value in pairs}


def _front_goes_wrong(*, on_tls_port: bool) -> bytes:
    """A browser would be sent to where it is already, again and again: it is the front's operator who must know."""
    here, other = ("HTTPS", "HTTP") if on_tls_port else ("HTTP", "HTTPS")
    spoken = "plain HTTP" if on_tls_port else "TLS"
    return answer(
        HTTPStatus.BAD_GATEWAY,
        f"What stands in front of this portal speaks {spoken} to its {here} port. "
        f"Let it speak {here.lower()}:// to this port, or {other.lower()}:// to the {other} port.",
    )


def _https_base(host: str, https_port: int | None) -> str:
    try:
        return https_url(host)
    except (BinderyError, DatabaseError) as error:
        log.debug("The public address is not known: %s", error)
        connection.close()
        return url_make("https", host, https_port)
