"""Bodies as they may be: JSON without surprises, two kinds of patches, files. Everything else is a clear 400."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import IO, Any

from django.http import HttpRequest
from rest_framework.parsers import BaseParser, MultiPartParser

from certs.api.problems import refuse

BODY_LIMIT = 2 * 1024 * 1024  # bytes of JSON; Django's own limit is the same
FILE_LIMIT = 8 * 1024 * 1024  # bytes of a body that brings files
DEPTH_LIMIT = 32
_LONGEST_NUMBER = 20  # digits: more than any number of ours has

MERGE_PATCH, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"


class StrictJson(BaseParser):
    """UTF-8, no key twice, no NaN, no NUL, no lone surrogate, at most DEPTH_LIMIT deep (RFC 8259, RFC 7493)."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        return json_read(stream.read())


class MergePatch(StrictJson):
    media_type = MERGE_PATCH


class JsonPatch(StrictJson):
    media_type = JSON_PATCH


class Files(MultiPartParser):
    """multipart/form-data, for key stores and bundles as they lie on disk."""


def json_read(data: bytes) -> Any:
    """Raises Refusal, 400."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _malformed(f"The body is not UTF-8: byte {error.start} cannot be read.") from error
    if not text.strip():
        raise _malformed("The body is empty.")
    try:
        found = json.loads(
            text, object_pairs_hook=_once, parse_constant=_constant, parse_int=_integer, parse_float=_float
        )
    except RecursionError as error:
        raise _malformed("The body is nested too deeply.") from error
    except json.JSONDecodeError as error:
        raise _malformed(f"The body is no JSON: {error.msg} in line {error.lineno}, column {error.colno}.") from error
    json_check(found)
    return found


def json_check(value: Any) -> None:
    """Of a value that was read, or that a patch made. Raises Refusal, 400."""
    _check(value, 0)


def length_check(request: HttpRequest) -> None:
    """Before anything is read. Raises Refusal: 413, or 411 where the length is not said (we read no chunks)."""
    given = request.META.get("CONTENT_LENGTH") or ""
    if not given and request.META.get("HTTP_TRANSFER_ENCODING"):
        raise refuse(411, "length", "The request does not say how long its body is.", advice="Send Content-Length.")
    has_files = (request.META.get("CONTENT_TYPE") or "").startswith("multipart/")
    limit = FILE_LIMIT if has_files else BODY_LIMIT
    if given.isdecimal() and int(given) > limit:
        raise refuse(
            413, "too-large", f"The body has {given} bytes; at most {limit} are read.", advice="Send it in parts."
        )


def _malformed(detail: str) -> Exception:
    return refuse(400, "malformed", detail, advice="Send one JSON value in UTF-8.")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise _malformed(f"The body has the name “{twice[:60]}” twice.")
    return found


def _constant(word: str) -> float:
    raise _malformed(f"{word} is no JSON.")


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise _malformed(f"The body has a number of {len(text)} digits.")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _malformed("The body has a number that is too large.")
    return number


def _check(value: Any, depth: int) -> None:
    if depth > DEPTH_LIMIT:
        raise _malformed(f"The body is nested deeper than {DEPTH_LIMIT}.")
    if isinstance(value, str):
        _text(value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            _text(name)
            _check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth + 1)


def _text(value: str) -> None:
    if "\0" in value:
        raise _malformed("The body has a text with the character NUL in it.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _malformed("The body has half of a surrogate pair, which is no text.") from error
