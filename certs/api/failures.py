"""What a handler of the API raises, as a problem: one place for our own errors and for the frame's."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import Http404
from rest_framework import exceptions

from certs.api.problems import CODES, Problem, Refusal
from certs.domain.errors import AcmeRetry, BinderyError
from certs.domain.options import OptionRefused
from certs.views.errors import status_of
from portal import clock

# Codes of services that are about one property of a body.
_FIELDS = {name: name for name in ("id", "name", "description", "tags", "metadata", "email")}
_FIELDS |= {"certificate-refused": "chain", "key-refused": "privateKey", "pair": "privateKey"}
_OWN_CODES = frozenset({"csrf", *(f"token-{why}" for why in ("unknown", "revoked", "expired", "owner"))})
_ADVICE = {
    401: "Send a token: Authorization: Bearer …",
    405: "/api/schema lists what each address can do.",
    406: "Ask for application/json.",
    415: "Send application/json.",
}


def problem_of(error: Exception) -> Problem | None:  # noqa: PLR0911 (one line per kind)
    """None where the error is nobody's but ours: then it is logged whole, and answered as 500."""
    match error:
        case Refusal():
            return error.problem
        case BinderyError():
            errors = [{"pointer": pointer, "detail": error.message}] if (pointer := _pointer(error)) else []
            return Problem(status_of(error), error.code, error.message, error.advice, errors, _retry_after(error))
        case exceptions.ValidationError():
            errors = list(_field_errors(error.detail))
            words = "; ".join(_sentence(each) for each in errors[:3])
            return Problem(400, "fields", words, "Correct the fields that `errors` names.", errors)
        case exceptions.Throttled():
            wait = math.ceil(getattr(error, "wait", None) or 1)
            detail = f"This caller has used up what it may ask; there is more in {wait} s."
            return Problem(429, "rate", detail, "Ask less often.", headers={"Retry-After": str(wait)})
        case exceptions.APIException():
            return _of_frame(error)
        case Http404() | ObjectDoesNotExist():
            return Problem(404, "not-found", "There is no such thing, or it is not yours to see.")
        case PermissionDenied():
            return Problem(403, "not-allowed", str(error) or "You may not do this.")
        case RequestDataTooBig():
            return Problem(413, "too-large", "The body is larger than what is read here.", "Send it in parts.")
        case SuspiciousOperation():
            return Problem(400, "malformed", "The request cannot be read.")
    return None


def _pointer(error: BinderyError) -> str:
    if isinstance(error, OptionRefused):
        return f"/options/{error.field}"
    return f"/{_FIELDS[error.code]}" if error.code in _FIELDS else ""


def _of_frame(error: exceptions.APIException) -> Problem:
    status = error.status_code
    headers = {"WWW-Authenticate": error.auth_header} if hasattr(error, "auth_header") else {}
    code = CODES.get(status, "error")
    own = error.get_codes()
    if isinstance(own, str) and own in _OWN_CODES:
        code = own
    return Problem(status, code, _words(error.detail), _ADVICE.get(status, ""), headers=headers)


def _retry_after(error: BinderyError) -> dict[str, str]:
    if not isinstance(error, AcmeRetry) or error.retry_at is None:
        return {}
    return {"Retry-After": str(max(1, math.ceil((error.retry_at - clock.now()).total_seconds())))}


def _field_errors(detail: Any, pointer: str = "") -> Iterator[dict[str, str]]:
    """DRF nests its messages as the body is nested."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            step = "" if name == "non_field_errors" else "/" + str(name).replace("~", "~0").replace("/", "~1")
            yield from _field_errors(inner, pointer + step)
    elif isinstance(detail, list | tuple):
        for number, inner in enumerate(detail):
            nested = isinstance(inner, Mapping | list | tuple)
            if inner:
                yield from _field_errors(inner, f"{pointer}/{number}" if nested else pointer)
    else:
        yield {"pointer": pointer, "detail": str(detail)[:500]}


def _sentence(error: Mapping[str, str]) -> str:
    return f"{error['pointer'].lstrip('/')}: {error['detail']}" if error["pointer"] else error["detail"]


def _words(detail: Any) -> str:
    return str(detail[0] if isinstance(detail, list) and detail else detail)[:500]
