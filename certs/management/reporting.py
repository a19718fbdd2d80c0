"""The base of the commands that renew: their shared options, the wait, and what they print and return."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from typing import Any

from certs.management.base import BinderyCommand, json_argument
from certs.management.outcome import Outcome, document, exit_code, outcome_of, summary
from certs.management.waiting import TIMEOUT, orders_await
from certs.models import Certificate
from certs.services.ledger import budgets_shown
from certs.services.renewal_info import renewal_info_refresh
from certs.services.sweeps import SweepLine

ACTOR = "command line"
ARI_SECONDS = 10.0


def use_last_argument(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--use-last", action="store_true", help="also where it spends the last that a rate limit of the CA leaves"
    )


def _budgets(line: SweepLine) -> list[str]:
    """What the limits leave after its order."""
    row = Certificate.objects.select_related("account", "current").get(pk=line.certificate)
    found = budgets_shown(row.account, row.names, certificate=row) if row.account else []
    return [budget.text for budget in found if budget.used][:2]


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value <= 86400:
        raise ArgumentTypeError(f"{text!r} is no number of seconds between 0 and 86400")
    return value


class RenewingCommand(BinderyCommand):
    def add_arguments(self, parser: ArgumentParser) -> None:
        json_argument(parser)
        parser.add_argument("--exit-code", action="store_true", help="exit with 10 when something was renewed")
        parser.add_argument(
            "--inline", action="store_true", help="do the work in this process instead of the queue's workers"
        )
        parser.add_argument(
            "--timeout", type=seconds, default=TIMEOUT, metavar="S", help="wait at most so long (600); orders go on"
        )

    def hear_the_cas(self, options: dict[str, Any]) -> None:
        """When they want renewals (ARI): with workers each tick asks, without them nobody else would."""
        if options["inline"]:
            renewal_info_refresh(everything=True, seconds=ARI_SECONDS)

    def conclude(
        self,
        lines: Sequence[SweepLine],
        options: dict[str, Any],
        *,
        failed: Sequence[Outcome] = (),
        dry_run: bool = False,
    ) -> int:
        """Wait for the orders of the lines, print what became of each certificate, and return the exit code."""
        made = {line.order for line in lines if line.due and line.order}
        orders = orders_await(made, timeout=options["timeout"], inline=options["inline"])
        outcomes = [
            outcome_of(
                line,
                orders.get(line.order) if line.due and line.order else None,
                dry_run=dry_run,
                budgets=_budgets(line) if line.order in made else (),
            )
            for line in lines
        ]
        return self.report([*failed, *outcomes], options)

    def report(self, outcomes: Sequence[Outcome], options: dict[str, Any]) -> int:
        code = exit_code(outcomes, tell_renewed=options["exit_code"])
        if options["json"]:
            self.print_json(document(outcomes, code))
            return code
        for outcome in outcomes:
            self.stdout.write(outcome.text)
        self.stdout.write(summary(outcomes))
        return code
