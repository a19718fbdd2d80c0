"""`certs import --certbot` and `--acmesh`: the plan or what came of it, as lines and as JSON."""

import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from certs.domain import acmesh, certbot
from certs.domain.errors import InputError
from certs.domain.migration import Tree
from certs.management.base import FAILED, PARTLY, BinderyCommand
from certs.management.progress import progress_bar
from certs.management.reporting import ACTOR
from certs.services.migration import Deed, Line, Plan, migration_plan, tree_of_archive, tree_of_place
from certs.services.migration_run import Done, Trust, migration_run
from certs.services.other_clients import other_client_words
from certs.transports.trees import ARCHIVE_BYTES


def migration_arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group(
        "from another ACME client",
        "Its accounts, certificates with all versions, keys, and how names are proven. Nothing is ordered, and nothing "
        "of it is changed. Twice takes nothing twice.",
    )
    for flag, client, home in (("--certbot", certbot.CLIENT, certbot.HOME), ("--acmesh", acmesh.CLIENT, acmesh.HOME)):
        group.add_argument(
            flag,
            nargs="?",
            const=home,
            default=None,
            metavar="DIRECTORY",
            help=f"the directory of {client}, or a .tar.gz of it; - is one on standard input ({home})",
        )
    group.add_argument(
        "--ca-bundle", metavar="FILE", default="", help="PEM of the roots to trust for the CAs of its accounts"
    )
    group.add_argument("--allow-private-ca", action="store_true", help="these CAs may be on private addresses")


def takeover(command: BinderyCommand, client: str, place: Path, options: dict[str, Any]) -> int:
    """Returns the exit code."""
    trust = Trust(_text(options["ca_bundle"]), options["allow_private_ca"])
    plan = migration_plan(client, _tree(client, place))
    done: list[Done] = []
    if not options["dry_run"]:
        with progress_bar(f"taking over from {client}") as tell:
            done = migration_run(plan, actor=ACTOR, trust=trust, progress=tell)
    told = _told(plan, done)
    failed = any(each.failed for each in done)
    left = any(line.deed == Deed.LEFT for line in told if line.kind != "other")
    code = FAILED if failed else PARTLY if left else 0
    if options["json"]:
        command.print_json(_document(plan, told, code, options))
        return code
    for line in told:
        command.stdout.write(_shown(line, planned=options["dry_run"]))
    for state, sentence in other_client_words(list(plan.schedules)):
        command.stderr.write(f"bindery: {sentence}", command.style.WARNING if state == "active" else None)
    command.stdout.write(_summary(plan, told, dry_run=options["dry_run"]))
    return code


def _tree(client: str, place: Path) -> Tree:
    if str(place) == "-":
        return tree_of_archive(client, sys.stdin.buffer.read(ARCHIVE_BYTES + 1), "standard input")
    if not place.is_file():
        return tree_of_place(place)
    try:
        with place.open("rb") as stream:
            return tree_of_archive(client, stream.read(ARCHIVE_BYTES + 1), place.name)
    except OSError as error:
        raise InputError(f"{place} cannot be read: {error.strerror}.") from None


def _told(plan: Plan, done: Sequence[Done]) -> list[Line]:
    """In place of what was planned, what came of it."""
    return [*(each.line for each in done), *plan.left_lines] if done else plan.lines


def _shown(line: Line, *, planned: bool) -> str:
    words = line.deed.words if planned or line.deed in {Deed.HERE, Deed.LEFT} else "taken"
    about = f"{line.kind} {line.name}" if line.kind != "other" else line.name
    return f"{about}: {words}. {line.text}" + (f"\n    {line.advice}" if line.advice else "")


def _summary(plan: Plan, told: Sequence[Line], *, dry_run: bool) -> str:
    counts = Counter(line.deed for line in told)
    taken = counts[Deed.TAKE] + counts[Deed.NEWER] + counts[Deed.UPLOAD]
    rest = [f"{counts[Deed.HERE]} here already"] * bool(counts[Deed.HERE])
    rest += [f"{counts[Deed.LEFT]} not taken"] * bool(counts[Deed.LEFT])
    if not taken:
        return f"{': '.join(['Nothing to take', *([', '.join(rest)] if rest else [])])}."
    first = f"{taken} to take" if dry_run else f"{taken} taken"
    return f"{', '.join([first, *rest])}. Nothing was {'changed' if dry_run else 'ordered'}."


def _document(plan: Plan, told: Sequence[Line], code: int, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "exit_code": code,
        "dry_run": options["dry_run"],
        "client": plan.found.client,
        "place": plan.found.place,
        "counts": {str(deed): count for deed, count in sorted(Counter(line.deed for line in told).items())},
        "lines": [line.as_json() for line in told],
        "still_renewing": [
            {"place": each.place, "state": str(each.state), "stop": each.stop, "why": each.why}
            for each in plan.schedules
        ],
    }


def _text(file: str) -> str:
    if not file:
        return ""
    try:
        return Path(file).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}.", advice="Give the path of a PEM file.") from None
