import json
import logging
from collections.abc import Callable
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal import logs


@pytest.mark.parametrize(
    "line",
    [
        "-----BEGIN PRIVATE KEY-----\nMIIsecret\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nMIIsecret cut off",
        "login with password=MIIsecret&next=/",
        'body {"password": "MIIsecret"}',
        "GET /setup/MIIsecretMIIsecretMIIsecretMIIsecret/ 200",
        "HTTPS_PROXY=http://operator:MIIsecret@proxy:3128 cannot be used",
        "GET /session/MIIsecretMIIsecretMIIsecretMIIsecret/ 302",
    ],
)
def test_secrets_are_masked(line: str) -> None:
    assert "MIIsecret" not in logs.mask(line)
    assert logs.MASK in logs.mask(line)


@given(st.text())
def test_masking_takes_any_text(text: str) -> None:
    assert isinstance(logs.mask(text), str)


def logged(style: str, act: Callable[[], None]) -> str:
    logs.configure("info", style)
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    stream = StringIO()
    handler.setStream(stream)
    act()
    logs.configure("info", "text")
    return stream.getvalue()


def test_json_lines_carry_level_logger_job_and_extra_fields() -> None:
    def act() -> None:
        with logs.job("1234"):
            logging.getLogger("bindery.x").warning("Hello %s", "there", extra={"step": "order", "token": "abc"})

    line = json.loads(logged("json", act))
    assert line["event"] == "Hello there"
    assert (line["level"], line["logger"], line["job"], line["step"]) == ("warning", "bindery.x", "1234", "order")
    assert line["token"] == logs.MASK
    assert line["pid"]


def test_text_lines_show_the_exception_and_no_job_outside_of_one() -> None:
    def act() -> None:
        try:
            raise ValueError("broken")
        except ValueError:
            logging.getLogger("bindery.x").exception("It failed")

    text = logged("text", act)
    assert "It failed" in text
    assert "ValueError: broken" in text
    assert "job=" not in text
