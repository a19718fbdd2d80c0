"""`manage.py channels`: the channels that carry alarms, set up and tested from the shell."""

from argparse import ArgumentParser, BooleanOptionalAction
from typing import Any

from certs.domain.errors import InputError
from certs.management.base import BinderyCommand
from certs.management.plugin_options import option_arguments, options_described, options_typed
from certs.management.reporting import ACTOR
from certs.models import Channel
from certs.services.alarm_delivery import channel_test
from certs.services.channels import (
    channel_change,
    channel_create,
    channel_delete,
    channel_kind,
    channel_kinds,
    channel_switch,
)

_OF_ONE = {
    "test": "send a message, and show what the server answers",
    "on": "tell it of alarms again",
    "off": "tell it of nothing for now",
    "delete": "for good",
}


class Command(BinderyCommand):
    help = "Set up who is told of alarms, by mail or webhook; without a word, list the channels."

    def add_arguments(self, parser: ArgumentParser) -> None:
        deeds = parser.add_subparsers(dest="deed", metavar="DEED")
        deeds.add_parser("list", help="the channels there are, and how they fare")
        kinds = deeds.add_parser("kinds", help="the kinds there are; of one kind, its options")
        kinds.add_argument("kind", nargs="?", default="", metavar="KIND", help="only this one, with all its options")
        add = deeds.add_parser("add", help="a new one")
        add.add_argument("name", metavar="NAME", help="how to call it")
        add.add_argument("--kind", metavar="KIND", default="mail", help="what it is (mail)")
        change = deeds.add_parser("change", help="change the options that are named, and leave the others")
        change.add_argument("name", metavar="NAME", help="its name")
        for one in (add, change):
            option_arguments(one)
            one.add_argument(
                "--allow-private", action=BooleanOptionalAction, default=None, help="it may be on a private address"
            )
        for deed, about in _OF_ONE.items():
            deeds.add_parser(deed, help=about).add_argument("name", metavar="NAME", help="its name")

    def run(self, *args: Any, deed: str | None, **options: Any) -> None:
        getattr(self, f"_{deed or 'list'}")(**options)

    def _list(self, **_: Any) -> None:
        for row in Channel.objects.all():
            told = row.last_trouble or (f"the server said: {row.last_answer}" if row.last_answer else "not tried yet")
            self.stdout.write(f"{row.name} ({row.kind}, {'on' if row.enabled else 'off'}): {told}")
        if not Channel.objects.exists():
            self.stdout.write("Nobody is told of alarms.")

    def _kinds(self, kind: str, **_: Any) -> None:
        if not kind:
            for name, one in channel_kinds().items():
                self.stdout.write(f"{name}: {one.label}. {' '.join((one.__doc__ or '').split())}".strip())
            return
        for line in options_described(channel_kind(kind).Options):
            self.stdout.write(line)

    def _add(self, name: str, kind: str, allow_private: bool | None, **options: Any) -> None:
        values = options_typed(channel_kind(kind).Options, options)
        row = channel_create(kind, name=name, values=values, allow_private=bool(allow_private), actor=ACTOR)
        self.stdout.write(f"{row.name} is set up. Test it: manage.py channels test '{row.name}'")

    def _change(self, name: str, allow_private: bool | None, **options: Any) -> None:
        row = _find(name)
        values = row.options | options_typed(channel_kind(row.kind).Options, options)
        private = row.allow_private if allow_private is None else allow_private
        channel_change(row, name=row.name, values=values, allow_private=private, actor=ACTOR)
        self.stdout.write(f"{row.name} is changed.")

    def _test(self, name: str, **_: Any) -> None:
        row = _find(name)
        self.stdout.write(f"{row.name}: the server answered: {channel_test(row, actor=ACTOR)}")

    def _on(self, name: str, **_: Any) -> None:
        self._switch(name, on=True)

    def _off(self, name: str, **_: Any) -> None:
        self._switch(name, on=False)

    def _delete(self, name: str, **_: Any) -> None:
        row = _find(name)
        channel_delete(row, actor=ACTOR)
        self.stdout.write(f"{row.name} is deleted.")

    def _switch(self, name: str, *, on: bool) -> None:
        row = _find(name)
        channel_switch(row, on=on, actor=ACTOR)
        self.stdout.write(f"{row.name} is {'on' if on else 'off'}.")


def _find(name: str) -> Channel:
    row = Channel.objects.filter(name=name).first()
    if row is None:
        raise InputError(f"No channel is called “{name}”.", advice="`manage.py channels` lists them.")
    return row
