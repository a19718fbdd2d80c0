from argparse import ArgumentParser
from typing import Any

from certs.management.base import FAILED, BinderyCommand
from certs.management.reporting import ACTOR
from certs.services.export import ExportResult, export_change, export_remove, export_run
from certs.services.portal_state import state_get


class Command(BinderyCommand):
    help = "Write the certificates and their keys to files on this node, as Configuration ➜ Export sets it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        switch = parser.add_mutually_exclusive_group()
        switch.add_argument("--on", action="store_true", help="switch the export on, then write")
        switch.add_argument("--off", action="store_true", help="switch the export off; the files stay")
        switch.add_argument(
            "--remove", action="store_true", help="remove what was exported on this node, once the export is off"
        )
        parser.add_argument("--owner", metavar="USER", help="whose the files are (name or number)")
        parser.add_argument("--group", metavar="GROUP", help="the group of the files (name or number)")
        parser.add_argument("--mode", metavar="MODE", help="the mode of the files, 0600 if never set")

    def run(self, *args: Any, **options: Any) -> int:
        if options["remove"]:
            return self._say_result(export_remove(actor=ACTOR), "Removed")
        self._set(options)
        result = export_run()
        if result is not None:
            return self._say_result(result, "Written")
        if not options["off"]:
            self.fail("The export is off. Switch it on with --on, or under Configuration ➜ Export.")
        self.stdout.write("The export is off; the files stay. --remove takes them away.")
        return 0

    def _set(self, options: dict[str, Any]) -> None:
        state = state_get()
        given = {
            name: getattr(state, f"export_{name}") if options[name] is None else options[name]
            for name in ("owner", "group", "mode")
        }
        on = options["on"] or (state.export and not options["off"])
        export_change(on=on, **given, actor=ACTOR)

    def _say_result(self, result: ExportResult, deed: str) -> int:
        changed = sorted({*result.written, *result.removed})
        self.stdout.write(f"{deed}: {', '.join(changed) or 'nothing'}. Certificates in place: {result.count}.")
        for trouble in result.troubles:
            self.stderr.write(f"bindery: {trouble}")
        return FAILED if result.troubles else 0
