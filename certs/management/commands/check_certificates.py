from argparse import ArgumentParser
from typing import Any

from certs.management.reporting import ACTOR, RenewingCommand
from certs.management.waiting import worker_required
from certs.services.sweeps import sweep_run


class Command(RenewingCommand):
    help = "Check every certificate now, say what was decided and why, and renew what is due."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="say what would be done; order and store nothing")

    def run(self, *args: Any, **options: Any) -> int:
        dry_run = options["dry_run"]
        if not dry_run:
            worker_required(options["inline"])
            self.hear_the_cas(options)
        lines = sweep_run(everything=True, dry_run=dry_run, actor=ACTOR)
        return self.conclude(lines, options, dry_run=dry_run)
