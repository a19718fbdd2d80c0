"""The HTTP challenge (RFC 8555 §8.3), answered by the portal itself on plain HTTP."""

import http.client
import re
import socket
from collections.abc import Mapping
from typing import Any, ClassVar

from certs.domain.urls import url_split
from certs.solvers.base import Evidence, Solver, Task

PATH = "/.well-known/acme-challenge/"
LOOK_SECONDS = 5.0
_RIGHT = "HTTP 200 with the right answer"
_SHOWN = 120  # characters of a wrong answer


class Http01(Solver):
    """The CA asks http://NAME/.well-known/acme-challenge/TOKEN on port 80, from several places at once."""

    label: ClassVar[str] = "HTTP"
    challenge_types: ClassVar[tuple[str, ...]] = ("http-01",)
    addresses: ClassVar[bool] = True
    by_portal: ClassVar[bool] = True

    def present(self, task: Task) -> dict[str, Any]:
        return {}

    def clean(self, task: Task, data: Mapping[str, Any]) -> None:
        pass

    def look(self, task: Task) -> Evidence:
        return http_look(task, "the portal")


def http_look(task: Task, server: str) -> Evidence:
    """Ask once, as the CA does. `server` is what should have answered, in words."""
    url = _address(task)
    seen = _seen(url, task.key_authorization)
    right = seen == _RIGHT
    words = f"{_RIGHT}: from here {server} is reached, from the CA it was not" if right else seen
    return Evidence(url=url, curl=f"curl -i {url}", seen=words, right=right)


def _address(task: Task) -> str:
    """As the CA asked where that is the challenge's own place (a test CA uses another port), else as RFC 8555 says."""
    parts = url_split(task.asked)
    path = f"{PATH}{task.token}"
    if parts.scheme == "http" and parts.hostname == task.name and parts.path == path and not parts.query:
        return task.asked
    host = f"[{task.name}]" if ":" in task.name else task.name
    return f"http://{host}{path}"


def _seen(url: str, expected: str) -> str:
    parts = url_split(url)
    try:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=LOOK_SECONDS)
        try:
            connection.request("GET", parts.path, headers={"User-Agent": "Bindery (looking where the CA looked)"})
            answer = connection.getresponse()
            body = answer.read(4096).decode("utf-8", "replace")
        finally:
            connection.close()
    except socket.gaierror:
        return "this server cannot find the name in its DNS"
    except TimeoutError:
        return f"no answer within {LOOK_SECONDS:g} s"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"no answer: {getattr(error, 'strerror', None) or error}"
    return _describe(answer, body, expected)


def _describe(answer: http.client.HTTPResponse, body: str, expected: str) -> str:
    status = f"HTTP {answer.status}"
    if 300 <= answer.status < 400:
        return f"{status}, a redirect to {answer.getheader('Location', 'nowhere')}"
    if answer.status == 200 and body.strip() == expected:
        return _RIGHT
    # Whatever answered may have sent anything; a database may refuse to store what is no text.
    words = re.sub(r"\s+", " ", "".join(one if one.isprintable() else " " for one in body)).strip()[:_SHOWN]
    if answer.status == 200 and words.startswith(expected.partition(".")[0] + "."):
        return f"{status} with the answer of another account: {words}"
    return f"{status} with something else: {words}" if words else f"{status} without a body"
