"""The OpenAPI 3.1 document: what each operation takes and answers, its conditions, and the problems it may tell."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from certs.api.names import COMPUTED

F = TypeVar("F", bound=Callable[..., Any])
PROBLEMS: Mapping[int, str] = {
    400: "The request cannot be used: not JSON, an unknown name, a value that does not fit",
    401: "No token, or one that is unknown, revoked or expired",
    403: "Who asks may not do this",
    404: "It is not there, or not theirs to see",
    405: "This address does not know the method",
    406: "Only JSON is given",
    409: "It collides with what is there",
    411: "The length of the body is missing",
    412: "It has changed since it was read (If-Match)",
    413: "The body is too large",
    415: "The form of the body is not known",
    422: "The Idempotency-Key was sent with another request before",
    428: "The portal wants If-Match",
    429: "Too many requests",
    502: "Another server (a CA, say) could not do it",
    503: "It cannot be done just now",
}
_ALWAYS = (400, 401, 403, 404, 405, 406, 429, 503)
_WITH_BODY = (409, 411, 413, 415, 422, 502)
_CHANGES = (409, 412, 428)
KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Chosen by you: the same key with the same request gets the same answer, for a day.",
)
IF_MATCH = OpenApiParameter("If-Match", str, OpenApiParameter.HEADER, description="The ETag you read.")
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match", str, OpenApiParameter.HEADER, description="The ETag you have; 304 where nothing changed."
)


class Described(AutoSchema):
    """Says of each operation which conditions its handler honours."""

    def get_override_parameters(self) -> list[Any]:
        given = list(super().get_override_parameters())
        if self.method == "POST":
            given.append(KEY)
        if getattr(self.view, "has_etag", False):
            given += {"PUT": [IF_MATCH], "PATCH": [IF_MATCH], "DELETE": [IF_MATCH], "GET": [IF_NONE_MATCH]}.get(
                self.method, []
            )
        return given


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself, untyped
    target_class = "certs.api.base.BearerToken"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An API token: `manage.py token create NAME --role ROLE`, or Configuration ➜ Tokens.",
        }


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself, untyped
    target_class = "certs.api.base.PageSession"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "__Host-bindery_session",
            "description": "Who is logged in on the pages; changes want the header X-CSRFToken too.",
        }


def operation(
    name: str,
    summary: str,
    *,
    answers: Mapping[Any, Any],
    body: Any = None,
    query: Any = None,
    path: Sequence[OpenApiParameter] = (),
    description: str = "",
    tag: str = "certificates",
    examples: Sequence[OpenApiExample] = (),
    example: Any = None,
) -> Callable[[F], F]:
    """On a handler. `answers` are serializers by status; None is an answer without a body. `example` is a body."""
    return extend_schema(
        operation_id=name,
        summary=summary,
        description=description,
        parameters=[*([query] if query else []), *path],
        request=body,
        responses={status: _answer(kind) for status, kind in answers.items()},
        tags=[tag],
        examples=[*examples, *([OpenApiExample(summary, value=example, request_only=True)] if example else [])],
    )


def _answer(kind: Any) -> Any:
    if kind is None:
        return OpenApiResponse(description="Done; there is nothing to say.")
    return kind


def only_the_api(endpoints: list[Any]) -> list[Any]:
    """A hook of drf-spectacular."""
    return [each for each in endpoints if each[0].startswith("/api/")]


def problems_add(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """A hook of drf-spectacular: every operation's problems, and no name in a body that is not known."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = _PROBLEM
    components["responses"] = {f"Problem{status}": _problem(status, text) for status, text in PROBLEMS.items()}
    for item in result["paths"].values():
        for method, each in item.items():
            _complete(method, each)
    for name, schema in components["schemas"].items():
        if name.endswith("Request") and schema.get("type") == "object":
            schema["additionalProperties"] = False
    given = components["schemas"]["CertificateRequest"]["properties"]
    given |= {name: {"description": "Computed: may be sent, and is not looked at."} for name in sorted(COMPUTED)}
    return {name: _without_marks(value) for name, value in result.items()}


def _complete(method: str, each: dict[str, Any]) -> None:
    statuses = set(_ALWAYS)
    if method in {"post", "put", "patch"}:
        statuses |= set(_WITH_BODY)
    if method in {"put", "patch", "delete"}:
        statuses |= set(_CHANGES)
    answers = each["responses"]
    for status in sorted(statuses):
        answers.setdefault(str(status), {"$ref": f"#/components/responses/Problem{status}"})
    if method == "get" and any(one.get("name") == "If-None-Match" for one in each.get("parameters", ())):
        answers["304"] = {"description": "Nothing has changed."}
    for status, answer in answers.items():
        if "$ref" not in answer:
            answer["description"] = answer.get("description") or HTTPStatus(int(status)).phrase
            if status in {"201", "202"}:
                answer["headers"] = {"Location": {"schema": {"type": "string"}}}
    each["responses"] = dict(sorted(answers.items()))
    if "requestBody" in each:
        each["requestBody"]["required"] = each["operationId"] not in _BODY_OPTIONAL


def _without_marks(value: Any) -> Any:
    """The library's own marks for enumerations mean nothing to readers."""
    if isinstance(value, dict):
        return {name: _without_marks(inner) for name, inner in value.items() if name != "x-spec-enum-id"}
    return [_without_marks(inner) for inner in value] if isinstance(value, list) else value


_BODY_OPTIONAL = frozenset({"certificate_renew", "certificate_renew_many"})


def _problem(status: int, text: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": text + ".",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status == 429:
        found["headers"] = {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds."}}
    return found


_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "code", "detail", "advice", "quote"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string", "description": "The kind of failure."},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable, for programs."},
        "detail": {"type": "string", "description": "This case, for people."},
        "advice": {"type": "string", "description": "What to do next."},
        "quote": {"type": "string", "description": "The id under which the portal's log knows it."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON Pointer of the field at fault."},
                    "detail": {"type": "string"},
                },
            },
        },
    },
    "examples": [
        {
            "type": "urn:bindery:problem:pair",
            "title": "The request cannot be used as it is.",
            "status": 400,
            "code": "pair",
            "detail": "The key does not belong to this certificate.",
            "advice": "Give the key that the certificate was requested with.",
            "quote": "5f0c2a91",
        }
    ],
}
