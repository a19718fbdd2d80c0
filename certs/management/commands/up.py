from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.conf import settings

from certs.acme.directories import KNOWN
from certs.domain.errors import AcmeRetry, NotAllowed
from certs.management.announcement import address_lines, addresses_here, link_lines
from certs.management.base import BinderyCommand
from certs.management.volume import volume_argument
from certs.services.first_start import (
    CertificateWish,
    DemandWish,
    certificate_request,
    demand_parse,
    demand_request,
    own_certificate_create,
    wish_parse,
)
from certs.services.links import setup_is_open, setup_link_make
from portal import home
from portal.server.supervisor import ROLES, Supervisor

_WITH_HOSTNAMES = ("accept_le_sa", "directory", "ca_bundle", "allow_private_ca", "email", "without_volume")


class Command(BinderyCommand):
    help = "Start the portal: web server, queue and schedule, until Ctrl-C."
    reads_tables = False  # it makes them

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--role", choices=ROLES, default="all", help="what this node does (several nodes need PostgreSQL)"
        )
        parser.add_argument(
            "--create-certificates",
            action="store_true",
            help="make a self-signed certificate for HTTPS unless a certificate or key is there",
        )
        request = parser.add_argument_group(
            "request a certificate", "Configure ACME and order once, without the browser, unless a valid one is there."
        )
        request.add_argument("--hostnames", metavar="NAME,NAME", help="the names the certificate is for")
        request.add_argument(
            "--accept-le-sa",
            "--accept-terms",
            action="store_true",
            help="accept the terms of service of the CA (subscriber agreement)",
        )
        request.add_argument(
            "--directory", metavar="URL", help=f"the CA: {', '.join(KNOWN)}, or the URL of its ACME directory"
        )
        request.add_argument("--ca-bundle", metavar="FILE", help="PEM of the roots to trust for that directory")
        request.add_argument(
            "--allow-private-ca", action="store_true", help="the directory may be on a private or loopback address"
        )
        request.add_argument("--email", metavar="ADDRESS", help="where the CA may write to")
        volume_argument(request)
        request.add_argument(
            "--on-demand",
            action="store_true",
            help="order a certificate when a name is first visited over TLS, instead of at once",
        )
        request.add_argument(
            "--on-demand-host",
            metavar="NAME",
            action="append",
            default=[],
            help="a name that may be ordered on demand, or *.example.com for its direct children; may be given often; "
            "without it those of --hostnames",
        )

    def run(self, *args: Any, **options: Any) -> int | None:
        wish = self._wish(options)
        demand = self._demand(options)
        role = options["role"]
        supervisor = Supervisor(
            role,
            tell=self._line,
            announce=lambda: self._announce(role),
            before_children=lambda: self._certificates(options["create_certificates"], wish, demand),
        )
        supervisor.run()
        self.stdout.write("Bindery has ended.")
        return None

    def _demand(self, options: dict[str, Any]) -> DemandWish | None:
        given = [name for text in options["on_demand_host"] for name in text.split(",")]
        if not options["on_demand"]:
            if given:
                self.fail("--on-demand-host says something about --on-demand, which is missing.")
            return None
        return demand_parse(hosts=given or (options["hostnames"] or "").split(","), **_choice(options))

    def _wish(self, options: dict[str, Any]) -> CertificateWish | None:
        if options["on_demand"] and not (options["hostnames"] and options["on_demand_host"]):
            return None  # what is named is for later
        if options["hostnames"] is None:
            if lonely := [name for name in _WITH_HOSTNAMES if options[name]]:
                self.fail(f"--{lonely[0].replace('_', '-')} says something about --hostnames, which is missing.")
            return None
        return wish_parse(hostnames=options["hostnames"], **_choice(options))

    def _certificates(self, create: bool, wish: CertificateWish | None, demand: DemandWish | None) -> None:
        if create:
            made = own_certificate_create(home.path())
            self.stdout.write(
                f"A self-signed certificate was made, valid until {made.current.not_after:%Y-%m-%d}."
                if made and made.current
                else "A certificate or key is installed already; none was made."
            )
        if demand is not None:
            self._ask(lambda: demand_request(demand), demand.choice.terms_accepted, "On demand was not switched on")
        if wish is not None:
            self._ask(lambda: certificate_request(wish), wish.terms_accepted, "No certificate was requested")

    def _ask(self, request: Callable[[], str], terms_accepted: bool, otherwise: str) -> None:
        try:
            self.stdout.write(request())
        except AcmeRetry as error:
            if not terms_accepted:
                raise
            # A CA that is away must not keep the portal from serving what it has.
            self.stderr.write(f"bindery: {error} {otherwise}; the next start asks again.")
        except NotAllowed as error:
            if error.code != "volume":
                raise
            # The page asks the same; a portal that does not start could not.
            self.stderr.write(f"bindery: {error} {otherwise}.")

    def _announce(self, role: str) -> None:
        if role == "worker":
            self._lines(["Bindery works on the queue; Ctrl-C ends it.", f"Data in {home.path()}"])
            return
        addresses = addresses_here()
        lines = ["", *address_lines(addresses), f"Data in {home.path()}"]
        if setup_is_open():
            lines += ["", "Create the first administrator with this link, within an hour:"]
            lines += [f"  {line}" for line in link_lines(addresses, setup_link_make(keep_others=True))]
        self._lines([*lines, "", "Ctrl-C ends it."])

    def _line(self, line: str) -> None:
        self._lines([line])

    def _lines(self, lines: list[str]) -> None:
        self.stdout.write("\n".join(lines))
        self.stdout.flush()


def _choice(options: dict[str, Any]) -> dict[str, Any]:
    """Which CA, as it was typed."""
    return {
        "directory": options["directory"] or "letsencrypt",
        "terms_accepted": options["accept_le_sa"],
        "email": options["email"] or "",
        "ca_bundle": options["ca_bundle"] or "",
        "allow_private": options["allow_private_ca"] or settings.ALLOW_PRIVATE_CA,
        "without_volume": options["without_volume"],
    }
