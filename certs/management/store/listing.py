import json
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from certs.api.documents import certificate_document
from certs.domain.names import name_display
from certs.management.base import BinderyCommand, json_argument
from certs.management.reporting import ACTOR
from certs.management.tables import table_lines, terminal_width
from certs.models import Certificate
from certs.selectors import certificate_shown
from certs.services.filters import KINDS, SIZE, SIZE_LIMIT, SORTS, STATES, Filters, filters_read
from certs.services.search import Found, certificates_search

_FILTERS = ("q", "domain", "name", "tag", "issuer", "state", "kind", "key_type", "source", "fingerprint")
_BATCH = 200


class ListVerb(BinderyCommand):
    help = "List the certificates that fit, the one that expires first on top."

    def add_arguments(self, parser: ArgumentParser) -> None:
        filters_arguments(parser)
        parser.add_argument("--sort", choices=SORTS, default="expiry", help="(expiry)")
        parser.add_argument("--limit", type=int, default=SIZE, metavar="N", help=f"at most so many ({SIZE})")
        parser.add_argument("--cursor", default="", help="go on where an earlier list ended")
        parser.add_argument("--all", action="store_true", help="all of them, however many")
        json_argument(parser, "print one JSON document instead of a table")

    def run(self, *args: Any, **options: Any) -> int | None:
        if not options["all"] and not 1 <= options["limit"] <= SIZE_LIMIT:
            self.fail(f"--limit is 1 to {SIZE_LIMIT}; --all gives all of them.")
        given = {name: options[name] for name in (*_FILTERS, "expires_before", "expires_after", "sort", "cursor")}
        filters = filters_read({**given, "size": SIZE_LIMIT if options["all"] else options["limit"]})
        pages = list_pages(filters, everything=options["all"])
        (self._json if options["json"] else self._table)(pages)
        return None

    def _json(self, pages: Iterator[Found]) -> None:
        """Written as it is read: a million certificates are never in memory at once."""
        self.stdout.write('{"certificates": [', ending="")
        separator, cursor = "\n", ""
        for page in pages:
            for row in _whole(page.rows):
                document = json.dumps(certificate_document(row), ensure_ascii=False)
                self.stdout.write(f"{separator}{document}", ending="")
                separator = ",\n"
            cursor = page.next
        self.stdout.write(f'\n], "next": {json.dumps(cursor or None)}}}')

    def _table(self, pages: Iterator[Found]) -> None:
        first = next(pages)
        for number, page in enumerate(chain([first], pages)):
            lines = table_lines(_HEAD, [_row(row) for row in page.rows], width=terminal_width())
            self.stdout.write("\n".join(lines[bool(number) :]) if lines else "No certificate fits.")
            last = page
        if last.next:
            self.stdout.write(f"There are {first.total} in all. Go on with --cursor {last.next}, or give --all.")


def filters_arguments(parser: ArgumentParser) -> None:
    """As the pages and the API call them."""
    parser.add_argument("q", nargs="?", default="", metavar="TEXT", help="a part of a name")
    parser.add_argument("--domain", default="", metavar="NAME", help="this name and everything below it")
    parser.add_argument("--name", default="", metavar="NAME", help="exactly this DNS name or address")
    parser.add_argument("--tag", action="append", default=[], metavar="TAG", help="may be repeated: all of them")
    parser.add_argument("--issuer", default="", metavar="CN", help="the common name of who signed it")
    parser.add_argument("--state", choices=list(STATES), default="", help="how it is")
    parser.add_argument("--kind", choices=list(KINDS), default="", help="what it is; trusted is without a key")
    parser.add_argument("--key-type", default="", metavar="TYPE", help="such as ec-p256 or rsa-2048")
    parser.add_argument("--source", choices=Certificate.Source.values, default="", help="how it came here")
    parser.add_argument("--fingerprint", default="", metavar="SHA256", help="of any of its versions")
    parser.add_argument("--expires-before", default="", metavar="DATE", help="earlier than that day, like 2027-01-31")
    parser.add_argument("--expires-after", default="", metavar="DATE", help="that day or later")


def list_pages(filters: Filters, *, everything: bool) -> Iterator[Found]:
    """At least one; the others are asked for only as they are taken."""
    while True:
        page = certificates_search(ACTOR, filters)
        yield page
        if not everything or not page.next:
            return
        filters = replace(filters, cursor=page.next)


def _whole(rows: list[Certificate]) -> Iterator[Certificate]:
    """With their PEM, some at a time, in the same order."""
    left = iter(rows)
    while some := list(islice(left, _BATCH)):
        found = Certificate.objects.select_related("current__key", "key", "authority__certificate", "account")
        whole = found.prefetch_related("tag_rows").in_bulk([row.pk for row in some])
        yield from (whole[row.pk] for row in some if row.pk in whole)


_HEAD = ("EXPIRES", "STATE", "NAME", "KEY", "ISSUER", "TAGS", "ID")


def _row(row: Certificate) -> tuple[str, ...]:
    version = row.current
    others = len(version.names if version else row.names) - 1
    return (
        f"{version.not_after:%Y-%m-%d}" if version else "-",
        certificate_shown(row).words,
        name_display(row.name) + (f" +{others}" if others > 0 else ""),
        (version.key_type if version else row.key_type) or "-",
        row.issuer_name or "-",
        " ".join(each.tag for each in row.tag_rows.all()) or "-",
        row.api_id or str(row.pk),
    )
