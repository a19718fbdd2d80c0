"""Is it this portal that answers there? Asked at /healthz with a token that only its nodes can answer.

The same for a listener, for the public URL, and for a browser, whose page is given the token and the answer.
"""

import json
from dataclasses import dataclass
from urllib.parse import urlencode

from django.conf import settings

from certs.domain.errors import InputError, Unavailable
from certs.services.reachability import probe_answer, probe_token
from certs.transports import outbound
from certs.transports.connections import any_certificate
from certs.transports.line import Purpose

PATH = "/healthz"
PURPOSE = Purpose("diagnosis", "The portal's own address was asked.")
_BYTES = 4096


@dataclass(frozen=True)
class Question:
    path: str  # to be asked at any address of the portal
    answer: str  # under "probe" in the JSON that comes back


@dataclass(frozen=True)
class Asked:
    """`ok` None: nothing answered at all; then, and where something else did, `detail` tells what happened."""

    ok: bool | None
    detail: str = ""


def question_make() -> Question:
    token = probe_token()
    return Question(f"{PATH}?{urlencode({'probe': token})}", probe_answer(token) or "")


def portal_asked(base_url: str, *, address: str = "", proxied: bool = False, seconds: float = 4.0) -> Asked:
    """`base_url` is scheme://host[:port]; certificates are not judged. At `address` where one is given."""
    question = question_make()
    try:
        answer = outbound.fetch(
            base_url + question.path,
            purpose=PURPOSE,
            version=settings.VERSION,
            plain_http=True,
            allow_private=True,
            address=address,
            proxied=proxied,
            limit=_BYTES,
            whole=False,
            redirects=5,
            seconds=seconds,
            trust=any_certificate(),
        )
    except (InputError, Unavailable) as error:
        return Asked(None, error.message)
    try:
        found = json.loads(answer.text)
    except ValueError:
        found = None
    if isinstance(found, dict) and found.get("probe") == question.answer:
        return Asked(True)
    return Asked(False, f"Something else than this portal answers there, with status {answer.status}.")
