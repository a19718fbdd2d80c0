import pytest

from certs.domain.errors import BinderyError


@pytest.mark.parametrize(
    ("message", "advice", "said"),
    [
        ("It failed.", "Try again.", "It failed. Try again."),
        ("connect: connection refused", "Look at port 80.", "connect: connection refused. Look at port 80."),
        ("connect: connection refused", "", "connect: connection refused"),
        ("Is it up?", "Look.", "Is it up? Look."),
    ],
)
def test_message_and_advice_stay_two_sentences(message: str, advice: str, said: str) -> None:
    assert str(BinderyError(message, advice=advice)) == said
