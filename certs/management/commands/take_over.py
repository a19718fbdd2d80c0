from argparse import ArgumentParser
from typing import Any

from certs.management.base import BinderyCommand
from certs.services.identity import identity_held, identity_hold, identity_is_trial, identity_take_over

ACTOR = "command line"


class Command(BinderyCommand):
    help = "Say that this portal goes on, where it was copied or restored and therefore holds its orders."

    def add_arguments(self, parser: ArgumentParser) -> None:
        choice = parser.add_mutually_exclusive_group()
        choice.add_argument("--look", action="store_true", help="say whether it is held, and why; change nothing")
        choice.add_argument(
            "--hold",
            action="store_true",
            help="say that this is a copy for trying: it serves what it has, and orders nothing",
        )

    def run(self, *args: Any, **options: Any) -> int | None:
        if options["look"]:
            self.stdout.write(_look())
        elif options["hold"]:
            identity_hold(actor=ACTOR)
            self.stdout.write(
                "This portal is a copy for trying. It serves what it has. It orders, renews and revokes nothing."
            )
        elif identity_take_over(actor=ACTOR):
            self.stdout.write("This is the portal from now on: orders and renewals go on. See that the other one ends.")
        else:
            self.stdout.write("Nothing was held: this is the portal already.")
        return None


def _look() -> str:
    held = identity_held()
    if not held:
        return "Nothing is held: this is the portal."
    return "Held as a copy for trying." if identity_is_trial() else f"Held. {held}"
