"""Webhooks, against a real HTTP server on loopback."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.conf import settings

from certs.channels import webhook
from certs.channels.base import Site, Undelivered
from certs.channels.webhook import ITEMS, Options, Webhook
from certs.domain.alarms import Level
from certs.domain.errors import BinderyError, InputError, Unavailable
from certs.domain.options import options_of, options_read
from tests.channels.messages import item, message
from tests.harness.hook import HookServer
from tests.harness.ports import free_port

NEAR = Site(version="test", allow_private=True)
SCHEMA = json.loads((Path(settings.BASE_DIR) / "docs" / "webhook.schema.json").read_text())


@pytest.fixture
def server() -> Iterator[HookServer]:
    with HookServer() as running:
        yield running


def channel(server: HookServer, site: Site = NEAR, **changed: Any) -> Webhook:
    return Webhook(options_read(Options, {"url": server.url} | changed), site)


def test_the_documented_json_arrives(server: HookServer) -> None:
    sent = message(*(item(n) for n in range(ITEMS + 5)), item(999, Level.WELL))
    assert channel(server).send(sent) == "200 ok"
    got = server.received[0]
    document = json.loads(got.body)
    jsonschema.validate(document, SCHEMA)
    assert got.headers["content-type"] == "application/json; charset=utf-8"
    assert got.headers["user-agent"].startswith("Bindery/test (webhook;")
    assert "x-bindery-signature" not in got.headers
    assert (document["count"], len(document["alarms"])) == (ITEMS + 6, ITEMS)
    first = document["alarms"][0]
    assert first["happened"] == "Let's Encrypt refused: <DNS problem>."
    assert first["severity"] == "warning"
    assert first["url"].startswith("https://portal.example.com/activity/")


def test_the_schema_refuses_what_is_not_so() -> None:
    good = webhook.payload(message())
    jsonschema.validate(good, SCHEMA)
    for wrong in ({"count": "1"}, {"extra": 1}, {"alarms": [{}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(good | wrong, SCHEMA)


def test_the_signature_is_that_of_the_bytes_sent(server: HookServer) -> None:
    channel(server, secret="shared").send(message())
    got = server.received[0]
    wanted = hmac.new(b"shared", got.body, hashlib.sha256).hexdigest()
    assert got.headers["x-bindery-signature"] == f"sha256={wanted}"
    assert b"shared" not in got.body


def test_each_service_gets_its_own_form(server: HookServer) -> None:
    sent = message(item(subject="a & b <c>: wrong"))
    for name in ("slack", "teams", "discord", "ntfy"):
        channel(server, format=name, secret="tk_123").send(sent)
    slack, teams, discord = (json.loads(got.body) for got in server.received[:3])
    assert "a &amp; b &lt;c&gt;" in slack["text"]
    assert teams["attachments"][0]["content"]["body"][0]["text"] == sent.subject
    assert teams["attachments"][0]["content"]["actions"][0]["url"] == sent.url
    channel(server, format="teams").send(message(item(subject="[Renew here](https://evil.example/)")))
    assert "](" not in server.received[-1].body.decode()
    assert sent.subject in discord["content"]
    assert discord["allowed_mentions"] == {"parse": []}
    ntfy = server.received[3]
    assert str(make_header(decode_header(ntfy.headers["title"]))) == sent.subject
    assert ntfy.headers["authorization"] == "Bearer tk_123"
    assert ntfy.body.decode() == sent.text


def test_no_service_gets_more_than_it_takes(server: HookServer) -> None:
    long = message(*(item(n, subject=f"{'x' * 180}{n}: wrong") for n in range(20)))
    channel(server, format="discord").send(long)
    channel(server, format="ntfy").send(long)
    assert len(json.loads(server.received[0].body)["content"]) == 2000
    assert len(server.received[1].body.decode()) == 4000


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_anything_but_success_is_no_delivery_and_is_shown(server: HookServer, status: int) -> None:
    server.status, server.answer = status, b"no\nsuch  channel"
    with pytest.raises(Undelivered) as caught:
        channel(server).send(message())
    assert caught.value.answer == f"{status} no such channel"
    assert f"{status} no such channel" in str(caught.value)


def test_retry_after_is_handed_on(server: HookServer) -> None:
    server.status, server.headers = 429, {"Retry-After": "120"}
    with pytest.raises(Undelivered) as caught:
        channel(server).send(message())
    assert caught.value.retry_at is not None
    assert timedelta(seconds=100) < caught.value.retry_at - datetime.now(UTC) <= timedelta(seconds=120)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(server: HookServer, status: int) -> None:
    with HookServer() as other:
        server.status, server.headers = status, {"Location": other.url}
        with pytest.raises(Undelivered) as caught:
            channel(server, secret="shared").send(message())
        assert not other.received
    assert caught.value.answer.startswith(str(status))


def test_a_big_answer_is_cut(server: HookServer) -> None:
    server.answer = b"x" * 5_000_000
    assert len(channel(server).send(message())) < 2100


def test_a_silent_server_is_not_waited_for(server: HookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "SECONDS", 0.5)
    server.stall = 2
    with pytest.raises(Unavailable, match=r"within 0\.5 seconds"):
        channel(server).send(message())


def test_nobody_there() -> None:
    options = options_read(Options, {"url": f"http://127.0.0.1:{free_port()}/"})
    with pytest.raises(Unavailable, match="cannot be reached"):
        Webhook(options, NEAR).send(message())


def test_a_private_address_needs_the_operators_word(server: HookServer) -> None:
    with pytest.raises(InputError, match="not a usable https"):
        channel(server, site=Site())
    with pytest.raises(BinderyError) as caught:
        channel(server, site=Site(), url=server.url.replace("http:", "https:")).send(message())
    assert caught.value.code == "private-address"
    assert not server.received


@pytest.mark.parametrize("url", ["", "ftp://x/", "https://", "https://a@b/", "https://a b/", "https://a/\nb"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(InputError):
        Webhook(options_read(Options, {"url": url}), NEAR)


def test_address_and_secret_are_kept_like_passwords() -> None:
    assert [each.name for each in options_of(Options) if each.secret] == ["url", "secret"]


def test_an_address_that_cannot_be_used_is_not_shown() -> None:
    """As where private addresses are permitted no more: the sentence stands on pages and in logs."""
    with pytest.raises(InputError) as caught:
        Webhook(Options(url="http://chat.example/hooks/s3cret"), Site())
    assert "s3cret" not in str(caught.value)
    assert caught.value.code == "url"
