from argparse import ArgumentParser
from typing import Any

from certs.domain.formats.base import Need, format_find, formats
from certs.management.plugin_options import option_arguments
from certs.management.reporting import ACTOR
from certs.management.store.exporting import ExportVerb
from certs.management.store.finding import WORD, several_find
from certs.services.downloads import trust_store_make


class TrustStoreVerb(ExportVerb):
    help = "Write chosen CA certificates to a trust store. It holds no key."

    def add_arguments(self, parser: ArgumentParser) -> None:
        kinds = [each.id for each in formats().values() if Need.TRUSTED in each.needs]
        parser.add_argument("format", choices=kinds, metavar="FORMAT", help=", ".join(kinds))
        parser.add_argument("certificates", nargs="+", metavar="CA", help=WORD)
        parser.add_argument(
            "-o", "--output", metavar="FILE", default="", help="a file or a directory; - is standard output"
        )
        parser.add_argument("--force", action="store_true", help="write over a file that is there")
        option_arguments(parser)

    def run(self, *args: Any, **options: Any) -> None:
        wanted = format_find(options["format"])
        self.refuse_terminal(wanted, options)
        chosen = several_find(options["certificates"])
        made = trust_store_make(chosen, wanted.id, self._values(wanted, options), actor=ACTOR)
        self.write(made, f"{wanted.label} of {', '.join(row.name for row in chosen)}", options)
