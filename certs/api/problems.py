"""Problem documents (RFC 9457): what they hold, and how they are answered, in place of pages too.

`type` is a URN made of `code`, which is stable and for programs; `title` is one sentence on the kind of failure,
`detail` one on this case, `advice` what to do next. `errors` names the fields at fault by JSON Pointer, and `quote` is
the id under which the portal's log knows it. What is raised becomes one in failures.py, which the pages need not load.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase

from certs.views.errors import new_quote

MEDIA_TYPE = "application/problem+json"
PREFIX = "/api/"
DOCS = "/api/docs/"
log = logging.getLogger("bindery.api")


@dataclass(frozen=True)
class Problem:
    status: int
    code: str
    detail: str
    advice: str = ""
    errors: Sequence[Mapping[str, str]] = ()  # {"pointer": "/tags/0", "detail": sentence}
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self, quote: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "type": f"urn:bindery:problem:{self.code}",
            "title": TITLES.get(self.status, HTTPStatus(self.status).phrase),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "advice": self.advice,
            "quote": quote,
        }
        return body | ({"errors": [dict(each) for each in self.errors]} if self.errors else {})


TITLES = {
    400: "The request cannot be used as it is.",
    401: "Who asks is not known.",
    403: "This is not allowed.",
    404: "There is no such thing.",
    405: "This address does not know the method.",
    406: "No form that was asked for can be given.",
    409: "It collides with what is there.",
    411: "The length of the body is missing.",
    412: "It has changed meanwhile.",
    413: "The body is too large.",
    415: "The form of the body is not known.",
    422: "The key stands for another request.",
    428: "A condition is missing.",
    429: "There were too many requests.",
    500: "The portal failed.",
    502: "Another server could not do it.",
    503: "It cannot be done just now.",
}
# The frame's own codes, by status, where its class has none that would tell more.
CODES = {
    400: "malformed",
    401: "unauthenticated",
    403: "not-allowed",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "too-large",
    415: "media-type",
    429: "rate",
    500: "internal",
    503: "unavailable",
}


class Refusal(Exception):
    """Raised by the API itself, where no service has a say: conditions, keys and forms of requests."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def refuse(status: int, code: str, detail: str, *, advice: str = "", pointer: str | None = None) -> Refusal:
    errors = [{"pointer": pointer, "detail": detail}] if pointer is not None else []
    return Refusal(Problem(status, code, detail, advice, errors))


def problem_answer(
    problem: Problem, *, error: Exception | None = None, request: HttpRequest | None = None
) -> HttpResponse:
    quote = new_quote()
    log.log(
        logging.ERROR if problem.status >= 500 else logging.INFO,
        "%s",
        problem.detail,
        extra={"error_id": quote, "code": problem.code, "status": problem.status, "path": getattr(request, "path", "")},
        exc_info=error if problem.status == 500 else None,
    )
    body = json.dumps(problem.document(quote), ensure_ascii=False)
    response = HttpResponse(body, status=problem.status, content_type=MEDIA_TYPE, headers=dict(problem.headers))
    response._has_been_logged = True  # type: ignore[attr-defined]  # what Django's own log_response looks for
    return response


class ProblemsForPrograms:
    """Outermost of what answers below /api/: whatever refuses a program with a page, it gets a problem document."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        if not is_for_program(request) or response.status_code < 400 or not is_page:
            return response
        status = response.status_code
        detail, advice = _PAGES.get(status, (TITLES.get(status, HTTPStatus(status).phrase), ""))
        answer = problem_answer(Problem(status, CODES.get(status, "error"), detail, advice), request=request)
        answer.cookies = response.cookies
        return answer


_PAGES = {
    400: ("The request cannot be read.", "/api/schema lists what each address can do."),
    403: ("The request was refused.", "Send a token: Authorization: Bearer …"),
    404: ("There is nothing at this address.", "/api/schema lists every address."),
    500: ("The portal failed at this; its log tells more.", "Give the quote to whoever runs it."),
}


def is_for_program(request: HttpRequest) -> bool:
    """Below /api/, and no page there that a browser asks for."""
    return request.path_info.startswith(PREFIX) and not request.path_info.startswith(DOCS)
