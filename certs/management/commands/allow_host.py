"""`manage.py allow_host NAME`: show the portal's pages under one more host name."""

from argparse import ArgumentParser
from typing import Any

from certs.management.base import BinderyCommand
from certs.services import addresses


class Command(BinderyCommand):
    help = "Accept a host name or address in the browser's address bar; without a name, list what is accepted."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "names", nargs="*", metavar="NAME", help="host names or addresses; none: list all that are accepted"
        )
        parser.add_argument("--remove", action="store_true", help="take back names that were added")

    def run(self, *args: Any, names: list[str], remove: bool, **options: Any) -> int:
        change = addresses.host_disallow if remove else addresses.host_allow
        for name in names:
            host = change(name, actor="command line")
            self.stdout.write(f"{host}: {'no longer added' if remove else 'accepted'}")
        if not names:
            for host in sorted(addresses.accepted_hosts()):
                self.stdout.write(host)
        return 0
