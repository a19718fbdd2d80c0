from argparse import ArgumentParser
from typing import Any

from certs.domain import states
from certs.management.base import FAILED, BinderyCommand
from certs.management.reporting import ACTOR, seconds
from certs.management.waiting import TIMEOUT, orders_await, worker_required
from certs.selectors import certificate_find
from certs.services.rehearsals import rehearsal_ask


class Command(BinderyCommand):
    help = "Rehearse the order of a certificate at its CA's staging directory; what that brings is dropped."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("certificate", metavar="NAME", help="name, DNS name or id of the certificate")
        parser.add_argument(
            "--inline", action="store_true", help="do the work in this process instead of the queue's workers"
        )
        parser.add_argument("--timeout", type=seconds, default=TIMEOUT, metavar="S", help="wait at most so long (600)")

    def run(self, *args: Any, **options: Any) -> int:
        worker_required(options["inline"])
        order = rehearsal_ask(certificate_find(options["certificate"]), actor=ACTOR)
        order = orders_await({order.pk}, timeout=options["timeout"], inline=options["inline"])[order.pk]
        if order.state == states.DONE:
            self.stdout.write(f"{order.certificate.name}: the rehearsal succeeded; nothing was kept.")
            return 0
        self.stdout.write(f"{order.certificate.name}: {order.error_message or 'not finished yet'} {order.error_advice}")
        return FAILED
