"""One rule for all commands: 2 is argparse's, for words it cannot read; what a command refuses or fails at is 4."""

from pathlib import Path

import pytest
from django.db import DatabaseError

from certs.domain.errors import InputError
from certs.management.base import FAILED, INTERRUPTED, BinderyCommand
from tests.commands.running import run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("worker")]

PLACE = Path(__file__).parents[2] / "certs" / "management" / "commands"
EVERY = sorted(file.stem for file in PLACE.glob("*.py") if file.stem != "__init__")
# What each command refuses of itself. The others take no words of which anything could be wrong.
REFUSED = {
    "accounts": [("contacts", "nobody", "--email", "a@example.com"), ("register", "nothing")],
    "allow_host": [("http://x/",)],
    "backup": [("/",)],
    "ca": [
        ("show", "Nothing"),
        ("create", "Root"),  # nobody has confirmed where it publishes
        ("import", "/nothing.pem", "/nothing.key"),
        ("issue", "Nothing", "a.example"),
        ("address", "https://pki.example.com"),
    ],
    "cancel": [("nothing.example",)],
    "certs": [
        ("list", "--expires-before", "soon"),
        ("show", "nothing.example"),
        ("import",),
        ("import", "/nothing.pem"),
        ("import", "--certbot", "/nothing"),
        ("issue", "a.example", "--ca", "Nothing"),
        ("export", "nothing.example", "leaf"),
        ("export", "nothing.example", "pigeon"),
        ("renew", "nothing.example"),
        ("revoke", "nothing.example"),
        ("verify",),
        ("tag", "nothing.example"),
        ("delete", "nothing.example"),
        ("restore", "nothing.example"),
    ],
    "challenge_methods": [("delete", "Nothing"), ("add", "X", "--kind", "pigeon")],
    "channels": [("test", "Nobody"), ("add", "X", "--kind", "pigeon")],
    "export_certificates": [(), ("--on", "--mode", "0666")],
    "issue": [(), ("http://a.example",), ("a.example", "--fallback", "nothing")],
    "limits": [("nothing",), ("letsencrypt", "--set", "x"), ("--reset",)],
    "on_demand": [("--add", "not a name"), ("--drop", "a.example")],
    "rehearse": [("nothing.example",)],
    "renew": [(), ("nothing.example",), ("nothing.example", "--all")],
    "revoke": [("nothing.example",)],
    "tls": [
        ("show", "nothing"),
        ("discover", "nothing"),
        ("add", "nginx", "--name", " ", "--connection_type", "local"),
    ],
    "tls_in_front": [("--trust", "not-an-address"), ("--drop", "192.0.2.1")],
    "token": [("create", "X", "--role", "king"), ("create", " ", "--role", "viewer"), ("revoke", "nothing")],
    "up": [("--on-demand-host", "a.example"), ("--hostnames", "http://x", "--accept-le-sa")],
}
WORDLESS = {
    "alarms",
    "break_glass",
    "check_certificates",
    "doctor",
    "migrate",
    "new_secrets",
    "setup_link",
    "take_over",
}


def test_no_command_is_forgotten() -> None:
    assert sorted({*REFUSED, *WORDLESS}) == EVERY


@pytest.mark.parametrize("words", [(name, *words) for name, tries in REFUSED.items() for words in tries])
def test_what_is_refused_ends_with_four_and_one_sentence(words: tuple[str, ...]) -> None:
    ran = run(*words)
    assert ran.code == FAILED == 4, ran
    assert ran.err.startswith("bindery: "), ran
    assert ran.err.count("\n") == 1, ran


@pytest.mark.parametrize("name", EVERY)
def test_words_that_nobody_knows_end_with_two(name: str) -> None:
    assert run(name, "--nonsense").code == 2


@pytest.mark.parametrize(
    ("error", "code"), [(InputError("No."), 4), (DatabaseError("away"), 4), (KeyboardInterrupt(), INTERRUPTED)]
)
@pytest.mark.parametrize("name", EVERY)
def test_every_command_ends_alike(name: str, error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.core.management import load_command_class

    command = load_command_class("certs", name)
    assert isinstance(command, BinderyCommand)

    def run(**_: object) -> None:
        raise error

    monkeypatch.setattr(command, "run", run)
    with pytest.raises(SystemExit) as end:
        command.handle()
    assert end.value.code == code
