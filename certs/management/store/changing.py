from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from certs.domain.errors import BinderyError
from certs.management.base import FAILED, PARTLY, BinderyCommand, json_argument
from certs.management.progress import progress_bar
from certs.management.reporting import ACTOR
from certs.management.store.finding import WORD, deleted_find, several_find, version_of
from certs.management.tables import table_lines, terminal_width
from certs.models import Certificate
from certs.selectors import certificate_find
from certs.services.certificate_changes import certificate_tags_set
from certs.services.certificate_properties import certificate_tags
from certs.services.deletion import KEPT, certificate_delete, certificate_restore
from certs.services.version_history import version_use

_MOST_LISTED = 1000


class _EachVerb(BinderyCommand):
    """The same deed for each certificate that is named; one that is refused never stops the others."""

    def each(self, rows: list[Certificate], deed: Callable[[Certificate], str], options: dict[str, Any]) -> int:
        """`deed` returns what it did, as words for people."""
        outcomes: list[dict[str, str]] = []
        with progress_bar(str(options["verb"])) as tell:
            for row in rows:
                about = {"id": row.api_id or str(row.pk), "name": row.name}
                try:
                    outcomes.append(about | {"result": "done", "text": deed(row)})
                except BinderyError as error:
                    outcomes.append(about | {"result": "refused", "text": str(error)})
                tell(len(outcomes), len(rows))
        refused = sum(each["result"] == "refused" for each in outcomes)
        code = 0 if not refused else FAILED if refused == len(outcomes) else PARTLY
        if options["json"]:
            self.print_json({"exit_code": code, "certificates": outcomes})
            return code
        for each in outcomes:
            stream = self.stdout if each["result"] == "done" else self.stderr
            stream.write(each["text"] if each["result"] == "done" else f"bindery: {each['text']}")
        return code


class DeleteVerb(_EachVerb):
    help = f"Delete certificates. For {KEPT.days} days they can be restored; what is in use is refused."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("certificates", nargs="+", metavar="NAME", help=WORD)
        json_argument(parser)

    def run(self, *args: Any, **options: Any) -> int:
        return self.each(several_find(options["certificates"]), self._delete, options)

    def _delete(self, row: Certificate) -> str:
        certificate_delete(row, actor=ACTOR)
        return f"{row.name} is deleted. Back again: manage.py certs restore {row.pk}"


class RestoreVerb(_EachVerb):
    help = "Bring back what was deleted; without a name, list it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("certificates", nargs="*", metavar="NAME", help="name or id of a deleted certificate")
        json_argument(parser)

    def run(self, *args: Any, **options: Any) -> int:
        if options["certificates"]:
            rows = list(dict.fromkeys(deleted_find(word) for word in options["certificates"]))
            return self.each(rows, self._restore, options)
        self._list(as_json=options["json"])
        return 0

    def _restore(self, row: Certificate) -> str:
        certificate_restore(row, actor=ACTOR)
        return f"{row.name} is back."

    def _list(self, *, as_json: bool) -> None:
        rows = Certificate.objects.exclude(deleted_at=None).order_by("-deleted_at")[:_MOST_LISTED]
        gone = [(row, row.deleted_at, row.deleted_at + KEPT) for row in rows if row.deleted_at]
        if as_json:
            found = [
                {"id": str(row.pk), "name": row.name, "deletedAt": at.isoformat(), "keptUntil": until.isoformat()}
                for row, at, until in gone
            ]
            self.print_json({"certificates": found})
            return
        table = [(f"{at:%Y-%m-%d}", f"{until:%Y-%m-%d}", str(row.pk), row.name) for row, at, until in gone]
        lines = table_lines(("DELETED", "KEPT UNTIL", "ID", "NAME"), table, width=terminal_width())
        self.stdout.write("\n".join(lines) if lines else "Nothing is deleted.")


class UseVerb(BinderyCommand):
    help = "Go back, or forward, to a version of a certificate that was kept. Where it is bound, that one is served."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("certificate", metavar="NAME", help=WORD)
        parser.add_argument("version", metavar="FINGERPRINT", help="the beginning of its SHA-256, or its serial number")

    def run(self, *args: Any, **options: Any) -> int | None:
        row = certificate_find(options["certificate"])
        version = version_of(row, options["version"])
        version_use(row, version, actor=ACTOR)
        self.stdout.write(f"{row.name}: {version} is in use.")
        return None


class TagVerb(_EachVerb):
    help = "Give certificates tags, or take them away."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("certificates", nargs="+", metavar="NAME", help=WORD)
        parser.add_argument("--add", action="append", default=[], metavar="TAG", help="may be repeated")
        parser.add_argument("--remove", action="append", default=[], metavar="TAG", help="may be repeated")
        json_argument(parser)

    def run(self, *args: Any, **options: Any) -> int:
        if not options["add"] and not options["remove"]:
            self.fail("Give --add TAG or --remove TAG.")
        gone = {tag.strip().lower() for tag in options["remove"]}

        def tag(row: Certificate) -> str:
            tags = [each for each in certificate_tags(row) if each not in gone] + options["add"]
            certificate_tags_set(row, tags, actor=ACTOR)
            now = certificate_tags(Certificate.objects.get(pk=row.pk))
            return f"{row.name}: {', '.join(now) or 'no tags'}"

        return self.each(several_find(options["certificates"]), tag, options)
