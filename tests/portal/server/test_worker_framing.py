"""How long a request is collected before a thread gets it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.server.framing import BODY_LIMIT, WHOLE_BODY_LIMIT, Framing, framing_of

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n", None),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing(27, 27)),
        (b"\r\nGET / HTTP/1.1\r\n\r\n", Framing(20, 20)),
        (b"\r\n", None),
        (b"\r\n\r\n", None),
        (HEAD + b"Content-Length: 5\r\n\r\n", Framing(47, 52)),
        (HEAD + b"content-LENGTH:\t5 \r\n\r\nab", Framing(48, 53)),
        (HEAD + b"Content-Length: x\r\n\r\n", Framing(47, 47)),
        (HEAD + b"Content-Length: -1\r\n\r\n", Framing(48, 48)),
        (HEAD + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n", Framing(86, 86)),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", Framing(56, None)),
        (HEAD + b"X: Content-Length: 5\r\n\r\n", Framing(50, 50)),
        (HEAD + b"Content-Length: 5\r\nExpect: 100-Continue\r\n\r\n", Framing(69, 74, expects_continue=True)),
        (b"GET / HTTP/1.1\nHost: a\n\n", Framing(24, 24)),
    ],
)
def test_frame(data: bytes, expected: Framing | None) -> None:
    assert framing_of(bytearray(data)) == expected


def test_large_bodies_are_told_apart() -> None:
    def of(length: int) -> Framing:
        found = framing_of(bytearray(HEAD + f"Content-Length: {length}\r\n\r\n".encode()))
        assert found is not None
        return found

    assert of(WHOLE_BODY_LIMIT).is_whole_soon
    assert not of(WHOLE_BODY_LIMIT + 1).is_whole_soon
    assert not of(BODY_LIMIT).is_too_large
    assert of(BODY_LIMIT + 1).is_too_large


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_a_dripped_head_is_found_as_soon_as_it_is_whole(pieces: list[int]) -> None:
    whole = HEAD + b"Content-Length: 3\r\n\r\n"
    data, searched, position, index = bytearray(), 0, 0, 0
    while position < len(whole):
        step = pieces[index % len(pieces)]
        data += whole[position : position + step]
        position, index = position + step, index + 1
        found = framing_of(data, searched)
        assert (found is not None) == (position >= len(whole))
        searched = len(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_judged(data: bytes) -> None:
    found = framing_of(bytearray(data))
    assert found is None or found.head <= len(data)
