import pytest
from django.core.management import call_command

from certs.services.portal_state import state_get

pytestmark = pytest.mark.django_db


def test_it_adds_takes_back_and_lists(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("allow_host", "portal.example.com", "192.0.2.7")
    assert state_get().extra_hosts == ["192.0.2.7", "portal.example.com"]
    call_command("allow_host", "--remove", "192.0.2.7")
    call_command("allow_host")
    lines = capsys.readouterr().out.splitlines()
    assert "portal.example.com" in lines
    assert "localhost" in lines
    assert "192.0.2.7" not in lines


@pytest.mark.parametrize("words", [["https://x.example"], ["--remove", "never.added.example"], [""]])
def test_bad_input_is_one_sentence_and_an_exit_code(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        call_command("allow_host", *words)
    assert end.value.code == 4
    assert capsys.readouterr().err.startswith("bindery: ")
    assert state_get().extra_hosts == []
