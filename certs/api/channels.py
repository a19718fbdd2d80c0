"""/api/channels: who is told of alarms, and how. Secrets are write-only."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.etags import document_answer, document_made, unchanged
from certs.api.fields import Flag, Strict, Text, Word, body_read
from certs.api.listing import Given, listing
from certs.api.plugin_options import KindList, OptionValues, kind_document
from certs.api.schema import operation
from certs.domain.roles import Right
from certs.models import Channel
from certs.services.access import Actor, may, require
from certs.services.alarm_delivery import channel_test
from certs.services.channels import (
    channel_change,
    channel_create,
    channel_delete,
    channel_kinds,
    channel_secrets,
    channel_switch,
)


class ChannelDocument(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    kind = serializers.CharField()
    enabled = serializers.BooleanField()
    allowPrivate = serializers.BooleanField()
    options = OptionValues(
        allow_null=True, help_text="All but the secrets; null in lists, and to who may not change it."
    )
    secrets = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="The names of those that are kept; null as `options`."
    )
    lastSentAt = serializers.DateTimeField(allow_null=True)
    lastAnswer = serializers.CharField(help_text="What the server said last.")
    lastTrouble = serializers.CharField()
    nextAttemptAt = serializers.DateTimeField(allow_null=True)
    createdAt = serializers.DateTimeField()


def channel_document(row: Channel) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "name": row.name,
        "kind": row.kind,
        "enabled": row.enabled,
        "allowPrivate": row.allow_private,
        "options": None,
        "secrets": None,
        "lastSentAt": row.last_sent_at.isoformat() if row.last_sent_at else None,
        "lastAnswer": row.last_answer,
        "lastTrouble": row.last_trouble,
        "nextAttemptAt": row.next_attempt_at.isoformat() if row.next_attempt_at else None,
        "createdAt": row.created_at.isoformat(),
    }


class ChannelGiven(Strict):
    name = Text(max_length=100, allow_blank=False)
    options = OptionValues(help_text="As /api/channels/_kinds lists them.")
    allowPrivate = Flag(required=False, help_text="It may be on a private address.")

    def get_fields(self) -> dict[str, Any]:
        # The plugins are loaded when they are wanted.
        return {"kind": Word(choices=list(channel_kinds())), **super().get_fields()}


class ChannelChange(Strict):
    name = Text(required=False, max_length=100, allow_blank=False)
    options = OptionValues(required=False, help_text="Those that are named; null takes one away.")
    allowPrivate = Flag(required=False)
    enabled = Flag(required=False, help_text="Switched off, it forgets what waits; on, it hears of what is open.")


class ChannelTested(serializers.Serializer[Any]):
    answer = serializers.CharField(help_text="What the server said.")


class Channels(Endpoint):
    @listing("channel_list", "List channels", ChannelDocument, channel_document, tag="channels")
    def get(self, given: Given) -> QuerySet[Channel]:
        return selectors.channels_visible_to(self.actor)

    @operation(
        "channel_create",
        "Make a channel",
        body=ChannelGiven,
        answers={201: ChannelDocument},
        tag="channels",
        description="It is on, and is told of everything that is open.",
        example={
            "kind": "mail",
            "name": "Operators",
            "options": {"server": "mail.example.com", "sender": "bindery@example.com", "to": "ops@example.com"},
        },
    )
    def post(self, request: Request) -> Response:
        given = body_read(request.data, ChannelGiven)
        row = channel_create(
            given["kind"],
            name=given["name"],
            values=given["options"],
            allow_private=given.get("allowPrivate", False),
            actor=self.actor,
        )
        return document_made(_whole(self.actor)(row), f"/api/channels/{row.pk}")


class ChannelKinds(Endpoint):
    @operation("channel_kinds", "Kinds of channels, and their options", answers={200: KindList}, tag="channels")
    def get(self, request: Request) -> Response:
        require(self.actor, Right.READ)
        found = channel_kinds().items()
        return Response({"items": [kind_document(kind, each.label, each, each.Options) for kind, each in found]})


class ChannelItem(Endpoint):
    has_etag = True

    @operation("channel_get", "One channel", answers={200: ChannelDocument}, tag="channels")
    def get(self, request: Request, id: UUID) -> Response:
        return document_answer(request, _whole(self.actor)(self._rows(id).get()))

    @operation(
        "channel_change",
        "Change a channel",
        body=ChannelChange,
        answers={200: ChannelDocument},
        tag="channels",
        example={"options": {"to": "ops@example.com, night@example.com"}},
    )
    def patch(self, request: Request, id: UUID) -> Response:
        given = body_read(request.data, ChannelChange)
        options = given.get("options", {})
        with unchanged(request, self._rows(id), _whole(self.actor)) as row:
            if given.keys() - {"enabled"}:
                channel_change(
                    row,
                    name=given.get("name", row.name),
                    values={**row.options, **options},
                    allow_private=given.get("allowPrivate", row.allow_private),
                    forget=[name for name, value in options.items() if value is None],
                    actor=self.actor,
                )
            if "enabled" in given:
                channel_switch(row, on=given["enabled"], actor=self.actor)
        return document_answer(request, _whole(self.actor)(self._rows(id).get()))

    @operation("channel_delete", "Delete a channel", answers={204: None}, tag="channels")
    def delete(self, request: Request, id: UUID) -> Response:
        with unchanged(request, self._rows(id), _whole(self.actor)) as row:
            channel_delete(row, actor=self.actor)
        return Response(status=204)

    def _rows(self, id: UUID) -> QuerySet[Channel]:
        return selectors.channels_visible_to(self.actor).filter(pk=id)


class ChannelTest(Endpoint):
    @operation(
        "channel_test",
        "Send a test message",
        answers={200: ChannelTested},
        tag="channels",
        description="Waits for the server, a minute at most; 503 tells why it did not get through.",
    )
    def post(self, request: Request, id: UUID) -> Response:
        row = selectors.channels_visible_to(self.actor).get(pk=id)
        return Response({"answer": channel_test(row, actor=self.actor)})


def _whole(actor: Actor) -> Callable[[Channel], dict[str, Any]]:
    if not may(actor, Right.SETTING):
        return channel_document
    return lambda row: {**channel_document(row), "options": row.options, "secrets": channel_secrets(row)}
