from typing import Any

from certs.management.announcement import addresses_here
from certs.management.base import BinderyCommand
from certs.services.client_auth import client_auth_return
from certs.services.front import front_is_on, front_return
from certs.services.https import https_reset

ACTOR = "command line"


class Command(BinderyCommand):
    help = "Turn Force SSL, HSTS, client certificates and TLS in front off, when they lock you out of the portal."

    def run(self, *args: Any, **options: Any) -> int | None:
        https_reset(actor=ACTOR)
        client_auth_return(actor=ACTOR)
        front_return(actor=ACTOR)
        ours = "Force SSL, HSTS, client certificates and TLS in front"
        off = "Force SSL, HSTS and client certificates" if front_is_on() else ours
        self.stdout.write(
            f"{off} are off. Plain HTTP answers at {addresses_here().http}/ again.\n"
            "A browser that was told HSTS forgets it when it reaches the portal over HTTPS without a certificate "
            "error, or when you delete the site's data in it."
        )
        if front_is_on():
            self.stdout.write("BINDERY_TLS_IN_FRONT says that TLS ends in front: unset it and restart the portal.")
        return None
