"""Configuration ➜ Notifications, and the alarms of Activity."""

import uuid
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import reverse

from certs.domain.alarms import Level, Trouble
from certs.models import Alarm, Channel
from certs.services.alarm_delivery import alarms_deliver
from certs.services.alarms import alarm_clear, alarm_raise
from certs.services.channels import channel_create
from tests.harness.hook import HookServer
from tests.harness.mail import PASSWORD, MailServer

PAGE = "/configuration/notifications/"
ALARMS = "/activity/alarms/"


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer(log_in=True) as running:
        yield running


@pytest.fixture
def hook() -> Iterator[HookServer]:
    with HookServer() as running:
        yield running


def text(client: Client, path: str = PAGE) -> str:
    return client.get(path).content.decode()


def chat(hook: HookServer) -> Channel:
    return channel_create("webhook", name="Chat", values={"url": hook.url}, allow_private=True, actor="test")


def trouble(number: int = 1, level: Level = Level.WARNING) -> Trouble:
    return Trouble(f"expiry:{number}", level, f"n{number}.example: its renewal fails", "The CA <is> away.", path="/x/")


def test_a_mail_channel_is_set_up_tested_and_changed_without_its_password_coming_back(
    client: Client, mail: MailServer
) -> None:
    assert "Nobody is told of alarms." in text(client)
    new = reverse("channel-new", args=["mail"])
    assert "It may be on a private address" in text(client, new)
    page = client.post(new, {"name": "Ops", "allow_private": "on", **mail.options}, follow=True).content.decode()
    assert "Ops is set up." in page
    assert "to ops@example.com" in page
    row = Channel.objects.get()
    page = client.post(reverse("channel-test", args=[row.pk]), follow=True).content.decode()
    assert "The server answered: 250 2.0.0 Ok: queued as 4F2A" in page
    assert "gets through" in page
    assert len(mail.received) == 1
    edit = reverse("channel", args=[row.pk])
    assert PASSWORD not in text(client, edit)
    assert PASSWORD not in str(Channel.objects.values().get())
    values = {**mail.options, "password": "", "to": "other@example.com"}
    client.post(edit, {"name": "Ops", "allow_private": "on", **values})
    client.post(reverse("channel-test", args=[row.pk]))
    assert mail.received[1].to == ["other@example.com"]


def test_a_test_that_fails_shows_what_the_server_said(client: Client, hook: HookServer) -> None:
    hook.status, hook.answer = 404, b"no_such <channel>"
    page = client.post(reverse("channel-test", args=[chat(hook).pk]), follow=True).content.decode()
    assert "the test did not get through" in page
    assert "404 no_such &lt;channel&gt;" in page
    assert "does not get through" in text(client)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"to": "nobody"}, "“nobody” is not a mail address."),
        ({"server": ""}, "This field is required."),
        ({"port": "99999"}, "65535"),
        ({"security": "none"}, "not sent without encryption"),
        ({"password": ""}, "The user needs a password."),
        ({"ca_bundle": "x"}, "CA bundle"),
        ({"name": ""}, "This field is required."),
    ],
)
def test_what_cannot_work_is_refused_beside_its_field(
    client: Client, mail: MailServer, changed: dict[str, str], sentence: str
) -> None:
    given = {"name": "Ops", **mail.options, **changed}
    page = client.post(reverse("channel-new", args=["mail"]), given).content.decode()
    assert sentence in page
    assert PASSWORD not in page
    assert not Channel.objects.exists()


def test_the_address_of_a_webhook_never_comes_back(client: Client, hook: HookServer) -> None:
    row = chat(hook)
    for path in (PAGE, reverse("channel", args=[row.pk]), "/activity/changes/"):
        assert hook.url not in text(client, path)
    given = {"name": "Room", "allow_private": "on", "url": "", "format": "slack", "secret": "", "ca_bundle": ""}
    client.post(reverse("channel", args=[row.pk]), given)
    client.post(reverse("channel-test", args=[row.pk]))
    assert b"text" in hook.received[0].body


def test_off_on_and_gone(client: Client, hook: HookServer) -> None:
    row = chat(hook)
    alarm_raise(trouble())
    client.post(reverse("channel-off", args=[row.pk]))
    assert alarms_deliver() == 0
    client.post(reverse("channel-on", args=[row.pk]))
    assert alarms_deliver() == 1
    client.post(reverse("channel-delete", args=[row.pk]))
    assert not Channel.objects.exists()


