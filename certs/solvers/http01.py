"""The HTTP challenge (RFC 8555 §8.3), answered by the portal itself on plain HTTP."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from certs.domain.errors import InputError, Unavailable
from certs.domain.names import is_address
from certs.domain.urls import url_split
from certs.solvers.base import Evidence, Site, Solver, Task
from certs.transports.dns import Resolver
from certs.transports.line import PROBE
from certs.transports.outbound import Answer, fetch

PATH = "/.well-known/acme-challenge/"
LOOK_SECONDS = 5.0
_RIGHT = "HTTP 200 with the right answer"
_LONGEST, _SHOWN = 4096, 120  # bytes read, characters shown of a wrong answer
_NO_ANSWER = {
    "host-unknown": "this server cannot find the name in its DNS",
    "timeout": f"no answer within {LOOK_SECONDS:g} s",
    "refused": "no answer: Connection refused",
}


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
        return http_look(task, "the portal", self.site)


def http_look(task: Task, server: str, site: Site) -> Evidence:
    """Ask once, as the CA does. `server` is what should have answered, in words."""
    url = _address(task)
    seen = _seen(url, task.key_authorization, site)
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


def _seen(url: str, expected: str, site: Site) -> str:
    try:
        return _describe(_ask(url, site, allow_private=site.allow_private()), expected)
    except Unavailable as error:
        return _NO_ANSWER.get(error.code, f"no answer: {error.message.rstrip('.')}")
    except InputError as error:
        return _seen_inside(url, expected, site, error.message.rstrip("."))


def _seen_inside(url: str, expected: str, site: Site, why: str) -> str:
    """Of a private address that nobody permitted it is told whether our answer is there, and nothing else."""
    try:
        if _describe(_ask(url, site, allow_private=True), expected) == _RIGHT:
            return _RIGHT
    except (Unavailable, InputError):
        pass
    return f"not our answer: {why}"


def _ask(url: str, site: Site, *, allow_private: bool) -> Answer:
    return fetch(
        url,
        address=_address_of(url_split(url).hostname or "", site),
        purpose=PROBE,
        version=site.version,
        plain_http=True,
        proxied=False,  # a CA does not come by our proxy
        allow_private=allow_private,
        limit=_LONGEST,
        whole=False,
        seconds=LOOK_SECONDS,
    )


def _address_of(host: str, site: Site) -> str:
    """Where the resolvers of the settings are to be asked instead of the system's. Raises Unavailable."""
    if not site.resolvers or is_address(host):
        return ""
    ipv4, ipv6 = Resolver(site.resolvers, site.authorities, LOOK_SECONDS).addresses(host)
    found = [*ipv6.values, *ipv4.values]
    if not found:
        raise Unavailable(f"{host} has no address in DNS.", code="host-unknown")
    return found[0]


def _describe(answer: Answer, expected: str) -> str:
    status = f"HTTP {answer.status}"
    if 300 <= answer.status < 400:
        return f"{status}, a redirect to {answer.headers.get('Location', 'nowhere')}"
    if answer.status == 200 and answer.text.strip() == expected:
        return _RIGHT
    # Whatever answered may have sent anything; a database may refuse to store what is no text.
    words = re.sub(r"\s+", " ", "".join(one if one.isprintable() else " " for one in answer.text)).strip()[:_SHOWN]
    if answer.status == 200 and words.startswith(expected.partition(".")[0] + "."):
        return f"{status} with the answer of another account: {words}"
    return f"{status} with something else: {words}" if words else f"{status} without a body"
