"""What a CA says when it does not do what was asked: RFC 7807 documents with the types of RFC 8555 §6.7.

`Problem` keeps the document as it was received, also where its type is newer than this code or it is no JSON at all;
only what cannot be stored or shown (control characters, texts without end) is taken out. `failure` turns it into the
error for the person, with the CA called by its label.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from certs.domain.errors import AcmeFailure, AcmeRefused, AcmeRetry

POLL_LOW, POLL_HIGH = timedelta(seconds=1), timedelta(seconds=60)
LONGEST_WAIT = timedelta(hours=24)
NOT_JSON = (ValueError, RecursionError)  # what reading of JSON raises; the second for what is nested without end
_LONGEST_TEXT, _MOST_ITEMS, _DEEPEST = 2000, 100, 8
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,60}")


@dataclass(frozen=True)
class Problem:
    """`code` is the last part of the type ("rateLimited"); `identifier` is the name a subproblem is about."""

    code: str = ""
    detail: str = ""
    status: int = 0
    identifier: str = ""
    instance: str = ""  # with userActionRequired: the address of the new terms
    subproblems: tuple["Problem", ...] = ()
    document: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_document(cls, document: object, status: int = 0) -> "Problem":
        """Reads any JSON value; what does not have the expected shape is left out, never an error."""
        document = storable(document)
        if not isinstance(document, dict):
            return cls(status=status, detail="" if document is None else str(document)[:500])
        identifier = document.get("identifier")
        subproblems = document.get("subproblems")
        given_status = document.get("status")
        return cls(
            code=_code(_text(document, "type")),
            detail=_text(document, "detail") or _text(document, "title"),
            status=given_status if isinstance(given_status, int) and not status else status,
            identifier=_text(identifier, "value") if isinstance(identifier, dict) else "",
            instance=_text(document, "instance"),
            subproblems=tuple(cls.from_document(item) for item in subproblems) if isinstance(subproblems, list) else (),
            document={"status": status, **document} if status else document,
        )

    @classmethod
    def from_answer(cls, status: int, body: str) -> "Problem":
        try:
            document = json.loads(body)
        except NOT_JSON:
            return cls(status=status, document={"status": status, "body": storable(body)})
        return cls.from_document(document, status)

    @property
    def sentence(self) -> str:
        """The CA's own words, those about single names included; always something to show."""
        about = f"{self.identifier}: " if self.identifier else ""
        own = self.detail or self.code or (f"HTTP status {self.status}" if self.status else "no reason was given")
        return " ".join([f"{about}{own}", *(sub.sentence for sub in self.subproblems)])


def storable(value: Any, deep: int = _DEEPEST) -> Any:
    """A JSON value that any database keeps and any terminal bears: PostgreSQL refuses NUL and halves of surrogates."""
    if isinstance(value, str):
        text = value[:_LONGEST_TEXT]
        return text if text.isprintable() else "".join(one if one.isprintable() else " " for one in text)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, dict | list):
        return value
    if not deep:
        return None
    if isinstance(value, list):
        return [storable(item, deep - 1) for item in value[:_MOST_ITEMS]]
    return {storable(key): storable(item, deep - 1) for key, item in list(value.items())[:_MOST_ITEMS]}


def _code(kind: str) -> str:
    last = kind.rsplit(":", 1)[-1]
    return last if _CODE.fullmatch(last) else ""


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


# What to do next, by problem type (RFC 8555 §6.7, RFC 9773 §7.4, profiles).
_ADVICE = {
    "accountDoesNotExist": "Register the account again.",
    "badCSR": "Try another key type.",
    "badPublicKey": "Try another key type.",
    "caa": "Change the CAA record of the name so that it allows this CA, or ask a CA that it allows.",
    "connection": "Make port 80 of the name reach this portal from the Internet: look at firewall, port forward, DNS.",
    "dns": "Check that the public DNS of the name answers and points at this portal.",
    "dnssec": "The zone's DNSSEC is broken: correct it at the DNS provider.",
    "externalAccountRequired": "This CA needs an external account binding.",
    "incorrectResponse": "Something else answers on port 80 of the name: the challenge path must come here.",
    "invalidContact": "Give an e-mail address that the CA accepts, or leave it empty.",
    "invalidProfile": "Choose a profile that the CA's directory lists.",
    "rateLimited": "The CA limits how often this may be asked. Wait; nothing is gained by trying again earlier.",
    "rejectedIdentifier": "This CA does not issue for the name. Check its spelling, or ask another CA.",
    "tls": "The CA was redirected to HTTPS and could not connect there: correct the redirect of the challenge path.",
    "unauthorized": "Something else answers on port 80 of the name, or its DNS points elsewhere: correct that, "
    "then try again.",
    "unsupportedContact": "Give an e-mail address that the CA accepts, or leave it empty.",
    "unsupportedIdentifier": "This CA does not issue for this kind of name.",
    "userActionRequired": "Open the CA's new terms of service, and accept them.",
}
_TRANSIENT = frozenset({"badNonce", "orderNotReady", "rateLimited", "serverInternal"})
_TRANSIENT_STATUS = frozenset({408, 425, 429})


def advice_for(code: str) -> str:
    return _ADVICE.get(code, "")


def is_transient(problem: Problem) -> bool:
    """A status of success is one too: the answer was something else than asked for, such as a maintenance page."""
    status = problem.status
    return problem.code in _TRANSIENT or status in _TRANSIENT_STATUS or status >= 500 or 200 <= status < 300


def failure(problem: Problem, label: str, *, retry_at: datetime | None = None) -> AcmeFailure:
    """The error for the person; `label` names the CA. Its code is the problem's, so that flows can decide by it."""
    code = f"acme-{problem.code}" if problem.code else "acme"
    advice = advice_for(problem.code)
    if problem.code == "userActionRequired" and problem.instance:
        advice = f"{advice} They are at {problem.instance}."
    if is_transient(problem):
        message = f"{label} could not do it now: {problem.sentence}"
        return AcmeRetry(message, advice=advice, code=code, problem=problem.document, retry_at=retry_at)
    return AcmeRefused(f"{label} refused: {problem.sentence}", advice=advice, code=code, problem=problem.document)


def retry_after(header: str | None, now: datetime) -> datetime | None:
    """Retry-After (RFC 9110 §10.2.3) as an aware moment in UTC; None where absent, senseless, or already past.

    `now` is real time. What is further off than a day is cut to a day.
    """
    if not header:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        wait = min(int(text), int(LONGEST_WAIT.total_seconds()))
        return now + timedelta(seconds=wait)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return min(moment, now + LONGEST_WAIT) if moment > now else None


def retry_at(headers: Mapping[str, str], now: datetime) -> datetime | None:
    """The Retry-After of an answer that came `now`. A date in it is by the clock of the CA's own Date header: whoever's
    clock is wrong, the wait is right."""
    given = headers.get("Retry-After")
    try:
        sent = parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, OverflowError):
        return retry_after(given, now)
    sent = sent.replace(tzinfo=UTC) if sent.tzinfo is None else sent.astimezone(UTC)
    moment = retry_after(given, sent)
    return moment and now + (moment - sent)


def poll_delay(retry_at: datetime | None, own: float, now: datetime) -> float:
    """Seconds to the next poll: what the CA asks for, between 1 and 60 s, or `own` where it asks for nothing."""
    if retry_at is None:
        return own
    return min(max(retry_at - now, POLL_LOW), POLL_HIGH).total_seconds()
