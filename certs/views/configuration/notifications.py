"""Configuration ➜ Notifications: who is told of alarms, how, and whether it gets through."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs import selectors
from certs.channels.base import Channel as Sender
from certs.domain.errors import BinderyError
from certs.forms.notifications import ChannelForm
from certs.models import Channel
from certs.selectors import Shown
from certs.services.alarm_delivery import channel_test
from certs.services.channels import (
    channel_change,
    channel_create,
    channel_delete,
    channel_kinds,
    channel_switch,
)
from certs.views.access import actor_of, administrator_required, portal_required


@dataclass(frozen=True)
class Kind:
    """A kind of channel as templates take it: a class they would call."""

    name: str
    label: str
    about: str

    @classmethod
    def of(cls, name: str, found: type[Sender]) -> "Kind":
        return cls(name, found.label, inspect.getdoc(found) or "")


@portal_required
@require_safe
def notifications(request: HttpRequest) -> HttpResponse:
    kinds = {name: Kind.of(name, found) for name, found in channel_kinds().items()}
    rows = [
        (row, kinds[row.kind].label if row.kind in kinds else row.kind, channel_shown(row))
        for row in selectors.channels_visible_to(actor_of(request))
    ]
    return render(request, "configuration/notifications.html", {"rows": rows, "kinds": kinds.values()})


@administrator_required
@require_http_methods(["GET", "HEAD", "POST"])
def channel_new(request: HttpRequest, kind: str) -> HttpResponse:
    found = channel_kinds().get(kind)
    if found is None:
        raise Http404
    form = ChannelForm(request.POST or None, kind=found)
    if form.is_valid():
        made = form.attempt(lambda: channel_create(kind, **form.given, actor=actor_of(request)))
        if made is not None:
            messages.success(request, f"{made.name} is set up. Send a test to see that it gets through.")
            return redirect("notifications")
    return render(request, "configuration/channel.html", {"form": form, "kind": Kind.of(kind, found), "row": None})


@administrator_required
@require_http_methods(["GET", "HEAD", "POST"])
def channel(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = _row(request, pk)
    found = channel_kinds().get(row.kind)
    if found is None:
        messages.error(request, f"{row.name} is of a kind that this version does not know; it can only be deleted.")
        return redirect("notifications")
    form = ChannelForm(request.POST or None, kind=found, row=row)
    if form.is_valid():
        form.attempt(lambda: channel_change(row, **form.given, actor=actor_of(request)))
        if not form.errors:
            messages.success(request, f"{row.name} was changed. Send a test to see that it gets through.")
            return redirect("notifications")
    return render(request, "configuration/channel.html", {"form": form, "kind": Kind.of(row.kind, found), "row": row})


@administrator_required
@require_POST
def test(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Waits for the server, a minute at most: its answer is what the person wants to see."""
    row = _row(request, pk)
    try:
        answer = channel_test(row, actor=actor_of(request))
    except BinderyError as error:
        messages.error(request, f"{row.name}: the test did not get through. {error}")
    else:
        messages.success(request, f"{row.name}: the test was sent. The server answered: {answer}")
    return redirect("notifications")


def _action(act: Callable[[HttpRequest, Channel], str]) -> Callable[..., HttpResponse]:
    @administrator_required
    @require_POST
    def view(request: HttpRequest, pk: UUID) -> HttpResponse:
        messages.success(request, act(request, _row(request, pk)))
        return redirect("notifications")

    return view


def _switch_on(request: HttpRequest, row: Channel) -> str:
    channel_switch(row, on=True, actor=actor_of(request))
    return f"{row.name} is on, and is told of what is open."


def _switch_off(request: HttpRequest, row: Channel) -> str:
    channel_switch(row, on=False, actor=actor_of(request))
    return f"{row.name} is off. What waited for it is not sent any more."


def _delete(request: HttpRequest, row: Channel) -> str:
    channel_delete(row, actor=actor_of(request))
    return f"{row.name} was deleted."


switch_on, switch_off, delete = _action(_switch_on), _action(_switch_off), _action(_delete)


def channel_shown(row: Channel) -> Shown:
    if not row.enabled:
        return Shown("unknown", "off")
    if row.last_trouble:
        return Shown("danger", "does not get through")
    return Shown("ok", "gets through") if row.last_answer else Shown("unknown", "not tried yet")


def notifications_shown() -> Shown:
    """For the card on Configuration."""
    rows = [row for row in Channel.objects.all() if row.enabled]
    if not rows:
        return Shown("warning", "nobody is told of alarms")
    if any(row.last_trouble for row in rows):
        return Shown("danger", "a channel does not get through")
    return Shown("ok", ", ".join(row.name for row in rows[:3]) + (f" and {len(rows) - 3} more" if rows[3:] else ""))


def _row(request: HttpRequest, pk: UUID) -> Channel:
    return get_object_or_404(selectors.channels_visible_to(actor_of(request)), pk=pk)
