"""Mail, against a real SMTP server: what arrives, what the server says, and what it may do wrong."""

import ssl
from collections.abc import Iterator
from email import utils
from typing import Any

import pytest

from certs.channels import mail
from certs.channels.base import Site, Undelivered
from certs.channels.mail import Mail, Options
from certs.domain.alarms import Level
from certs.domain.errors import BinderyError, InputError
from certs.domain.options import options_of, options_read
from tests.channels.messages import NOW, item, message
from tests.harness.mail import PASSWORD, USER, Dripping, MailServer
from tests.harness.ports import free_port

NEAR = Site(version="test", allow_private=True)


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer(log_in=True) as running:
        yield running


def channel(running: MailServer, site: Site = NEAR, **changed: Any) -> Mail:
    return Mail(options_read(Options, running.options | changed), site)


@pytest.mark.parametrize("security", ["starttls", "tls", "none"])
def test_a_mail_arrives_whole_by_each_kind_of_encryption(security: str) -> None:
    with MailServer(security=security) as server:
        answer = channel(server, to="ops@example.com, Ann <ann@example.com>").send(message())
    assert answer == "250 2.0.0 Ok: queued as 4F2A"
    got = server.received[0]
    assert got.tls == (security != "none")
    assert (got.sender, got.to) == ("bindery@example.com", ["ops@example.com", "ann@example.com"])
    assert got.mail["From"] == "Bindery <bindery@example.com>"
    assert (
        got.mail["Subject"] == "[Bindery portal.example.com] Warning: bücher1.example: its renewal fails, 14 days left"
    )
    assert "bücher1.example" in got.text
    assert "Look at the name's A record." in got.text
    assert utils.parsedate_to_datetime(str(got.mail["Date"])) == NOW
    assert got.mail["Auto-Submitted"] == "auto-generated"


def test_it_logs_in_after_the_encryption_only(server: MailServer) -> None:
    channel(server).send(message())
    assert (server.received[0].user, server.received[0].tls) == (USER, True)
    with pytest.raises(InputError, match="not sent without encryption"):
        channel(server, security="none")


def test_the_same_message_has_the_same_id_and_another_one_has_not(server: MailServer) -> None:
    for each in (message(item(1)), message(item(1)), message(item(2))):
        channel(server).send(each)
    ids = [got.mail["Message-ID"] for got in server.received]
    assert ids[0] == ids[1] != ids[2]


def test_what_is_urgent_is_marked(server: MailServer) -> None:
    channel(server).send(message(item(1, Level.OUTAGE)))
    channel(server).send(message(item(1, Level.NOTICE)))
    assert [got.mail["Importance"] for got in server.received] == ["high", None]


def test_wrong_user_or_password_is_said_in_the_servers_words(server: MailServer) -> None:
    with pytest.raises(Undelivered) as caught:
        channel(server, password="wrong").send(message())
    assert caught.value.answer.startswith("535 5.7.8")
    assert "refused user and password" in caught.value.message
    assert "wrong" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_one_refused_address_keeps_the_mail_from_nobody_else(server: MailServer) -> None:
    server.moods.refuse = {"gone@example.com"}
    answer = channel(server, to="gone@example.com, ops@example.com").send(message())
    assert server.received[0].to == ["ops@example.com"]
    assert answer.endswith("not taken: gone@example.com: 550 5.1.1 Nobody of this name here")
    with pytest.raises(Undelivered, match=r"none of the addresses was taken.*550 5\.1\.1"):
        channel(server, to="gone@example.com").send(message())


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
def test_a_dropped_connection_is_no_delivery(server: MailServer, step: str) -> None:
    server.moods.drop = step
    with pytest.raises(Undelivered, match=r"closed the connection|cannot be reached"):
        channel(server).send(message())
    assert not server.received


@pytest.mark.parametrize("step", ["MAIL", "DATA"])
def test_a_silent_server_is_not_waited_for(server: MailServer, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    monkeypatch.setattr(mail, "STEP_SECONDS", 0.5)
    server.moods.stall = step
    with pytest.raises(Undelivered, match="did not answer in time"):
        channel(server).send(message())


def test_one_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "WHOLE_SECONDS", 1.0)
    with Dripping() as dripping, MailServer(security="none") as server, pytest.raises(Undelivered, match="in time"):
        channel(server, port=dripping.port).send(message())


@pytest.mark.parametrize("said", ["451 4.3.0 Come back later", "552 5.3.4 Too big"])
def test_a_refusal_is_shown_as_it_was_said(server: MailServer, said: str) -> None:
    server.moods.answer = said
    with pytest.raises(Undelivered) as caught:
        channel(server).send(message())
    assert caught.value.answer == said
    assert said in str(caught.value)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_of_another_ca_or_name_is_not_taken(security: str) -> None:
    with MailServer(security=security) as server:
        for changed in ({"ca_bundle": ""}, {"server": "127.0.0.1"}):
            with pytest.raises(Undelivered, match="is not trusted here"):
                channel(server, **changed).send(message())
    assert not server.received


def test_no_mail_goes_in_the_clear_where_encryption_is_wanted() -> None:
    with MailServer(security="none") as server, pytest.raises(Undelivered, match="offers no encryption"):
        channel(server, security="starttls").send(message())
    assert not server.received


def test_nobody_there() -> None:
    with MailServer() as server, pytest.raises(Undelivered, match="cannot be reached: Connection refused"):
        channel(server, port=free_port()).send(message())


def test_a_private_address_needs_the_operators_word(server: MailServer) -> None:
    with pytest.raises(BinderyError) as caught:
        channel(server, site=Site()).send(message())
    assert caught.value.code == "private-address"
    assert "tick" in caught.value.advice
    assert not server.received


@pytest.mark.parametrize("field", ["to", "sender"])
@pytest.mark.parametrize(
    "text",
    [
        "ops",
        "@example.com",
        "ops@",
        "a@b.c\r\nBcc: x@y.z",
        "a@b.c\nX",
        "a@b.c,, d@e.f",
        "bücher@example.com",
        "\x00@a.b",
    ],
)
def test_what_is_no_address_is_refused_at_once(field: str, text: str) -> None:
    options = {"server": "mail.example.com", "sender": "a@b.c", "to": "a@b.c", field: text}
    with pytest.raises(InputError):
        Mail(options_read(Options, options))


def test_a_subject_cannot_add_headers(server: MailServer) -> None:
    channel(server).send(message(item(1, subject="a.example: x\r\nBcc: evil@example.com\r\n\r\nbody")))
    got = server.received[0]
    assert got.mail["Bcc"] is None
    assert got.to == ["ops@example.com"]
    assert "Bcc: evil@example.com" in got.mail["Subject"]


def test_roots_that_are_none_are_refused_at_once(server: MailServer) -> None:
    with pytest.raises(InputError, match="CA bundle"):
        channel(server, ca_bundle="-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----")


def test_old_versions_of_tls_are_not_spoken() -> None:
    with MailServer(security="tls") as server:
        assert channel(server)._trust.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_the_password_alone_is_secret() -> None:
    assert [each.name for each in options_of(Options) if each.secret] == ["password"]
