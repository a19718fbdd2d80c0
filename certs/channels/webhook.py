"""An HTTP POST to an address of yours, as documented JSON or in the form that a chat service takes.

The JSON is described by docs/webhook.schema.json. With a secret, `X-Bindery-Signature: sha256=<hex>` is the HMAC-SHA256
(RFC 2104) of the body's bytes. The forms of the services are those of their documents:
Slack "Sending messages using incoming webhooks" (Mattermost and Rocket.Chat take the same), Microsoft Teams "Create
incoming webhooks with Workflows" (an Adaptive Card 1.4), Discord "Execute Webhook", ntfy "Publishing" (headers).
"""

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from certs.acme.problems import retry_after
from certs.channels.base import Channel, Site, Undelivered
from certs.domain.alarms import Item, Level, Message
from certs.domain.errors import InputError
from certs.domain.options import option
from certs.transports.connections import trust_context
from certs.transports.line import WEBHOOK
from certs.transports.outbound import fetch, url_check
from portal import clock

SECONDS = 30.0
ANSWER_BYTES = 2000  # of an answer that are read and shown
ITEMS = 100  # alarms of one message; `count` says how many there are
_DISCORD, _CHAT = 2000, 20000  # characters that the services take at most
_FORMATS = (
    ("json", "JSON of Bindery"),
    ("slack", "Slack, Mattermost, Rocket.Chat"),
    ("teams", "Microsoft Teams (Workflows)"),
    ("discord", "Discord"),
    ("ntfy", "ntfy"),
)
_NTFY_PRIORITY = {Level.WELL: "low", Level.URGENT: "high", Level.OUTAGE: "urgent"}


@dataclass(frozen=True)
class Options:
    # Who knows the address of a chat's webhook may write there, so it is kept like a password.
    url: str = option(
        "Address",
        secret=True,
        lines=True,
        help="https://… ; plain http:// only where it may be on a private address. Not shown again.",
    )
    format: str = option("Format", default="json", choices=_FORMATS)
    secret: str = option(
        "Secret",
        default="",
        secret=True,
        help="With it, X-Bindery-Signature holds sha256= and the HMAC-SHA256 of the body. For ntfy: the access token.",
    )
    ca_bundle: str = option(
        "Roots to trust", default="", lines=True, help="PEM of your own CA's root, besides the system's; usually empty."
    )


@dataclass(frozen=True)
class _Post:
    body: bytes
    headers: dict[str, str]


class Webhook(Channel):
    """A message to a web address: your own service, or a chat such as Slack, Teams, Discord or ntfy."""

    Options = Options
    label = "Webhook"

    def __init__(self, options: Any = None, site: Site | None = None) -> None:
        super().__init__(options, site)
        try:
            url_check(self.options.url, plain_http=self.site.allow_private)
        except InputError as error:  # its sentence holds the address, which is a secret
            kind = "a usable address" if self.site.allow_private else "a usable https:// address"
            raise InputError(f"This is not {kind}.", advice=error.advice, code="url") from None
        self._trust = trust_context(self.options.ca_bundle)

    def send(self, message: Message) -> str:
        post = FORMATS[self.options.format](message, self.options.secret)
        answer = fetch(
            self.options.url,
            purpose=WEBHOOK,
            method="POST",
            body=post.body,
            headers=post.headers,
            allow_private=self.site.allow_private,
            plain_http=self.site.allow_private,
            limit=ANSWER_BYTES,
            whole=False,
            seconds=SECONDS,
            trust=self._trust,
            version=self.site.version,
        )
        said = f"{answer.status} {' '.join(answer.text.split())}".strip()
        if not answer.ok:
            raise Undelivered(
                f"The server did not take the message. It said: {said}",
                advice="Give the address that it redirects to." if 300 <= answer.status < 400 else "",
                answer=said,
                retry_at=retry_after(answer.headers.get("Retry-After"), clock.real()),
            )
        return said


def payload(message: Message) -> dict[str, Any]:
    """The JSON of docs/webhook.schema.json."""
    return {
        "version": 1,
        "id": message.id,
        "sent_at": message.at.isoformat(),
        "portal": message.portal,
        "url": message.url,
        "subject": message.subject,
        "text": message.text,
        "level": int(message.level),
        "count": len(message.items),
        "alarms": [_alarm(item) for item in message.items[:ITEMS]],
    }


def _alarm(item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "level": int(item.level),
        "severity": item.level.words.lower(),
        "subject": item.subject,
        "happened": item.happened,
        "tried": item.tried,
        "next_try_at": item.next_try_at.isoformat() if item.next_try_at else None,
        "advice": item.advice,
        "url": item.url,
        "raised_at": item.raised_at.isoformat(),
    }


def _json(message: Message, secret: str) -> _Post:
    return _encoded(payload(message), secret)


def _slack(message: Message, secret: str) -> _Post:
    text = message.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _encoded({"text": _cut(f"*{_line(message)}*\n{text}", _CHAT)}, secret)


def _teams(message: Message, secret: str) -> _Post:
    blocks = [{"type": "TextBlock", "text": _plain(_line(message)), "weight": "Bolder", "wrap": True}]
    blocks += [
        {"type": "TextBlock", "text": _plain(part).replace("\n", "\n\n"), "wrap": True}
        for part in _cut(message.text, _CHAT).strip().split("\n\n")
    ]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
        "actions": [{"type": "Action.OpenUrl", "title": "All alarms", "url": message.url}],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return _encoded({"type": "message", "attachments": [attachment]}, secret)


def _discord(message: Message, secret: str) -> _Post:
    text = _cut(f"**{_line(message)}**\n{message.text}", _DISCORD)
    return _encoded({"content": text, "allowed_mentions": {"parse": []}}, secret)


def _ntfy(message: Message, secret: str) -> _Post:
    title = b64encode(_line(message).encode()).decode()
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Title": f"=?UTF-8?B?{title}?=",  # RFC 2047, as ntfy asks for what is not ASCII
        "Priority": _NTFY_PRIORITY.get(message.level, "default"),
        "Click": message.url,
    }
    if secret:
        headers["Authorization"] = f"Bearer {secret}"
    return _Post(_cut(message.text, 4000).encode(), headers)


FORMATS: dict[str, Callable[[Message, str], _Post]] = {
    "json": _json,
    "slack": _slack,
    "teams": _teams,
    "discord": _discord,
    "ntfy": _ntfy,
}


def _encoded(document: dict[str, Any], secret: str) -> _Post:
    body = json.dumps(document, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if secret:
        headers["X-Bindery-Signature"] = f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
    return _Post(body, headers)


def _plain(text: str) -> str:
    """Without Markdown's links: a CA's sentence must not plant one."""
    return text.replace("](", "] (")


def _line(message: Message) -> str:
    return " ".join(message.subject.split())


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
