"""Merge patches and JSON Patches: the examples of the RFCs, and what must hold of any."""

import time
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certs.api.patching import COPY_LIMIT, OPERATIONS_LIMIT, json_patch, merge_patch
from certs.domain.errors import BinderyError, ConflictError, InputError

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine

scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab/~0", max_size=3)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3)
)
objects = st.dictionaries(st.text("ab/~", max_size=2), values, max_size=4)
anything = st.recursive(
    scalars | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)

# RFC 7396, appendix A.
MERGES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]

# RFC 6902, appendix A.
PATCHES: list[tuple[Any, list[dict[str, Any]], Any]] = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    ({"foo": ["a", "c"]}, [{"op": "add", "path": "/foo/1", "value": "b"}], {"foo": ["a", "b", "c"]}),
    ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ({"foo": ["a", "b", "c"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["a", "c"]}),
    ({"baz": "q"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
    (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    ({"baz": "q", "foo": ["a", 2]}, [{"op": "test", "path": "/foo/1", "value": 2}], {"baz": "q", "foo": ["a", 2]}),
    ({"foo": "bar"}, [{"op": "add", "path": "/child", "value": {"g": {}}}], {"foo": "bar", "child": {"g": {}}}),
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": 1, "xyz": 123}], {"foo": "bar", "baz": 1}),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc"]}], {"foo": ["bar", ["abc"]]}),
]

REFUSED: list[tuple[Any, Any, type[BinderyError], str]] = [
    ({"baz": "qux"}, [{"op": "test", "path": "/baz", "value": "bar"}], ConflictError, "patch-test"),
    ({"foo": "bar"}, [{"op": "add", "path": "/baz/bat", "value": "qux"}], ConflictError, "patch"),
    ({"~1": 10}, [{"op": "test", "path": "/~01", "value": "10"}], ConflictError, "patch-test"),
    ({"a": 1}, [{"op": "test", "path": "/a", "value": True}], ConflictError, "patch-test"),
    ({"a": [1]}, [{"op": "add", "path": "/a/01", "value": 1}], ConflictError, "patch"),
    ({"a": [1]}, [{"op": "add", "path": "/a/2", "value": 1}], ConflictError, "patch"),
    ({"a": [1]}, [{"op": "remove", "path": "/a/-"}], ConflictError, "patch"),
    ({"a": {}}, [{"op": "move", "from": "/a", "path": "/a/b"}], ConflictError, "patch"),
    ({"a": 1}, [{"op": "replace", "path": "/b", "value": 1}], ConflictError, "patch"),
    ({"a": 1}, [{"op": "remove", "path": ""}], ConflictError, "patch"),
    ({"a": 1}, [{"op": "add", "path": "/b"}], InputError, "patch-form"),
    ({"a": 1}, [{"op": "add", "path": "b", "value": 1}], InputError, "patch-form"),
    ({"a": 1}, [{"op": "add", "path": "/~2", "value": 1}], InputError, "patch-form"),
    ({"a": 1}, [{"op": "merge", "path": "/a", "value": 1}], InputError, "patch-form"),
    ({"a": 1}, [{"op": ["add"], "path": "/a", "value": 1}], InputError, "patch-form"),
    ({"a": 1}, {"op": "add", "path": "/a", "value": 1}, InputError, "patch-form"),
    ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}] * 201, InputError, "patch-form"),
]


@pytest.mark.parametrize(("target", "patch", "result"), MERGES)
def test_merge_patches_as_the_standard_shows_them(target: Any, patch: Any, result: Any) -> None:
    before = deepcopy(target)
    assert merge_patch(target, patch) == result
    assert target == before


@pytest.mark.parametrize(("document", "operations", "result"), PATCHES)
def test_json_patches_as_the_standard_shows_them(document: Any, operations: Any, result: Any) -> None:
    before = deepcopy(document)
    assert json_patch(document, operations) == result
    assert document == before


