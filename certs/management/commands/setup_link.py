from typing import Any

from certs.management.announcement import addresses_here, link_lines
from certs.management.base import BinderyCommand
from certs.services.links import setup_link_make


class Command(BinderyCommand):
    help = "Print a new one-time link that creates the first administrator, valid for an hour."

    def run(self, *args: Any, **options: Any) -> int | None:
        token = setup_link_make()
        self.stdout.write("\n".join(link_lines(addresses_here(), token)))
        return None
