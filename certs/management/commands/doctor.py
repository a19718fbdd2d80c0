"""`manage.py doctor`: what is wrong with this portal and its surroundings, and what mends it."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings

from certs.domain.diagnosis import TOPICS, State, document, worst_state
from certs.management.base import BinderyCommand, json_argument
from certs.management.diagnosis import WRONG, colours_wanted, diagnosis_text
from certs.services.database import database_kept_open
from certs.services.diagnoses import diagnosis_run
from certs.services.nodes import node_name
from certs.services.support_bundle import bundle_place, bundle_write, support_bundle
from portal import clock


class Command(BinderyCommand):
    help = (
        "Look at the portal, its files, database, ports, names, network and CAs, and say what is wrong and what "
        "mends it. It changes nothing, needs no running portal, and takes 20 seconds at most."
    )

    reads_tables = False  # what does not fit is told as a line

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--topic",
            dest="topics",
            action="append",
            choices=list(TOPICS),
            default=[],
            help="only this; may be given often",
        )
        json_argument(parser)

        parser.add_argument(
            "--bundle", metavar="FILE", help="write a support bundle there, a ZIP file without secrets (0600)"
        )

    def run(self, *args: Any, **options: Any) -> int:
        if options["bundle"]:
            bundle_place(Path(options["bundle"]))  # refused before anything takes its time
        with database_kept_open():
            lines = diagnosis_run(options["topics"])
        if options["json"]:
            told = document(lines, node=node_name(), version=settings.VERSION, made_at=clock.real())
            self.print_json(told)
        else:
            colours = colours_wanted(terminal=self.stdout.isatty()) and not options["no_color"]
            text = diagnosis_text(lines, colours=colours, evidence=options["verbosity"] > 1)
            self.stdout.write("\n".join(text))  # at once: a reader that wants the first lines only may go away
        if options["bundle"]:
            bundle_write(Path(options["bundle"]), support_bundle(lines))
            self.stderr.write(f"The support bundle is in {options['bundle']}. Look through it before you pass it on.")
        return WRONG if worst_state(lines) == State.BAD else 0
