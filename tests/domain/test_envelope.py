import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.domain.envelope import KeyRing, seal, unseal
from certs.domain.errors import SecretError

RING = KeyRing("a", {"a": b"1" * 32, "b": b"2" * 32})


@given(st.binary(max_size=5000), st.text(max_size=30), st.text(max_size=40))
def test_what_was_sealed_opens_again(secret: bytes, purpose: str, uid: str) -> None:
    assert unseal(RING, purpose, uid, seal(RING, purpose, uid, secret)) == secret


def test_two_seals_of_one_secret_differ() -> None:
    assert seal(RING, "p", "u", b"x") != seal(RING, "p", "u", b"x")


@pytest.mark.parametrize(("purpose", "uid"), [("other", "u"), ("p", "other")])
def test_a_secret_cannot_be_moved_to_another_row(purpose: str, uid: str) -> None:
    with pytest.raises(SecretError, match="altered"):
        unseal(RING, purpose, uid, seal(RING, "p", "u", b"x"))


def test_another_key_under_the_same_id_does_not_open_it() -> None:
    with pytest.raises(SecretError):
        unseal(KeyRing("a", {"a": b"9" * 32}), "p", "u", seal(RING, "p", "u", b"x"))


def test_a_ring_without_the_key_says_which_is_missing() -> None:
    with pytest.raises(SecretError, match="'a'"):
        unseal(KeyRing("b", {"b": b"2" * 32}), "p", "u", seal(RING, "p", "u", b"x"))


def test_the_key_id_is_authenticated() -> None:
    document = json.loads(seal(RING, "p", "u", b"x"))
    with pytest.raises(SecretError):
        unseal(KeyRing("a", {"b": RING.keys["a"], "a": b"3" * 32}), "p", "u", json.dumps({**document, "kek": "b"}))


@given(st.text())
def test_garbage_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(SecretError):
        unseal(RING, "p", "u", text)


@pytest.mark.parametrize("field", ["wrap", "data"])
@pytest.mark.parametrize("value", ["", "AAAA", "not base64!", None, 7])
def test_damaged_parts_are_refused(field: str, value: object) -> None:
    document = json.loads(seal(RING, "p", "u", b"x"))
    with pytest.raises(SecretError):
        unseal(RING, "p", "u", json.dumps({**document, field: value}))


def test_an_unknown_format_is_named() -> None:
    document = json.loads(seal(RING, "p", "u", b"x"))
    with pytest.raises(SecretError, match="format 2"):
        unseal(RING, "p", "u", json.dumps({**document, "v": 2}))


def test_a_ring_reads_what_it_wrote() -> None:
    ring = KeyRing.generate()
    assert KeyRing.from_json(ring.to_json()) == ring