def test_administrators_change_everybody_looks_strangers_log_in(
    client: Client, onlooker: Client, stranger: Client, hook: HookServer
) -> None:
    row = chat(hook)
    alarm = alarm_raise(trouble())
    assert alarm is not None
    posts = [reverse(f"channel-{name}", args=[row.pk]) for name in ("test", "on", "off", "delete")]
    posts += [reverse("alarm-seen", args=[alarm.pk]), reverse("alarms-seen")]
    for path in posts:
        assert onlooker.post(path).status_code == 403
        assert stranger.post(path).status_code == 302
        assert client.get(path).status_code == 405
    for path in (reverse("channel", args=[row.pk]), reverse("channel-new", args=["mail"])):
        assert onlooker.get(path).status_code == 403
    for path in (PAGE, ALARMS):
        assert stranger.get(path).status_code == 302
        assert "<form" not in text(onlooker, path).partition("<main")[2]
    assert Channel.objects.get().enabled
    assert not hook.received
    assert Alarm.objects.get().seen_at is None


def test_what_is_not_there_is_a_calm_404(client: Client) -> None:
    assert client.get(reverse("channel", args=[uuid.uuid4()])).status_code == 404
    assert client.post(reverse("channel-test", args=[uuid.uuid4()])).status_code == 404
    assert client.get(reverse("channel-new", args=["pigeon"])).status_code == 404


def test_one_of_a_kind_that_is_gone_can_still_be_deleted(client: Client, hook: HookServer) -> None:
    row = chat(hook)
    Channel.objects.update(kind="pigeon")
    assert "pigeon" in text(client)
    assert "does not know" in client.get(reverse("channel", args=[row.pk]), follow=True).content.decode()
    page = client.post(reverse("channel-test", args=[row.pk]), follow=True).content.decode()
    assert "There is no channel “pigeon” in this version." in page
    client.post(reverse("channel-delete", args=[row.pk]))
    assert not Channel.objects.exists()


def test_the_card_says_whether_anybody_is_told(client: Client, hook: HookServer) -> None:
    assert "nobody is told of alarms" in text(client, "/configuration/")
    row = chat(hook)
    assert "Chat" in text(client, "/configuration/")
    Channel.objects.filter(pk=row.pk).update(last_trouble="x", failures=1)
    assert "a channel does not get through" in text(client, "/configuration/")


# Alarms


def test_open_alarms_stand_as_a_banner_until_somebody_has_seen_them(client: Client, onlooker: Client) -> None:
    assert "alarm" not in text(client, "/help/").partition("<main")[2].partition("<h1>")[0]
    alarm_raise(trouble(1))
    assert "An alarm is open." in text(client, "/")
    alarm_raise(trouble(2, Level.OUTAGE))
    for path in ("/", "/activity/"):
        assert "2 alarms are open." in text(onlooker, path)
        assert "n2.example: its renewal fails" in text(onlooker, path)
    page = text(client, ALARMS)
    assert "are open.</span>" not in page
    assert page.index("n2.example") < page.index("n1.example")
    assert "The CA &lt;is&gt; away." in page
    alarm = Alarm.objects.get(key="expiry:2")
    client.post(reverse("alarm-seen", args=[alarm.pk]))
    assert "An alarm is open." in text(client, "/")
    page = client.post(reverse("alarms-seen"), follow=True).content.decode()
    assert "1 alarm marked as seen." in page
    assert "seen by alice@example.com" in page
    assert "is open." not in text(client, "/").partition("<main")[2]


def test_alarms_that_are_over_are_kept_below(client: Client) -> None:
    alarm_raise(trouble())
    alarm_clear("expiry:1")
    page = text(client, ALARMS)
    assert "No alarm is open." in page
    assert "n1.example: its renewal fails" in page.partition('id="over"')[2]


def test_a_channel_that_fails_is_a_banner_for_those_who_can_mend_it(
    client: Client, onlooker: Client, hook: HookServer
) -> None:
    chat(hook)
    hook.status, hook.answer = 500, b"broken"
    alarm_raise(trouble())
    alarms_deliver()
    assert "Alarms do not get through by Chat." in text(client, "/")
    assert "500 broken" in text(client, "/")
    assert "do not get through" not in text(onlooker, "/")
    hook.status = 200
    client.post(reverse("channel-test", args=[Channel.objects.get().pk]))
    assert "do not get through" not in text(client, "/")


def test_the_page_says_when_nobody_is_told(client: Client, hook: HookServer) -> None:
    assert "No channel is set up" in text(client, ALARMS)
    chat(hook)
    assert "No channel is set up" not in text(client, ALARMS)