@pytest.mark.parametrize(("document", "operations", "kind", "code"), REFUSED)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    document: Any, operations: Any, kind: type[BinderyError], code: str
) -> None:
    before = deepcopy(document)
    with pytest.raises(kind) as refused:
        json_patch(document, operations)
    assert refused.value.code == code
    assert document == before


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "copy", "from": "", "path": "/a/-"}] * 200,
        [{"op": "copy", "from": "/a", "path": "/a/-"}] * 200,
        [{"op": "add", "path": "/a/0" * n, "value": [[]]} for n in range(1, 200)],
    ],
)
def test_a_patch_that_grows_without_end_is_stopped_at_once(operations: Any) -> None:
    with pytest.raises(BinderyError):
        json_patch({"a": [1]}, operations)


def without_null(value: Any) -> Any:
    """What a merge patch can say at all."""
    if isinstance(value, dict):
        return {name: without_null(inner) for name, inner in value.items() if inner is not None}
    return value


@QUICK
@given(objects, objects)
def test_a_merge_patch_twice_is_the_same_as_once_and_leads_from_anything_to_anything(a: Any, b: Any) -> None:
    once = merge_patch(a, b)
    assert merge_patch(once, b) == once
    difference = dict.fromkeys(a) | without_null(b)
    if not any(isinstance(value, dict) for value in b.values()):
        assert merge_patch(a, difference) == without_null(b)


@QUICK
@given(objects, objects)
def test_a_patch_that_replaces_everything_gives_exactly_that(a: Any, b: Any) -> None:
    escaped = {name: name.replace("~", "~0").replace("/", "~1") for name in [*a, *b]}
    remove = [{"op": "remove", "path": f"/{escaped[name]}"} for name in a]
    add = [{"op": "add", "path": f"/{escaped[name]}", "value": value} for name, value in b.items()]
    test = [{"op": "test", "path": f"/{escaped[name]}", "value": value} for name, value in b.items()]
    assert json_patch(a, remove + add + test) == b


@QUICK
@given(
    anything,
    anything,
    st.lists(st.dictionaries(st.sampled_from(["op", "path", "from", "value"]), anything), max_size=3),
)
def test_no_patch_whatever_it_holds_does_more_than_be_refused(document: Any, patch: Any, operations: Any) -> None:
    merge_patch(document, patch)
    for each in (patch, operations):
        with suppress(BinderyError):
            json_patch(document, each)


@QUICK
@given(
    objects,
    st.lists(
        st.fixed_dictionaries(
            {
                "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
                "path": st.sampled_from(["", "/", "/a", "/b", "/a/0", "/a/-", "/a/b", "/~0", "/~1"]),
                "from": st.sampled_from(["", "/", "/a", "/b", "/a/0", "/a/b"]),
                "value": values,
            }
        ),
        max_size=5,
    ),
)
def test_a_patch_is_carried_out_whole_or_not_at_all(document: Any, operations: Any) -> None:
    before = deepcopy(document)
    try:
        result = json_patch(document, operations)
    except BinderyError:
        pass
    else:
        assert json_patch(document, operations) == result  # the document was left alone
    assert document == before


def test_a_patch_that_copies_a_lot_ends_in_good_time() -> None:
    """Each operation within its limit, and as many of them as are carried out."""
    begun = time.perf_counter()
    large = [{"op": "add", "path": "/a", "value": dict.fromkeys(map(str, range(COPY_LIMIT - 1)), 0)}]
    copies = [{"op": "copy", "from": "/a", "path": f"/{number}"} for number in range(OPERATIONS_LIMIT - 1)]
    assert len(json_patch({}, large + copies)) == OPERATIONS_LIMIT
    assert time.perf_counter() - begun < 3
    with pytest.raises(InputError, match="copies more than"):
        json_patch({"a": [0] * COPY_LIMIT}, [{"op": "copy", "from": "/a", "path": "/b"}])
