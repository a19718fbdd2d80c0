"""Channels: set up, switched on and off, tested. Their secrets are sealed; what they send is `alarm_delivery`'s."""

from collections.abc import Collection, Mapping
from typing import Any

from django.conf import settings
from django.db import transaction

from certs.channels.base import Channel as Sender
from certs.channels.base import Site
from certs.domain.errors import ConflictError, InputError
from certs.domain.options import options_read
from certs.domain.properties import name_check
from certs.domain.registry import plugins
from certs.domain.roles import Right
from certs.models import AlarmDelivery, Channel
from certs.services.access import Actor, needs
from certs.services.alarms import deliveries_catch_up
from certs.services.events import audit_record
from certs.services.options import options_load, options_merge, options_secret, options_store

CHANNELS = "certs.channels"
LONGEST_NAME = 100


def channel_kinds() -> dict[str, type[Sender]]:
    return plugins(CHANNELS, Sender)


def channel_kind(kind: str) -> type[Sender]:
    """Raises InputError for a kind that is not there."""
    found = channel_kinds().get(kind)
    if found is None:
        raise InputError(
            f"There is no channel “{kind}” in this version.", advice=f"Known: {', '.join(channel_kinds())}."
        )
    return found


def channel_make(row: Channel) -> Sender:
    """Ready to send. Raises InputError, SecretError, OptionRefused where the row does not fit its plugin any more."""
    kind = channel_kind(row.kind)
    options = options_load(kind.Options, row.options, row.sealed, purpose=Channel.PURPOSE, uid=row.pk)
    return kind(options, Site(version=settings.VERSION, allow_private=row.allow_private))


@needs(Right.SETTING)
def channel_create(
    kind: str, *, name: str, values: Mapping[str, Any], allow_private: bool = False, actor: Actor
) -> Channel:
    """Switched on; it is told of everything that is open. Raises InputError, OptionRefused, ConflictError."""
    found = channel_kind(kind)
    row = Channel(kind=kind, name=name_check(name, most=LONGEST_NAME), allow_private=allow_private)
    options = options_read(found.Options, values)
    found(options, Site(allow_private=allow_private))  # refuses what cannot work
    row.options, row.sealed = options_store(options, purpose=Channel.PURPOSE, uid=row.pk)
    with transaction.atomic():
        _unused(row)
        row.save(force_insert=True)
        deliveries_catch_up(row)
        audit_record(actor, "channel.create", row, after=_shown(row))
    return row


@needs(Right.SETTING)
def channel_change(
    row: Channel,
    *,
    name: str,
    values: Mapping[str, Any],
    allow_private: bool,
    forget: Collection[str] = (),
    actor: Actor,
) -> None:
    """A secret left empty is kept, unless it is one to `forget`. Raises InputError, OptionRefused, ConflictError."""
    found, before = channel_kind(row.kind), _shown(row)
    options = options_merge(
        found.Options, values, sealed=row.sealed, purpose=Channel.PURPOSE, uid=row.pk, forget=forget
    )
    found(options, Site(allow_private=allow_private))
    row.name, row.allow_private = name_check(name, most=LONGEST_NAME), allow_private
    row.options, row.sealed = options_store(options, purpose=Channel.PURPOSE, uid=row.pk)
    row.failures, row.last_trouble, row.next_attempt_at = 0, "", None  # a mended one is not kept waiting
    with transaction.atomic():
        _unused(row)
        fields = ["name", "allow_private", "options", "sealed", "failures", "last_trouble", "next_attempt_at"]
        row.save(update_fields=fields)
        audit_record(actor, "channel.change", row, before=before, after=_shown(row))


@needs(Right.SETTING)
def channel_switch(row: Channel, *, on: bool, actor: Actor) -> None:
    """Switched off, it forgets what waits; switched on, it hears of what is open then."""
    with transaction.atomic():
        if not Channel.objects.filter(pk=row.pk, enabled=not on).update(
            enabled=on, failures=0, last_trouble="", next_attempt_at=None
        ):
            return
        AlarmDelivery.objects.filter(channel=row, sent_at=None).delete()
        if on:
            deliveries_catch_up(row)
        audit_record(actor, "channel.switch", row, before={"on": not on}, after={"on": on})
    row.refresh_from_db()


@needs(Right.SETTING)
def channel_delete(row: Channel, *, actor: Actor) -> None:
    with transaction.atomic():
        audit_record(actor, "channel.delete", row, before=_shown(row))
        row.delete()


def channel_secrets(row: Channel) -> list[str]:
    """The names of those that are kept."""
    return options_secret(row.sealed, purpose=Channel.PURPOSE, uid=row.pk)


def _unused(row: Channel) -> None:
    if Channel.objects.filter(name=row.name).exclude(pk=row.pk).exists():
        raise ConflictError(f"There is a channel called “{row.name}”.", advice="Choose another name.", code="name")


def _shown(row: Channel) -> dict[str, Any]:
    return {"name": row.name, "kind": row.kind, "allow_private": row.allow_private, **row.options}
