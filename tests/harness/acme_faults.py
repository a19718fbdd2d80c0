"""What a CA may do wrong, each by its name: what it answers instead, and what becomes of a good answer."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from enum import StrEnum
from typing import Any

from tests.harness import pki
from tests.harness.acme_ca import Answer, Ca, Order, chain, problem


class Fault(StrEnum):
    # Answered in place of what was asked for; nothing is carried out.
    RATE_LIMITED = "429 rateLimited"  # retry_after
    UNAVAILABLE = "503"  # retry_after
    PROBLEM = "a problem document"  # code, status, detail; or document as it stands
    ALREADY_REPLACED = "409 alreadyReplaced"
    ACCOUNT_UNKNOWN = "400 accountDoesNotExist"
    NOT_FOUND = "404"
    BAD_NONCE = "400 badNonce"
    CONTROL_CHARACTERS = "NUL and escapes in the problem document"
    OVERLONG = "a problem document of a megabyte"
    ODD_SUBPROBLEM = "sub-problems about identifiers of an unknown type, and without shape"
    NESTED = "a problem document nested without end"
    HTML = "a page"  # status, retry_after
    CUT_BEFORE = "the connection is closed, nothing was carried out"
    STALL_BEFORE = "silence, nothing was carried out"  # seconds
    # Carried out, then answered otherwise than it should be.
    CUT_AFTER = "carried out, then the connection is closed"
    CUT_MIDDLE = "carried out, then half of the answer"
    STALL_AFTER = "carried out, then silence"  # seconds
    STALL_MIDDLE = "carried out, then half of the answer and silence"  # seconds
    HTML_AFTER = "carried out, then a page"  # status
    ORDER_NOT_READY = "carried out, but answered with 403 orderNotReady"
    RETRY_AFTER = "a Retry-After beside what was asked for"  # retry_after
    NO_NONCE = "no Replay-Nonce"
    NO_LOCATION = "no Location"
    NO_UP = 'no Link rel="up"'
    CLOCK_OFF = "a Date, and a Retry-After that is one, which are off"  # seconds
    STATUS = "another status in the document"  # status
    PROCESSING = "finalize: the order stays in processing"  # polls
    OTHER_NAMES = "other identifiers in the document"  # names
    ODD_CHALLENGES = "challenges of unknown types and without shape beside the others"
    NO_CHALLENGES = "no challenge that is known"
    WRONG_KEY = "certificate: for another key"
    WRONG_NAMES = "certificate: for other names"  # names
    EXPIRED = "certificate: expired an hour ago"
    CHAIN_REVERSED = "certificate: the issuer first"
    CHAIN_UNLINKED = "certificate: with the issuer of another"


@dataclass(frozen=True)
class Dated:
    """Retry-After as a date, `seconds` from now; `zone` "GMT" as RFC 9110 wants it, or an offset like "+0100"."""

    seconds: float
    zone: str = "GMT"

    def text(self) -> str:
        moment = datetime.now(UTC) + timedelta(seconds=self.seconds)
        if self.zone == "GMT":
            return format_datetime(moment, usegmt=True)
        return format_datetime(moment.astimezone(datetime.strptime(self.zone, "%z").tzinfo))


Options = dict[str, Any]


def _later(answer: Answer, options: Options) -> Answer:
    given = options.get("retry_after")
    if given is not None:
        answer.headers["Retry-After"] = given.text() if isinstance(given, Dated) else str(given)
    return answer


def _page(options: Options) -> Answer:
    body = b"<!doctype html><title>Down</title><p>We are busy, please come again."
    return _later(Answer(options.get("status", 200), body=body, type="text/html"), options)


def _cut(server: Ca, options: Options) -> Answer:
    return Answer(cut="whole", stall=options.get("seconds", 0))


def _any_problem(options: Options) -> Answer:
    answer = problem(
        options.get("code", "serverInternal"), options.get("detail", "Something."), options.get("status", 500)
    )
    if "document" in options:
        answer.document = options["document"]
    return _later(answer, options)


_SUBPROBLEMS: list[Any] = [
    {"type": "urn:ietf:params:acme:error:dns", "detail": "odd", "identifier": {"type": "onion-v9", "value": "x"}},
    {"type": 7, "detail": None, "identifier": "a text"},
    "no document at all",
    None,
]
INSTEAD: dict[Fault, Callable[[Ca, Options], Answer]] = {
    Fault.RATE_LIMITED: lambda _, options: _later(problem("rateLimited", "Too many requests.", 429), options),
    Fault.UNAVAILABLE: lambda _, options: _later(problem("serverInternal", "The service is down.", 503), options),
    Fault.PROBLEM: lambda _, options: _any_problem(options),
    Fault.ALREADY_REPLACED: lambda _, __: problem("alreadyReplaced", "It has a successor already.", 409),
    Fault.ACCOUNT_UNKNOWN: lambda _, __: problem("accountDoesNotExist", "There is no such account.", 400),
    Fault.NOT_FOUND: lambda _, __: problem("malformed", "There is no such resource.", 404),
    Fault.BAD_NONCE: lambda _, __: problem("badNonce", "This nonce is not good.", 400),
    Fault.CONTROL_CHARACTERS: lambda _, __: problem("unauthorized", "said\x00 \x1b[31mred\x07\r\n\ud800 end", 403),
    Fault.OVERLONG: lambda _, __: problem("malformed" + "x" * 5000, "long " * 200_000, 400),
    Fault.ODD_SUBPROBLEM: lambda _, __: problem("compound", "Two troubles.", 400, subproblems=_SUBPROBLEMS),
    Fault.NESTED: lambda _, __: Answer(400, body=b"[" * 100_000),
    Fault.HTML: lambda _, options: _page(options),
    Fault.CUT_BEFORE: _cut,
    Fault.STALL_BEFORE: _cut,
}


def _cut_afterwards(server: Ca, answer: Answer, options: Options) -> None:
    answer.cut = "whole"


def _stall_afterwards(server: Ca, answer: Answer, options: Options) -> None:
    answer.cut, answer.stall = "whole", options["seconds"]


def _replace(answer: Answer, other: Answer) -> None:
    answer.status, answer.document, answer.body, answer.type = other.status, other.document, other.body, other.type


def _change(key: str, value: Callable[[Options], Any]) -> Callable[[Ca, Answer, Options], object]:
    def change(server: Ca, answer: Answer, options: Options) -> None:
        if isinstance(answer.document, dict) and answer.status < 400:
            answer.document[key] = value(options)

    return change


def _drop(header: str) -> Callable[[Ca, Answer, Options], object]:
    return lambda server, answer, options: answer.headers.update({header: ""})


def _half(server: Ca, answer: Answer, options: Options) -> None:
    answer.cut, answer.stall = "half", options.get("seconds", 0)


def _processing(server: Ca, answer: Answer, options: Options) -> None:
    if answer.order is not None:
        answer.order.polls = options["polls"]
        answer.document = answer.order.document()


def _odd_challenges(server: Ca, answer: Answer, options: Options) -> None:
    odd: list[Any] = [{"type": "quantum-02", "url": 5, "status": "frozen"}, "no document", None, {"type": None}]
    if isinstance(answer.document, dict) and "challenges" in answer.document:
        answer.document["challenges"] = odd + answer.document["challenges"]


def _clock_off(server: Ca, answer: Answer, options: Options) -> None:
    off = timedelta(seconds=options["seconds"])
    for header in ("Date", "Retry-After"):
        given = answer.headers.get(header, "0")
        if not given.isdigit():
            answer.headers[header] = format_datetime(parsedate_to_datetime(given) + off)


def _issued_as(make: Callable[[Ca, Order, Options], Answer]) -> Callable[[Ca, Answer, Options], object]:
    def change(server: Ca, answer: Answer, options: Options) -> None:
        if answer.order is not None and answer.order.leaf is not None:
            answer.body = make(server, answer.order, options).body

    return change


def _wrong_key(server: Ca, order: Order, options: Options) -> Answer:
    return chain(order, pki.leaf(server.intermediate, order.names).certificate, server.intermediate.certificate)


def _wrong_names(server: Ca, order: Order, options: Options) -> Answer:
    assert order.leaf is not None
    names = options.get("names", ["somebody.else.test"])
    return chain(order, server.sign(order.leaf.public_key(), names), server.intermediate.certificate)


def _expired(server: Ca, order: Order, options: Options) -> Answer:
    assert order.leaf is not None
    start = server.clock().replace(microsecond=0) - server.life - timedelta(hours=1)
    return chain(order, server.sign(order.leaf.public_key(), order.names, start=start), server.intermediate.certificate)


def _reversed(server: Ca, order: Order, options: Options) -> Answer:
    assert order.leaf is not None
    return chain(order, server.root.certificate, server.intermediate.certificate, order.leaf)


def _unlinked(server: Ca, order: Order, options: Options) -> Answer:
    assert order.leaf is not None
    return chain(order, order.leaf, pki.authority("Somebody else").certificate)


AFTERWARDS: dict[Fault, Callable[[Ca, Answer, Options], object]] = {
    Fault.CUT_AFTER: _cut_afterwards,
    Fault.CUT_MIDDLE: _half,
    Fault.STALL_AFTER: _stall_afterwards,
    Fault.STALL_MIDDLE: _half,
    Fault.HTML_AFTER: lambda _, answer, options: _replace(answer, _page(options)),
    Fault.ORDER_NOT_READY: lambda _, answer, __: _replace(answer, problem("orderNotReady", "It is not ready.", 403)),
    Fault.RETRY_AFTER: lambda _, answer, options: _later(answer, options),
    Fault.NO_NONCE: _drop("Replay-Nonce"),
    Fault.NO_LOCATION: _drop("Location"),
    Fault.NO_UP: _drop("Link"),
    Fault.CLOCK_OFF: _clock_off,
    Fault.STATUS: _change("status", lambda options: options["status"]),
    Fault.PROCESSING: _processing,
    Fault.OTHER_NAMES: _change(
        "identifiers", lambda options: [{"type": "dns", "value": name} for name in options["names"]]
    ),
    Fault.ODD_CHALLENGES: _odd_challenges,
    Fault.NO_CHALLENGES: _change("challenges", lambda _: [{"type": "quantum-02", "url": "x", "status": "pending"}]),
    Fault.WRONG_KEY: _issued_as(_wrong_key),
    Fault.WRONG_NAMES: _issued_as(_wrong_names),
    Fault.EXPIRED: _issued_as(_expired),
    Fault.CHAIN_REVERSED: _issued_as(_reversed),
    Fault.CHAIN_UNLINKED: _issued_as(_unlinked),
}
# The others are about what was carried out.
OF_ANY_ANSWER = {Fault.NO_NONCE, Fault.CLOCK_OFF}
