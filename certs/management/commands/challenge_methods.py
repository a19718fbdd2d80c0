import json
import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from certs.domain.errors import InputError
from certs.domain.options import Option, options_of
from certs.management.base import BinderyCommand
from certs.models import ChallengeMethod, Order
from certs.services.by_hand import by_hand_awaited, by_hand_look
from certs.services.challenges import solver_kinds
from certs.services.method_tests import method_test_begin, method_test_run
from certs.services.methods import (
    certificates_named,
    method_certificates,
    method_create,
    method_delete,
    method_find,
    method_kind,
    method_shown,
    method_update,
)

ACTOR = "command line"
_SIZE_LIMIT = 64 * 1024
NOT_WORKING = 1


class Command(BinderyCommand):
    help = (
        "Set up, test and delete challenge methods: how a CA is shown that names are yours. Secrets are read from a "
        "file, from standard input or from an environment variable, never from the command line itself."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        deeds = parser.add_subparsers(dest="deed", metavar="DEED")
        listing = deeds.add_parser("list", help="the methods there are, and what uses them")
        listing.add_argument("--json", action="store_true", help="as JSON")
        kinds = deeds.add_parser("kinds", help="the kinds there are; of one kind, its options")
        kinds.add_argument("kind", nargs="?", default="", metavar="KIND")
        _options(kinds)
        add = deeds.add_parser("add", help="a new one")
        add.add_argument("kind", metavar="KIND")
        add.add_argument("name", metavar="NAME")
        _options(add)
        change = deeds.add_parser("change", help="change the options that are named, and leave the others")
        change.add_argument("name", metavar="NAME")
        change.add_argument("--rename", metavar="NAME", help="the new name")
        change.add_argument("--forget", metavar="OPTION", action="append", default=[], help="a secret to be dropped")
        _options(change)
        test = deeds.add_parser("test", help="put an answer in place, look at it, and take it away again")
        test.add_argument("name", metavar="NAME")
        test.add_argument("dns_name", metavar="DNSNAME", help="a name that the method can prove")
        deeds.add_parser("records", help="what is to be put in place by hand for the orders that wait for it")
        delete = deeds.add_parser("delete", help="one that no certificate uses")
        delete.add_argument("name", metavar="NAME")

    def run(self, *args: Any, deed: str | None, **options: Any) -> int:
        return int(getattr(self, f"_{deed or 'list'}")(**options))

    def _list(self, json: bool = False, **_: Any) -> int:
        rows = [(method, method_certificates(method)) for method in ChallengeMethod.objects.all()]
        if json:
            self._print([method_shown(method) | {"certificates": [c.name for c in used]} for method, used in rows])
            return 0
        for method, used in rows:
            tested = "not tested" if method.test_ok is None else "works" if method.test_ok else "test failed"
            names = certificates_named(used) if used else "no certificate"
            self.stdout.write(f"{method.name}: {method.kind}, {tested}, used by {names}")
        if not rows:
            self.stdout.write("None yet. `manage.py challenge_methods kinds` lists what there is.")
        return 0

    def _kinds(self, kind: str, **options: Any) -> int:
        if not kind:
            for name, solver in solver_kinds().items():
                self.stdout.write(f"{name}: {solver.label}. {' '.join((solver.__doc__ or '').split())}")
            return 0
        for about in options_of(method_kind(kind).options_for(_plain(options["set"]))):
            self.stdout.write(f"{about.name}: {_described(about)}")
        return 0

    def _add(self, kind: str, name: str, **options: Any) -> int:
        given = _plain(options["set"])
        method = method_create(kind=kind, name=name, given=_given(kind, given, options), actor=ACTOR)
        self.stdout.write(f"{method.name} is set up. Test it: manage.py challenge_methods test '{method.name}' NAME")
        return 0

    def _change(self, name: str, rename: str | None, forget: list[str], **options: Any) -> int:
        method = method_find(name)
        known = {each.name for each in options_of(method_kind(method.kind).options_for(_plain(options["set"])))}
        chooser = method_kind(method.kind).chooser
        same = not chooser or chooser not in _plain(options["set"])
        kept = {key: value for key, value in method.options.items() if same or key in known}
        given = _given(method.kind, {**kept, **_plain(options["set"])}, options)
        affected = method_update(method, actor=ACTOR, name=rename, given=given, forget=forget)
        self.stdout.write(f"{method.name} is changed. {_affects(affected)}")
        return 0

    def _test(self, name: str, dns_name: str, **_: Any) -> int:
        method = method_find(name)
        method_test_begin(method, dns_name, actor=ACTOR, queue=False)
        result = method_test_run(method.pk, say=self.stdout.write)
        return 0 if result is not None and result.ok else NOT_WORKING

    def _records(self, **_: Any) -> int:
        waiting = [order for order in Order.objects.filter(finished_at=None) if by_hand_awaited(order)]
        for order in waiting:
            found = by_hand_look(order)
            self.stdout.write(f"{', '.join(order.names)}: until {found.until:%Y-%m-%d %H:%M} UTC")
            for record in found.records:
                self.stdout.write(f"  {record.what} {record.name} {record.value}")
                for sight in record.sights:
                    self.stdout.write(f"    {sight.server} {sight.words}")
                if record.trouble:
                    self.stdout.write(f"    {record.trouble}")
        if not waiting:
            self.stdout.write("No order waits for a person.")
        return 0

    def _delete(self, name: str, **_: Any) -> int:
        method = method_find(name)
        method_delete(method, actor=ACTOR)
        self.stdout.write(f"{method.name} is deleted.")
        return 0

    def _print(self, document: Any) -> None:
        self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True))


