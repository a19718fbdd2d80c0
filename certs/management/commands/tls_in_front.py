from argparse import ArgumentParser
from typing import Any

from certs.domain.errors import InputError
from certs.domain.forwarded import proxies_parse
from certs.management.base import BinderyCommand
from certs.management.reporting import ACTOR
from certs.services.front import front_change, front_on_trial, front_read
from certs.services.front_check import front_look, front_shown
from certs.services.front_notices import notices_read
from certs.services.portal_state import state_get


class Command(BinderyCommand):
    help = (
        "Show or change whether TLS ends in front of the portal and which proxies are believed, as Configuration ➜ TLS "
        "in front does. From here a change holds at once, without a trial."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        switch = parser.add_mutually_exclusive_group()
        switch.add_argument("--on", action="store_true", help="believe the listed proxies")
        switch.add_argument("--off", action="store_true", help="believe nobody; the list is kept")
        parser.add_argument(
            "--trust", metavar="ADDRESS", action="append", default=[], help="an address or a network; may be repeated"
        )
        parser.add_argument(
            "--drop", metavar="ADDRESS", action="append", default=[], help="take one off the list; may be repeated"
        )
        parser.add_argument("--look", action="store_true", help="look at what the public URL serves")

    def run(self, *args: Any, **options: Any) -> int | None:
        now = front_read()
        gone, known = set(proxies_parse(options["drop"])), set(now.listed)
        if unknown := gone - known:
            raise InputError(f"{', '.join(map(str, sorted(unknown, key=str)))} is not on the list.")
        wanted = (known | set(proxies_parse(options["trust"]))) - gone
        on = options["on"] or (now.on and not options["off"])
        if options["on"] or options["off"] or wanted != known:
            front_change(on=on, proxies=[str(network) for network in wanted], actor=ACTOR, trial=False)
        self._show(look=options["look"])
        return None

    def _show(self, *, look: bool) -> None:
        now, trial = front_read(), " (on trial)" if front_on_trial(state_get()) else ""
        self.stdout.write(f"TLS in front is {'on' if now.on else 'off'}{trial}.")
        self.stdout.write(f"Proxies: {', '.join(now.shown) or 'none'}")
        for notice in notices_read():
            self.stdout.write(
                f"Noticed, not believed: {notice.peer} ({', '.join(notice.headers)}), {notice.at:%F %H:%M} UTC"
            )
        if look:
            self.stdout.write(f"Public URL: {front_shown(front_look()).words}")
