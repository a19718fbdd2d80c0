from typing import Any

from django.conf import settings

from certs.management.announcement import addresses_here
from certs.management.base import BinderyCommand
from certs.services.front import front_return
from certs.services.https import https_reset

ACTOR = "command line"


class Command(BinderyCommand):
    help = "Turn Force SSL, HSTS and TLS in front off, when they lock you out of the portal."

    def run(self, *args: Any, **options: Any) -> int | None:
        https_reset(actor=ACTOR)
        front_return(actor=ACTOR)
        self.stdout.write(
            f"Force SSL, HSTS and TLS in front are off. Plain HTTP answers at {addresses_here().http}/ again.\n"
            "A browser that was told HSTS forgets it when it reaches the portal over HTTPS without a certificate "
            "error, or when you delete the site's data in it."
        )
        if settings.TLS_IN_FRONT_LOCKED and settings.TLS_IN_FRONT:
            self.stdout.write(
                "BINDERY_TLS_IN_FRONT still says that TLS ends in front: unset it and restart the portal."
            )
        return None
