from argparse import ArgumentParser
from typing import Any

from certs.management.base import BinderyCommand, json_argument
from certs.management.endpoints.finding import option_flags, options_given
from certs.management.reporting import ACTOR
from certs.management.tables import facts_lines, table_lines, terminal_width
from certs.models import Endpoint
from certs.selectors import endpoints_visible_to
from certs.services.endpoint_sessions import connection_kinds, installer_kinds
from certs.services.endpoints import (
    endpoint_approve,
    endpoint_create,
    endpoint_delegate,
    endpoint_delete,
    endpoint_find,
    endpoint_look,
    endpoint_shown,
    endpoint_test,
    endpoint_update,
)
from certs.services.organizations import department_find, organization_find

_ENDPOINT = "its name or id"


class AddVerb(BinderyCommand):
    help = "Add an endpoint: a server program, and how its machine is reached. Nothing is changed there."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("kind", choices=list(installer_kinds()), help="what it is")
        parser.add_argument("--name", required=True, metavar="NAME", help="how to call it: 1 to 32 characters")
        parser.add_argument(
            "--connection_type", required=True, choices=list(connection_kinds()), help="how its machine is reached"
        )
        _place_arguments(parser)
        option_flags(parser)
        json_argument(parser)

    def run(self, *args: Any, **options: Any) -> None:
        organization = organization_find(options["organization"]) if options["organization"] else None
        row = endpoint_create(
            name=options["name"],
            kind=options["kind"],
            connection=options["connection_type"],
            given=options_given(options),
            organization=organization,
            department=department_find(options["department"], organization) if options["department"] else None,
            actor=ACTOR,
        )
        if options["json"]:
            self.print_json(endpoint_shown(row))
            return
        self.stdout.write(f"{row} was added. Its id is {row.pk}.")
        self.stdout.write(f"Next: manage.py tls test {row.name}")


class EditVerb(BinderyCommand):
    help = "Change an endpoint. What is not given stays; another host or port needs its identity approved again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("endpoint", metavar="ENDPOINT", help=_ENDPOINT)
        parser.add_argument("--name", default=None, metavar="NAME", help="how to call it")
        _place_arguments(parser)
        option_flags(parser)

    def run(self, *args: Any, **options: Any) -> None:
        row = endpoint_find(options["endpoint"])
        given = options_given(options)
        if given or options["name"] is not None:
            endpoint_update(row, name=options["name"], given=given or None, actor=ACTOR)
        if options["organization"]:
            organization = organization_find(options["organization"])
            department = department_find(options["department"], organization) if options["department"] else None
            endpoint_delegate(row, organization, department, actor=ACTOR)
        self.stdout.write(f"{row} is changed.")


class ListVerb(BinderyCommand):
    help = "List the endpoints."

    def add_arguments(self, parser: ArgumentParser) -> None:
        json_argument(parser)

    def run(self, *args: Any, **options: Any) -> None:
        rows = list(endpoints_visible_to(ACTOR))
        if options["json"]:
            self.print_json({"endpoints": [endpoint_shown(row) for row in rows]})
            return
        head = ("KIND", "CONNECTION", "NODES", "ORGANIZATION", "LAST CONTACT", "NAME")
        lines = table_lines(head, [_row(row) for row in rows], width=terminal_width())
        self.stdout.write("\n".join(lines) if lines else "There is none. Add one: manage.py tls add nginx --name …")


class ShowVerb(BinderyCommand):
    help = "Show an endpoint, without its secrets."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("endpoint", metavar="ENDPOINT", help=_ENDPOINT)
        json_argument(parser)

    def run(self, *args: Any, **options: Any) -> None:
        row = endpoint_find(options["endpoint"])
        shown = endpoint_shown(row)
        if options["json"]:
            self.print_json(shown)
            return
        facts = [(name, str(value)) for name, value in shown.items() if name not in ("options", "secrets")]
        facts += [(f"--{name}", str(value)) for name, value in shown["options"].items() if value not in ("", None)]
        facts += [(f"--{name}", "(stored)") for name in shown["secrets"]]
        self.stdout.write("\n".join(facts_lines([*facts, ("last contact", _contact(row))])))


class RemoveVerb(BinderyCommand):
    help = "Remove an endpoint, its nodes and their history from the portal. The machine is not touched."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("endpoint", metavar="ENDPOINT", help=_ENDPOINT)

    def run(self, *args: Any, **options: Any) -> None:
        row = endpoint_find(options["endpoint"])
        endpoint_delete(row, actor=ACTOR)
        self.stdout.write(f"{row} is removed. What was installed there stays as it is.")


class TestVerb(BinderyCommand):
    help = "Reach an endpoint. The first time it shows what is to be approved: manage.py tls approve."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("endpoint", metavar="ENDPOINT", help=_ENDPOINT)

    def run(self, *args: Any, **options: Any) -> None:
        row = endpoint_find(options["endpoint"])
        shows = endpoint_look(row, actor=ACTOR)
        if shows and shows != row.pin_fingerprint:
            changed = "another identity than was approved" if row.pin else "this identity"
            self.fail(
                f"{row} shows {changed}: {shows}. Compare it on the machine itself, then: "
                f"manage.py tls approve {row.name} {shows}"
            )
        self.stdout.write(endpoint_test(row, actor=ACTOR))


class ApproveVerb(BinderyCommand):
    help = "Approve the identity that an endpoint's machine shows, as `tls test` has printed it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("endpoint", metavar="ENDPOINT", help=_ENDPOINT)
        parser.add_argument("fingerprint", metavar="FINGERPRINT", help="what you have compared")

    def run(self, *args: Any, **options: Any) -> None:
        row = endpoint_find(options["endpoint"])
        endpoint_approve(row, options["fingerprint"], actor=ACTOR)
        self.stdout.write(f"{row}: {row.pin_fingerprint} is approved, and any other is refused from now on.")


def _place_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--organization", default="", help="delegate it to this organization")
    parser.add_argument("--department", default="", help="to this department of it")


def _row(row: Endpoint) -> tuple[str, ...]:
    delegated = str(row.organization) if row.organization else "not delegated"
    nodes = str(row.nodes.filter(gone_at=None).count())
    return row.kind, row.connection, nodes, delegated, _contact(row), row.name


def _contact(row: Endpoint) -> str:
    if row.trouble_at is None:
        return "never"
    return f"{row.trouble_at:%Y-%m-%d %H:%M} {row.trouble or 'well'}"
