import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.domain.urls import url_split


@given(st.text())
def test_any_text_can_be_asked_for_its_parts(text: str) -> None:
    assert isinstance(url_split(text).scheme, str)


@pytest.mark.parametrize("text", ["http://[", "https://[::1", "http://a]b/", "//[x]/"])
def test_what_cannot_be_split_has_no_parts(text: str) -> None:
    assert not url_split(text).hostname


def test_what_can_be_split_is() -> None:
    parts = url_split("https://ca.example:9000/directory")
    assert (parts.scheme, parts.hostname, parts.port) == ("https", "ca.example", 9000)
