"""`manage.py channels`: the channels that carry alarms, set up and tested from the shell."""

import sys
from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path
from typing import Any

from certs.domain.errors import InputError
from certs.domain.options import options_of
from certs.management.base import BinderyCommand
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


class Command(BinderyCommand):
    help = "Set up who is told of alarms, by mail or webhook; without a word, list the channels."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "action",
            nargs="?",
            default="list",
            choices=["list", "kinds", "add", "change", "test", "on", "off", "delete"],
            help="what to do; `kinds` lists the options of each kind",
        )
        parser.add_argument("name", nargs="?", default="", metavar="NAME", help="the channel")
        parser.add_argument("--kind", default="mail", help="of a new channel (mail)")
        parser.add_argument(
            "--set", action="append", default=[], metavar="OPTION=VALUE", help="an option of the kind; may be repeated"
        )
        parser.add_argument(
            "--set-file",
            action="append",
            default=[],
            metavar="OPTION=PATH",
            help="the same from a file, - for standard input: for secrets, which do not belong on a command line",
        )
        parser.add_argument(
            "--allow-private", action=BooleanOptionalAction, default=None, help="it may be on a private address"
        )

    def run(self, *args: Any, action: str, name: str, **options: Any) -> int:
        if action == "list":
            return self._list()
        if action == "kinds":
            return self._kinds()
        if not name:
            raise InputError("Which channel?", advice=f"Write `manage.py channels {action} NAME`.")
        if action == "add":
            values, private = _values(options), bool(options["allow_private"])
            row = channel_create(options["kind"], name=name, values=values, allow_private=private, actor=ACTOR)
            self.stdout.write(f"{row.name}: set up. `manage.py channels test {row.name}` sends a test.")
            return 0
        return self._act(action, _find(name), options)

    def _act(self, action: str, row: Channel, options: dict[str, Any]) -> int:
        if action == "test":
            self.stdout.write(f"{row.name}: the server answered: {channel_test(row, actor=ACTOR)}")
        elif action == "change":
            given = options["allow_private"]
            private = row.allow_private if given is None else given
            values = row.options | _values(options)
            channel_change(row, name=row.name, values=values, allow_private=private, actor=ACTOR)
            self.stdout.write(f"{row.name}: changed")
        elif action == "delete":
            channel_delete(row, actor=ACTOR)
            self.stdout.write(f"{row.name}: deleted")
        else:
            channel_switch(row, on=action == "on", actor=ACTOR)
            self.stdout.write(f"{row.name}: {action}")
        return 0

    def _list(self) -> int:
        for row in Channel.objects.all():
            told = row.last_trouble or (f"the server said: {row.last_answer}" if row.last_answer else "not tried yet")
            self.stdout.write(f"{row.name} ({row.kind}, {'on' if row.enabled else 'off'}): {told}")
        if not Channel.objects.exists():
            self.stdout.write("Nobody is told of alarms.")
        return 0

    def _kinds(self) -> int:
        for name, kind in channel_kinds().items():
            self.stdout.write(f"{name}: {kind.label}")
            for each in options_of(channel_kind(name).Options):
                words = " ".join([each.label, *(f"({value})" for value, _ in each.choices), each.help]).strip()
                needed = ", needed" if each.required else ""
                self.stdout.write(f"  {each.name}{needed}{', secret' if each.secret else ''}: {words}")
        return 0


def _find(name: str) -> Channel:
    row = Channel.objects.filter(name=name).first()
    if row is None:
        raise InputError(f"No channel is called “{name}”.", advice="`manage.py channels` lists them.")
    return row


def _values(options: dict[str, Any]) -> dict[str, str]:
    values = dict(_pair(text) for text in options["set"])
    return values | {name: _read(path) for name, path in map(_pair, options["set_file"])}


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"“{text}” is not OPTION=VALUE.", advice="`manage.py channels kinds` lists the options.")
    return name, value


def _read(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
