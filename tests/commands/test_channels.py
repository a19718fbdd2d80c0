"""Channels and alarms from the shell."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from certs.domain.alarms import Level, Trouble
from certs.models import Channel
from certs.services.alarms import alarm_raise
from tests.commands.running import run
from tests.harness.hook import HookServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def hook() -> Iterator[HookServer]:
    with HookServer() as running:
        yield running


def test_set_up_tested_changed_and_deleted(hook: HookServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Nobody is told" in run("channels").out
    (tmp_path / "url").write_text(f"{hook.url}\n")
    made = run("channels", "add", "Chat", "--kind=webhook", f"--set-file=url={tmp_path / 'url'}", "--allow-private")
    assert (made.code, "Chat is set up" in made.out) == (0, True)
    assert "Chat: the server answered: 200 ok" in run("channels", "test", "Chat").out
    assert "Chat (webhook, on): the server said: 200 ok" in run("channels", "list").out
    monkeypatch.setattr("sys.stdin", StringIO("shared"))
    assert run("channels", "change", "Chat", "--set-file=secret=-").code == 0
    run("channels", "test", "Chat")
    assert "x-bindery-signature" in hook.received[1].headers
    hook.status, hook.answer = 403, b"not you"
    refused = run("channels", "test", "Chat")
    assert refused.code == 4
    assert "403 not you" in refused.err
    assert run("channels", "off", "Chat").code == 0
    assert not Channel.objects.get().enabled
    assert run("channels", "on", "Chat").code == 0
    private = run("channels", "change", "Chat", "--no-allow-private")
    assert "https://" in private.err  # plain HTTP is for one's own network
    assert run("channels", "delete", "Chat").code == 0
    assert not Channel.objects.exists()


def test_the_kinds_tell_their_options() -> None:
    said = run("channels", "kinds").out
    assert "mail: Mail" in said
    said = run("channels", "kinds", "mail").out
    assert "server: Mail server (needed)." in said
    assert "password: Password (secret)." in said
    assert "One of starttls, tls, none." in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["add", "X", "--kind=webhook", "--set=url=https://x/secret"], "url is a secret"),
        (["test", "Nobody"], "No channel is called “Nobody”."),
        (["add", "X", "--set=server"], "has no value"),
        (["add", "X", "--set=sever=x"], "There is no option “sever”."),
        (["add", "X", "--set=server=x"], "From is needed."),
        (["add", "X", "--kind=pigeon"], "There is no channel “pigeon”"),
        (["add", "X", "--set-file=password=/nowhere/at/all"], "cannot be read"),
    ],
)
def test_what_cannot_be_is_one_sentence(words: list[str], sentence: str) -> None:
    ran = run("channels", *words)
    assert ran.code == 4
    assert sentence in ran.err


def test_two_channels_never_share_a_name() -> None:
    given = ["--set=server=mail.example.com", "--set=sender=a@example.com", "--set=to=b@example.com"]
    assert run("channels", "add", "Ops", *given).code == 0
    assert "There is a channel called “Ops”." in run("channels", "add", "Ops", *given).err


def test_open_alarms_are_listed_with_an_exit_code(hook: HookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("alarms").code == 0
    alarm_raise(Trouble("expiry:1", Level.NOTICE, "a.example: its renewal fails", "The CA is away."))
    alarm_raise(Trouble("expiry:2", Level.OUTAGE, "b.example: expired", "It is over."))
    ran = run("alarms")
    assert ran.code == 3
    assert ran.out.index("OUTAGE: b.example: expired") < ran.out.index("NOTICE: a.example: its renewal fails")
    document = run("alarms", "--json").json
    assert [row["severity"] for row in document] == ["outage", "notice"]  # type: ignore[index, attr-defined]
    monkeypatch.setenv("CHAT", hook.url)
    run("channels", "add", "Chat", "--kind=webhook", "--set-file=url=env:CHAT", "--allow-private")
    assert "1 message sent." in run("alarms", "--deliver", "--seen").err
    assert len(hook.received) == 1
    assert all(row["seen_at"] for row in run("alarms", "--json").json)  # type: ignore[index]
