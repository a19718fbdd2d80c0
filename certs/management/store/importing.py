import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from certs.domain import acmesh, certbot
from certs.domain.bundle import SIZE_LIMIT
from certs.domain.bundle_items import GivenFile
from certs.domain.errors import BinderyError, InputError
from certs.management.base import FAILED, PARTLY, BinderyCommand, json_argument
from certs.management.passwords import can_ask, password_argument, password_ask, password_given
from certs.management.reporting import ACTOR
from certs.management.store.takeover import migration_arguments, takeover
from certs.services.certificate_properties import Properties
from certs.services.intake import Choice, Outcome, Preview, Proposal, Verdict, intake_read, intake_save

_PASSWORD = "--password-file"  # noqa: S105 - the name of a flag
_WORDS = {
    Verdict.NEW: "new",
    Verdict.SAME: "here already",
    Verdict.KEY: "its key was missing until now",
    Verdict.VERSION: "the next version of",
    Verdict.ANSWER: "the answer to the request of",
    Verdict.REFUSED: "refused",
}


class ImportVerb(BinderyCommand):
    help = (
        "Take in certificates and keys from files of any form, or everything from certbot or acme.sh. What is there "
        "already is recognised."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "files", nargs="*", metavar="FILE", help="PEM, DER, PKCS#7, PKCS#12 or JKS; - is standard input"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be taken, and take nothing")
        json_argument(parser)
        files = parser.add_argument_group("files")
        password_argument(files, _PASSWORD, "passwords of keys and key stores, one per line")
        files.add_argument("--name", default="", help="how to call it here; for one certificate")
        files.add_argument("--description", default="", metavar="TEXT", help="what you want to say of it")
        files.add_argument("--tag", action="append", default=[], help="may be repeated")
        files.add_argument(
            "--own", action="store_true", help="each as a certificate of its own, never as the next version of another"
        )
        migration_arguments(parser)

    def run(self, *args: Any, **options: Any) -> int:
        trees = {
            client: place
            for client, place in ((certbot.CLIENT, options["certbot"]), (acmesh.CLIENT, options["acmesh"]))
            if place is not None
        }
        if len(trees) + bool(options["files"]) != 1:
            self.fail("Give files, or --certbot, or --acmesh.")
        if trees:
            client, place = trees.popitem()
            return takeover(self, client, Path(place), options)
        return self._files(options)

    def _files(self, options: dict[str, Any]) -> int:
        preview = self._read([_given(word) for word in options["files"]], options)
        wanted = [proposal for proposal in preview.proposals if proposal.wanted]
        if options["name"] and len(wanted) > 1:
            self.fail(f"--name is for one certificate; these are {len(wanted)}.")
        outcomes: list[Outcome] = []
        if wanted and not options["dry_run"]:
            properties = Properties(
                name=options["name"], description=options["description"], tags=tuple(options["tag"])
            )
            choices = [Choice(each.number, own=options["own"], properties=properties) for each in wanted]
            outcomes = intake_save(preview, choices, actor=ACTOR)
        return self._report(preview, outcomes, options)

    def _read(self, files: list[GivenFile], options: dict[str, Any]) -> Preview:
        """Asks for a password where one is missing and somebody is there to type it."""
        passwords = [line for line in password_given(options, _PASSWORD).splitlines() if line]
        while True:
            try:
                return intake_read(files, passwords, actor=ACTOR)
            except InputError as error:
                if error.code not in {"password-needed", "password-wrong"} or not can_ask():
                    raise
                self.stderr.write(f"bindery: {error.message}")
                typed = password_ask("Password (none: leave it)")
                if not typed:
                    raise
                passwords.append(typed)

    def _report(self, preview: Preview, outcomes: list[Outcome], options: dict[str, Any]) -> int:
        saved = {outcome.proposal.number: outcome for outcome in outcomes}
        rows = [_document(proposal, saved.get(proposal.number)) for proposal in preview.proposals]
        lefts = [{"file": each.file, "text": each.text} for each in preview.left_over]
        bad = sum(row["verdict"] == Verdict.REFUSED for row in rows) + len(lefts)
        good = len(rows) - sum(row["verdict"] == Verdict.REFUSED for row in rows)
        code = 0 if not bad else PARTLY if good else FAILED
        if options["json"]:
            document = {"exit_code": code, "dry_run": options["dry_run"], "items": rows, "left_over": lefts}
            self.print_json(document)
            return code
        for row in rows:
            self.stdout.write(_line(row))
        for left in lefts:
            self.stderr.write(f"bindery: {left['file']}: {left['text']}")
        if not rows and not lefts:
            self.stdout.write("Nothing was found in it.")
        if options["dry_run"]:
            self.stdout.write("Nothing was taken: this was a dry run.")
        return code


def _given(word: str) -> GivenFile:
    """Raises InputError naming the file."""
    try:
        if word == "-":
            return GivenFile("", sys.stdin.buffer.read(SIZE_LIMIT + 1))
        with Path(word).open("rb") as stream:
            return GivenFile(Path(word).name, stream.read(SIZE_LIMIT + 1))
    except OSError as error:
        raise InputError(f"{word} cannot be read: {error.strerror}.") from None


def _document(proposal: Proposal, outcome: Outcome | None) -> dict[str, Any]:
    error: BinderyError | None = outcome.error if outcome else None
    certificate = (outcome.certificate if outcome else None) or proposal.certificate
    return {
        "title": proposal.item.title,
        "file": proposal.item.file,
        "kind": str(proposal.item.kind),
        "verdict": str(Verdict.REFUSED if error else outcome.verdict if outcome else proposal.verdict),
        "text": str(error) if error else proposal.reason,
        "remarks": [remark.text for remark in proposal.item.remarks] + list(proposal.differences),
        "id": (certificate.api_id or str(certificate.pk)) if certificate else None,
        "name": certificate.name if certificate else None,
    }


def _line(row: dict[str, Any]) -> str:
    told = _WORDS[Verdict(row["verdict"])]
    name = "" if row["name"] == row["title"] else f" {row['name']}"
    named = f"{name} ({row['id']})" if row["id"] else ""
    why = f". {row['text']}" if row["text"] else ""
    first = f"{row['title']}: {told}{named}{why}"
    return "\n".join([first, *(f"    {remark}" for remark in row["remarks"])])