def _options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--set", metavar="OPTION=VALUE", action="append", default=[], help="an option that is no secret"
    )
    parser.add_argument(
        "--set-secret",
        metavar="OPTION=FILE",
        action="append",
        default=[],
        help="a secret, read from a file; - is standard input, env:NAME an environment variable",
    )


def _plain(words: list[str]) -> dict[str, str]:
    return dict(_pair(word, "--set") for word in words)


def _given(kind: str, given: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Raises InputError for a secret that stands on the command line, where every user of the machine sees it."""
    about = {each.name: each for each in options_of(method_kind(kind).options_for(given))}
    for name in _plain(options["set"]):
        if name in about and about[name].secret:
            raise InputError(
                f"{name} is a secret, and other users of this machine can read the command line.",
                advice=f"Write --set-secret {name}=FILE, {name}=- for standard input, or {name}=env:NAME.",
            )
    sources = dict(_pair(word, "--set-secret") for word in options["set_secret"])
    if list(sources.values()).count("-") > 1:
        raise InputError("Standard input can be only one secret.", advice="Put the others into files.")
    return {**given, **{name: _secret(source) for name, source in sources.items()}}


def _pair(word: str, flag: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise InputError(f"{flag} {word.partition('=')[0]} has no value.", advice=f"Write {flag} OPTION=VALUE.")
    return name.strip().replace("-", "_"), value


def _secret(source: str) -> str:
    """Without the line's end. Raises InputError naming the source."""
    if source.startswith("env:"):
        name = source.removeprefix("env:")
        if name not in os.environ:
            raise InputError(f"The environment variable {name} is not set.")
        return os.environ[name]
    try:
        if source == "-":
            text = sys.stdin.read(_SIZE_LIMIT + 1)
        else:
            with Path(source).open(encoding="utf-8") as stream:
                text = stream.read(_SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(f"{source} cannot be read: {reason}.") from None
    if len(text) > _SIZE_LIMIT:
        raise InputError(f"{source} is too large to be a secret.")
    return text.rstrip("\r\n")


def _described(about: Option) -> str:
    marks = [word for word, holds in (("needed", about.required), ("secret", about.secret)) if holds]
    if about.default not in (None, ""):
        marks.append(f"default {about.default}")
    choices = f" One of {', '.join(value for value, _ in about.choices if value)}." if about.choices else ""
    known = f" ({', '.join(marks)})" if marks else ""
    return f"{about.label}{known}. {about.help}{choices}".strip()


def _affects(certificates: list[Any]) -> str:
    if not certificates:
        return "No certificate uses it yet."
    return f"This affects the next renewal of {certificates_named(certificates)}."
