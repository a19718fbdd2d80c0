"""`manage.py limits`: the rate limits that are counted for each CA, and your own for those that publish none."""

from argparse import ArgumentParser
from typing import Any

from certs.acme.directories import KNOWN, directory_label
from certs.domain.budget import EVENT_OF, limit_parse
from certs.domain.errors import InputError
from certs.management.base import BinderyCommand
from certs.management.reporting import ACTOR
from certs.services.directories import directory_named
from certs.services.ledger import directories_counted, limits_of, limits_set


class Command(BinderyCommand):
    help = "Show the rate limits that are counted for the CAs, or set your own for one of them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("directory", nargs="?", metavar="KEY|URL", help=f"{', '.join(KNOWN)} or a directory's URL")
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="SCOPE=COUNT/HOURS",
            help=f"scope is {', '.join(EVENT_OF)}; what you do not name is as the CA publishes it; may be repeated",
        )
        parser.add_argument("--reset", action="store_true", help="take your own limits of this CA away")

    def run(self, *args: Any, **options: Any) -> int:
        word, wanted = options["directory"], options["set"]
        if wanted and options["reset"]:
            raise InputError("--set and --reset contradict each other.", advice="Give one of them.")
        if (wanted or options["reset"]) and not word:
            raise InputError("Which CA?", advice=f"Name it: {', '.join(KNOWN)} or the URL of its directory.")
        urls = [directory_named(word)] if word else directories_counted()
        if wanted or options["reset"]:
            limits_set(urls[0], [limit_parse(text) for text in wanted], actor=ACTOR)
        for url in urls:
            self.stdout.write(f"{directory_label(url)} ({url})")
            for line in [limit.text for limit in limits_of(url)] or ["none known"]:
                self.stdout.write(f"  {line}")
        return 0
