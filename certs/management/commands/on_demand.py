from argparse import ArgumentParser
from typing import Any

from certs.acme.directories import KNOWN
from certs.domain.errors import InputError
from certs.domain.on_demand import hosts_parse
from certs.management.base import BinderyCommand
from certs.management.reporting import ACTOR
from certs.management.volume import volume_argument
from certs.models import AcmeAccount, PortalState
from certs.selectors import accounts_usable
from certs.services.directories import directory_named
from certs.services.on_demand import on_demand_change, on_demand_problem
from certs.services.portal_state import state_get


class Command(BinderyCommand):
    help = "Show or change which names get a certificate at their first visit, as Configuration ➜ On demand does."

    def add_arguments(self, parser: ArgumentParser) -> None:
        switch = parser.add_mutually_exclusive_group()
        switch.add_argument("--on", action="store_true", help="switch it on")
        switch.add_argument("--off", action="store_true", help="switch it off; what was issued is renewed on")
        parser.add_argument(
            "--add", metavar="NAME", action="append", default=[], help="a name, or *.example.com; may be repeated"
        )
        parser.add_argument(
            "--drop", metavar="NAME", action="append", default=[], help="a name to take off the list; may be repeated"
        )
        parser.add_argument(
            "--directory", metavar="URL", help=f"order at the account there: {', '.join(KNOWN)}, or a directory's URL"
        )
        parser.add_argument("--email", metavar="ADDRESS", default="", help="which account, where there are several")
        volume_argument(parser)

    def run(self, *args: Any, **options: Any) -> int | None:
        state = state_get()
        hosts = _hosts(state, options["add"], options["drop"])
        account = _account(options["directory"], options["email"]) or state.on_demand_account
        on = options["on"] or (state.on_demand and not options["off"])
        on_demand_change(on=on, hosts=hosts, account=account, actor=ACTOR, without_volume=options["without_volume"])
        self._show(state_get())
        return None

    def _show(self, state: PortalState) -> None:
        self.stdout.write(f"On demand is {'on' if state.on_demand else 'off'}. {on_demand_problem(state)}".rstrip())
        self.stdout.write(f"Names: {', '.join(state.on_demand_hosts) or 'none'}")
        self.stdout.write(f"Account: {state.on_demand_account or 'none'}")


def _hosts(state: PortalState, added: list[str], dropped: list[str]) -> list[str]:
    """Raises NameRefused, InputError for what is not there to be dropped."""
    gone = hosts_parse(dropped)
    if unknown := sorted(set(gone) - set(state.on_demand_hosts)):
        raise InputError(f"{', '.join(unknown)} is not on the list.", advice="Without options it is shown.")
    return sorted({*state.on_demand_hosts, *hosts_parse(added)} - set(gone))


def _account(directory: str | None, email: str) -> AcmeAccount | None:
    """None where nothing was said. Raises InputError."""
    if not directory and not email:
        return None
    rows = accounts_usable()
    if directory:
        rows = rows.filter(directory_url=directory_named(directory))
    found = (rows.filter(email=email) if email else rows).first()
    if found is None:
        raise InputError("There is no such account with accepted terms.", advice="manage.py accounts lists them.")
    return found
