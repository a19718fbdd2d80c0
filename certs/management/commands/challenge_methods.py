import json
from argparse import ArgumentParser
from typing import Any

from certs.domain.errors import InputError
from certs.management.base import FAILED, BinderyCommand
from certs.management.plugin_options import option_arguments, options_described, options_plain, options_typed
from certs.management.reporting import ACTOR
from certs.models import ChallengeMethod, Order
from certs.services.by_hand import by_hand_awaited, by_hand_go_on, by_hand_look
from certs.services.challenges import solver_kinds
from certs.services.method_tests import method_test_begin, method_test_run
from certs.services.methods import (
    certificates_named,
    method_certificates,
    method_create,
    method_delete,
    method_find,
    method_kind,
    method_merged,
    method_shown,
    method_update,
)


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
        kinds.add_argument("kind", nargs="?", default="", metavar="KIND", help="only this one, with all its options")
        option_arguments(kinds)
        add = deeds.add_parser("add", help="a new one")
        add.add_argument("name", metavar="NAME", help="how to call it")
        add.add_argument("--kind", metavar="KIND", required=True, help="one of those that `kinds` lists")
        option_arguments(add)
        change = deeds.add_parser("change", help="change the options that are named, and leave the others")
        change.add_argument("name", metavar="NAME", help="its name")
        change.add_argument("--rename", metavar="NAME", help="the new name")
        change.add_argument("--forget", metavar="OPTION", action="append", default=[], help="a secret to be dropped")
        option_arguments(change)
        test = deeds.add_parser("test", help="put an answer in place, look at it, and take it away again")
        test.add_argument("name", metavar="NAME", help="its name")
        test.add_argument("dns_name", metavar="DNSNAME", help="a name that the method can prove")
        records = deeds.add_parser("records", help="what is to be put in place by hand for the orders that wait for it")
        records.add_argument(
            "--in-place",
            metavar="DNSNAME",
            default="",
            help="say that the records of the order for this name are there, where no name server answers this server",
        )
        delete = deeds.add_parser("delete", help="one that no certificate uses")
        delete.add_argument("name", metavar="NAME", help="its name")

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
        for line in options_described(method_kind(kind).options_for(options_plain(options["set"]))):
            self.stdout.write(line)
        return 0

    def _add(self, name: str, kind: str, **options: Any) -> int:
        about = method_kind(kind).options_for(options_plain(options["set"]))
        method = method_create(kind=kind, name=name, given=options_typed(about, options), actor=ACTOR)
        self.stdout.write(f"{method.name} is set up. Test it: manage.py challenge_methods test '{method.name}' NAME")
        return 0

    def _change(self, name: str, rename: str | None, forget: list[str], **options: Any) -> int:
        method = method_find(name)
        about = method_kind(method.kind).options_for(method.options | options_plain(options["set"]))
        given = method_merged(method, options_typed(about, options))
        affected = method_update(method, actor=ACTOR, name=rename, given=given, forget=forget)
        self.stdout.write(f"{method.name} is changed. {_affects(affected)}")
        return 0

    def _test(self, name: str, dns_name: str, **_: Any) -> int:
        method = method_find(name)
        method_test_begin(method, dns_name, actor=ACTOR, queue=False)
        result = method_test_run(method.pk, say=self.stdout.write)
        return 0 if result is not None and result.ok else FAILED

    def _records(self, in_place: str = "", **_: Any) -> int:
        waiting = [order for order in Order.objects.filter(finished_at=None) if by_hand_awaited(order)]
        if in_place:
            order = next((order for order in waiting if in_place in order.names), None)
            if order is None:
                raise InputError(f"No order for {in_place} waits for records.", advice="List them without --in-place.")
            by_hand_go_on(order, actor=ACTOR)
            self.stdout.write(f"{', '.join(order.names)}: the order goes on, and the CA looks for itself.")
            return 0
        for order in waiting:
            found = by_hand_look(order)
            self.stdout.write(f"{', '.join(order.names)}: until {found.until:%Y-%m-%d %H:%M} UTC")
            if found.looking:
                self.stdout.write("  The name servers are being asked just now; look again in a few seconds.")
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


def _affects(certificates: list[Any]) -> str:
    if not certificates:
        return "No certificate uses it yet."
    return f"This affects the next renewal of {certificates_named(certificates)}."
