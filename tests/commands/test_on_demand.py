"""manage.py on_demand."""

from collections.abc import Callable

import pytest

from certs.services.portal_state import state_get
from tests import stock
from tests.commands.running import run

pytestmark = pytest.mark.django_db


def test_it_shows_and_changes_what_the_page_does() -> None:
    account = stock.account()
    assert "On demand is off." in run("on_demand").out
    refused = run("on_demand", "--on", "--add", "a.example.com")
    assert refused.code != 0
    assert "terms of service" in refused.err
    done = run(
        "on_demand", "--on", "--add", "A.example.com", "--add", "*.b.example.com", "--directory", stock.DIRECTORY
    )
    assert done.code == 0
    assert "On demand is on.\nNames: *.b.example.com, a.example.com" in done.out
    state = state_get()
    assert (state.on_demand, state.on_demand_account) == (True, account)
    assert "Names: *.b.example.com\n" in run("on_demand", "--drop", "a.example.com").out
    assert run("on_demand", "--drop", "a.example.com").code != 0
    assert "On demand is off." in run("on_demand", "--off").out
    assert state_get().on_demand_hosts == ["*.b.example.com"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--add", "192.0.2.7"], "IP address"),
        (["--directory", "https://nowhere.example/dir"], "no such account"),
        (["--email", "x@example.com"], "no such account"),
    ],
)
def test_what_cannot_be_changes_nothing(words: list[str], said: str) -> None:
    stock.account()
    ran = run("on_demand", "--on", *words)
    assert ran.code != 0
    assert said in ran.err
    assert not state_get().on_demand


def test_in_a_container_without_a_volume_it_wants_a_word(in_container: Callable[..., None]) -> None:
    stock.account()
    in_container()
    words = ["on_demand", "--on", "--add", "a.example.com", "--directory", stock.DIRECTORY]
    refused = run(*words)
    assert refused.code != 0
    assert "add --without-volume" in refused.err
    assert not state_get().on_demand
    assert run(*words, "--without-volume").code == 0
    assert state_get().on_demand
