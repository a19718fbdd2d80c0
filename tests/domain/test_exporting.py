"""Names on the disk."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.domain.exporting import GENERATION, directory_name, generation_name


@pytest.mark.parametrize(
    ("name", "directory"),
    [
        ("www.example.com", "www.example.com"),
        ("*.example.com", "_wildcard.example.com"),
        ("WWW.Example.com", "www.example.com"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", "certificate"),
        (".lock", "lock"),
        ("", "certificate"),
        ("Mail & more", "mail_more"),
        ("2001:db8::1", "2001_db8_1"),
        ("a\x00b\nc", "a_b_c"),
    ],
)
def test_a_name_becomes_the_name_of_a_directory(name: str, directory: str) -> None:
    assert directory_name(name) == directory


@given(st.text())
def test_no_name_whatever_leads_elsewhere(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9_][a-z0-9._-]{0,99}", directory_name(name))


def test_generations_sort_by_age() -> None:
    older = generation_name(datetime(2026, 9, 1, 12, tzinfo=UTC), "FF" * 32)
    newer = generation_name(datetime(2026, 11, 1, tzinfo=UTC), "00" * 32)
    assert older < newer
    assert older == "20260901120000-ffffffffffff"
    assert GENERATION.fullmatch(older)
    assert GENERATION.fullmatch(f"{older}.2")
