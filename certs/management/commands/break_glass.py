from typing import Any

from certs.management.announcement import addresses_here
from certs.management.base import BinderyCommand
from certs.services.https import https_reset


class Command(BinderyCommand):
    help = "Turn Force SSL and HSTS off, when they lock you out of the portal."

    def run(self, *args: Any, **options: Any) -> int | None:
        https_reset(actor="command line")
        self.stdout.write(
            f"Force SSL and HSTS are off. Plain HTTP answers at {addresses_here().http}/ again.\n"
            "A browser that was told HSTS forgets it when it reaches the portal over HTTPS without a certificate "
            "error, or when you delete the site's data in it."
        )
        return None
