from argparse import ArgumentParser
from typing import Any

from certs.management.base import BinderyCommand
from certs.management.reporting import ACTOR
from certs.selectors import certificate_find
from certs.services.orders import order_cancel


class Command(BinderyCommand):
    help = "Cancel the order of a certificate that is under way, as long as the CA does not issue yet."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("certificate", metavar="NAME", help="name, DNS name or id of the certificate")

    def run(self, *args: Any, **options: Any) -> int:
        certificate = certificate_find(options["certificate"])
        order = certificate.orders.filter(finished_at=None).first()
        if order is None:
            self.stdout.write(f"{certificate.name}: no order is under way.")
            return 0
        order_cancel(order, actor=ACTOR)
        self.stdout.write(f"{certificate.name}: its order was cancelled.")
        return 0
