from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from certs.management.base import UNCHECKED, BinderyCommand, json_argument
from certs.management.diagnosis import WRONG
from certs.management.progress import progress_bar
from certs.management.store.finding import WORD, several_find
from certs.models import Certificate
from certs.selectors import certificates_all
from certs.services.verification import Check, State, certificate_verify, worst_state

_CODES = {State.OK: 0, State.WRONG: WRONG, State.UNKNOWN: UNCHECKED}


class VerifyVerb(BinderyCommand):
    help = "Look whether certificates are what they say: dates, key, names, chain, revocation, and what is served."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("certificates", nargs="*", metavar="NAME", help=WORD)
        parser.add_argument("--all", action="store_true", help="every certificate")
        parser.add_argument("--not-served", action="store_true", help="leave out what the listener serves")
        json_argument(parser)

    def run(self, *args: Any, **options: Any) -> int:
        words = options["certificates"]
        if bool(words) == options["all"]:
            self.fail("Give certificates by name, or --all.")
        rows: Any = certificates_all().select_related("current__key") if options["all"] else several_find(words)
        total = rows.count() if options["all"] else len(rows)
        found: list[tuple[Certificate, list[Check]]] = []
        with progress_bar("verifying") as tell:
            for row in self._rows(rows):
                found.append((row, certificate_verify(row, served=not options["not_served"])))
                tell(len(found), total)
        code = _CODES[worst_state([check for _, checks in found for check in checks])]
        (self._json if options["json"] else self._lines)(found, code)
        return code

    def _rows(self, rows: Any) -> Iterator[Certificate]:
        return iter(rows) if isinstance(rows, list) else rows.order_by("pk").iterator(chunk_size=500)

    def _json(self, found: list[tuple[Certificate, list[Check]]], code: int) -> None:
        rows = [
            {
                "id": row.api_id or str(row.pk),
                "name": row.name,
                "state": str(worst_state(checks)),
                "checks": [check.as_json() for check in checks],
            }
            for row, checks in found
        ]
        self.print_json({"exit_code": code, "certificates": rows})

    def _lines(self, found: list[tuple[Certificate, list[Check]]], code: int) -> None:
        for row, checks in found:
            self.stdout.write(f"{row.name}: {worst_state(checks)}")
            for check in checks:
                self.stdout.write(f"    {check.state}: {check.text}")
