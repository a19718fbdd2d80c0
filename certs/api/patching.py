"""JSON Merge Patch (RFC 7396) and JSON Patch (RFC 6902). Pure; what is given stays as it is."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from certs.domain.errors import ConflictError, InputError

OPERATIONS_LIMIT = 200
COPY_LIMIT = 1_000  # values in what one operation copies: of itself into itself, a document would double each time


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396 §2: null takes a member away, an object is merged, anything else takes the place."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def json_patch(document: Any, operations: Any) -> Any:
    """All of them or none. Raises InputError for what is no patch, ConflictError where it does not fit the document
    (code "patch"), or a `test` found something else (code "patch-test")."""
    if not isinstance(operations, list):
        raise _wrong("A JSON Patch is a list of operations.")
    if len(operations) > OPERATIONS_LIMIT:
        raise _wrong(f"The patch has {len(operations)} operations; at most {OPERATIONS_LIMIT} are carried out.")
    result = deepcopy(document)
    try:
        for number, operation in enumerate(operations):
            result = _apply(result, operation, number)
    except RecursionError as error:
        raise _wrong("The patch nests values too deeply.") from error
    return result


def _apply(document: Any, operation: Any, number: int) -> Any:
    if not isinstance(operation, dict):
        raise _wrong(f"Operation {number} is no object.")
    name = operation.get("op")
    apply = _OPERATIONS.get(name) if isinstance(name, str) else None
    if apply is None:
        raise _wrong(f"Operation {number}: “op” must be one of {', '.join(_OPERATIONS)}.")
    return apply(document, operation)


def _add(document: Any, operation: dict[str, Any]) -> Any:
    return _put(document, _pointer(operation, "path"), _value(operation), replace=False)


def _remove(document: Any, operation: dict[str, Any]) -> Any:
    path = _pointer(operation, "path")
    if not path:
        raise _misfit("The whole document cannot be removed.")
    parent, last = _parent(document, path)
    if isinstance(parent, list):
        del parent[_index(last, len(parent) - 1, path)]
    elif last in parent:
        del parent[last]
    else:
        raise _nothing(path)
    return document


def _replace(document: Any, operation: dict[str, Any]) -> Any:
    return _put(document, _pointer(operation, "path"), _value(operation), replace=True)


def _move(document: Any, operation: dict[str, Any]) -> Any:
    origin, path = _pointer(operation, "from"), _pointer(operation, "path")
    if path[: len(origin)] == origin and len(path) > len(origin):
        raise _misfit("Nothing can be moved into itself.")
    value = _get(document, origin)
    if origin == path:
        return document
    return _put(_remove(document, {"path": operation["from"]}), path, value, replace=False)


def _copy(document: Any, operation: dict[str, Any]) -> Any:
    value = _get(document, _pointer(operation, "from"))
    if _size(value) > COPY_LIMIT:
        raise _wrong(f"An operation copies more than {COPY_LIMIT} values.")
    return _put(document, _pointer(operation, "path"), value, replace=False)


def _test(document: Any, operation: dict[str, Any]) -> Any:
    path = _pointer(operation, "path")
    if not _same(_get(document, path), _value(operation)):
        raise ConflictError(
            f"The test of {operation['path'] or 'the document'} failed: it has another value.",
            advice="Read it again, then decide.",
            code="patch-test",
        )
    return document


_OPERATIONS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _put(document: Any, path: list[str], value: Any, *, replace: bool) -> Any:
    if not path:
        return deepcopy(value)
    parent, last = _parent(document, path)
    if isinstance(parent, list):
        if replace:
            parent[_index(last, len(parent) - 1, path)] = deepcopy(value)
        else:
            parent.insert(len(parent) if last == "-" else _index(last, len(parent), path), deepcopy(value))
    elif replace and last not in parent:
        raise _nothing(path)
    else:
        parent[last] = deepcopy(value)
    return document


def _get(document: Any, path: list[str]) -> Any:
    for step in path:
        document = _step(document, step, path)
    return document


def _parent(document: Any, path: list[str]) -> tuple[Any, str]:
    parent = _get(document, path[:-1])
    if not isinstance(parent, dict | list):
        raise _nothing(path)
    return parent, path[-1]


def _step(document: Any, step: str, path: list[str]) -> Any:
    if isinstance(document, list):
        return document[_index(step, len(document) - 1, path)]
    if isinstance(document, dict) and step in document:
        return document[step]
    raise _nothing(path)


def _index(step: str, highest: int, path: list[str]) -> int:
    """RFC 6901 §4: digits without a leading zero."""
    plain = step.isascii() and step.isdecimal() and (step == "0" or step[0] != "0") and len(step) < 10
    if not plain or int(step) > highest:
        raise _nothing(path)
    return int(step)


def _pointer(operation: dict[str, Any], name: str) -> list[str]:
    text = operation.get(name)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise _wrong(f"“{name}” must be a JSON Pointer such as /tags/0.")
    if any(mark not in "01" for mark in (part[:1] for part in text.split("~")[1:])) or text.endswith("~"):
        raise _wrong(f"“{name}” has a ~ that is neither ~0 nor ~1.")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise _wrong(f"“{operation['op']}” needs a “value”.")
    return operation["value"]


def _same(one: Any, other: Any) -> bool:
    """RFC 6902 §4.6: by type and value; true is no 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return bool(one == other)


def _size(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_size, inner))


def _wrong(message: str) -> InputError:
    return InputError(message, advice="See RFC 6902.", code="patch-form")


def _misfit(message: str) -> ConflictError:
    return ConflictError(message, advice="Read the document again.", code="patch")


def _nothing(path: list[str]) -> ConflictError:
    shown = "/" + "/".join(path)
    return _misfit(f"There is nothing at {shown[:200]}.")
