"""Bodies that are made to hurt: each is refused in one sentence, and soon."""

import time

import pytest

from certs.api.parsing import BODY_LIMIT, DEPTH_LIMIT, json_read
from certs.api.problems import Refusal

_MANY = ",".join(f'"{number}":0' for number in range(50_000))
HURTING = {
    "deep": b"[" * BODY_LIMIT,
    "deep objects": b'{"a":' * 300_000,
    "just too deep": b"[" * (DEPTH_LIMIT + 2) + b"]" * (DEPTH_LIMIT + 2),
    "many names, the last one twice": f'{{{_MANY},"49999":1}}'.encode(),
    "a number of a million digits": b"1" * 1_000_000,
    "a fraction without end": b"[1e999]",
    "not a number": b'{"a": NaN}',
    "endless": b"-Infinity",
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "overlong": b'{"a": "\xc0\xaf"}',
    "half a pair": b'{"a": "\\ud800"}',
    "half a pair as a name": b'{"\\udc00": 1}',
    "NUL": b'["\\u0000"]',
    "cut off": b'{"a": ["b", {"c',
    "two values": b"{}{}",
    "nothing": b" \n ",
    "quotes": b'"' * BODY_LIMIT,
    "backslashes": b'"' + b"\\" * (BODY_LIMIT - 1),
}


@pytest.mark.parametrize("name", HURTING)
def test_what_is_made_to_hurt_is_a_sentence_soon(name: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(Refusal) as refused:
        json_read(HURTING[name])
    assert time.perf_counter() - begun < 5  # on a busy machine; by the square it would be an hour
    assert refused.value.problem.status == 400
    assert len(refused.value.problem.detail) < 300
