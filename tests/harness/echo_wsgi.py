"""A tiny application for tests of the server itself: it tells what it was given."""

import json
import os
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import django

django.setup()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """`?sleep=S` waits, `?bytes=N` answers N bytes, `?ignore` leaves the body unread, `/fail` raises."""
    query = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
    if environ["PATH_INFO"] == "/fail":
        raise RuntimeError("asked to fail")
    time.sleep(float(query.get("sleep", ["0"])[0]))
    received = 0 if "ignore" in query else len(environ["wsgi.input"].read())
    if "bytes" in query:
        body = b"x" * int(query["bytes"][0])
    else:
        body = json.dumps(
            {
                "pid": os.getpid(),
                "scheme": environ["wsgi.url_scheme"],
                "method": environ["REQUEST_METHOD"],
                "path": environ["PATH_INFO"],
                "received": received,
                "remote": environ["REMOTE_ADDR"],
                "forwarded": [value for name, value in environ.items() if name.startswith("HTTP_X_FORWARDED_")],
            }
        ).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
