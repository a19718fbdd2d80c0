"""How much of a request must be there before it is worth a thread.

This only decides how long a connection waits in the poller. What the request means is judged by gunicorn's parser,
which gets every byte; a head that the two read differently can therefore only be waited for too long or too short.
"""

import re
from dataclasses import dataclass

HEAD_LIMIT = 64 * 1024  # bytes; gunicorn's own limits on lines and fields are narrower
WHOLE_BODY_LIMIT = 1024 * 1024  # a body up to here is collected without a thread
BODY_LIMIT = 32 * 1024 * 1024  # nothing the portal takes is larger

_FIELD = re.compile(rb"\r\n(content-length|transfer-encoding|expect)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)


@dataclass(frozen=True)
class Framing:
    """`total` is the length of head and body in bytes, None where only reading shows it (chunked)."""

    head: int
    total: int | None
    expects_continue: bool = False

    @property
    def is_whole_soon(self) -> bool:
        """The body is announced and small enough to be collected."""
        return self.total is not None and self.total - self.head <= WHOLE_BODY_LIMIT

    @property
    def is_too_large(self) -> bool:
        return self.total is not None and self.total - self.head > BODY_LIMIT


def framing_of(data: bytearray, searched: int = 0) -> Framing | None:
    """The framing of the first request in `data`, None while its head is incomplete.

    `searched` is how many bytes were already looked at in vain. A head with bare line feeds never ends by RFC 9112
    section 2.2; it counts as complete so that the parser can refuse it at once.
    """
    start = 2 if data.startswith(b"\r\n") else 0  # one empty line before the request line is ignored
    end = data.find(b"\r\n\r\n", max(start, searched - 3))
    if end < 0:
        return Framing(len(data), len(data)) if b"\n\n" in data else None
    head = end + 4
    fields = {name.lower(): value.strip() for name, value in _FIELD.findall(data, start, end + 2)}
    expects = fields.get(b"expect", b"").lower() == b"100-continue"
    if b"transfer-encoding" in fields:
        return Framing(head, None, expects)
    length = fields.get(b"content-length", b"0")
    return Framing(head, head + (int(length) if length.isdigit() and len(length) < 19 else 0), expects)
