from argparse import ArgumentParser
from typing import Any

from certs.management.reporting import ACTOR, RenewingCommand, use_last_argument
from certs.management.waiting import worker_required
from certs.selectors import certificate_find
from certs.services.sweeps import SweepLine, sweep_run


class Command(RenewingCommand):
    help = "Renew certificates now: the ones named, those that are due, or all."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("certificates", nargs="*", metavar="NAME", help="name, DNS name or id of a certificate")
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--due", action="store_true", help="those whose time has come")
        which.add_argument("--all", action="store_true", help="all that come from a CA")
        parser.add_argument(
            "--force", action="store_true", help="also when just renewed or after a failure; the CA's limits still hold"
        )

        use_last_argument(parser)

    def run(self, *args: Any, **options: Any) -> int:
        names, everything = options["certificates"], options["due"] or options["all"]
        if bool(names) == everything:
            self.fail("Give certificates by name, or --due, or --all.")
        worker_required(options["inline"])
        self.hear_the_cas(options)
        return self.conclude(self._lines(names, options), options)

    def _lines(self, names: list[str], options: dict[str, Any]) -> list[SweepLine]:
        how = {name: options[name] for name in ("force", "use_last")}
        if names:
            chosen = list(dict.fromkeys(certificate_find(name) for name in names))
            return sweep_run(only=chosen, actor=ACTOR, **how)
        return sweep_run(everything=True, asked=options["all"], actor=ACTOR, **how)
