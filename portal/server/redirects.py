"""Answers of the server itself, where a request came in the wrong protocol or is too large for any page."""

import re
from http import HTTPStatus

_AUTHORITY = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?")


def answer(status: HTTPStatus, text: str, location: str = "") -> bytes:
    """A whole response of plain text that ends the connection."""
    body = f"{text}\n".encode()
    head = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Connection: close",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
    ]
    if location:
        head.append(f"Location: {location}")
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def authority_split(host: str) -> tuple[str, int | None] | None:
    """Name or address (without brackets) and port of a Host header (RFC 9110 section 7.2), None where it is not one."""
    match = _AUTHORITY.fullmatch(host)
    if match is None:
        return None
    name, port = match.groups()
    return name.strip("[]"), int(port) if port else None


def to_https(base: str, target: str) -> bytes:
    """The redirect that keeps method and path (308, RFC 9110 section 15.4.9); `base` is https://name[:port]."""
    location = base + (target if target.startswith("/") else "/")
    return answer(HTTPStatus.PERMANENT_REDIRECT, f"Please use {location}", location)
