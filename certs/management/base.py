"""What every command shares: an error is one sentence on stderr and an exit code, never a traceback.

Exit codes are the same everywhere (docs/operation.md): 2 is argparse's own, for words that it cannot read; whatever the
command itself refuses or fails at is FAILED. `management/outcome.py` adds those of renewals.

A command with several verbs (`certs`, `ca`) is a VerbCommand: each verb is a BinderyCommand of its own.
"""

import json
import sys
from argparse import _ActionsContainer
from typing import Any, ClassVar, Literal, NoReturn

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, InterfaceError

from certs.domain.errors import BinderyError, SchemaError
from certs.services.migrations import schema_check

FAILED = 4
UNFIT = 6  # code and database do not fit each other: starting again does not help, a person must act
UNCHECKED = 7  # nothing is wrong, but not everything could be looked at
PARTLY = 8  # some was done; what was not, and why, is told
INTERRUPTED = 130


def json_argument(parser: _ActionsContainer, about: str = "print one JSON document instead of lines") -> None:
    parser.add_argument("--json", action="store_true", help=about)


class CommandFailure(Exception):
    """Ends a command with one sentence."""


class BinderyCommand(BaseCommand):
    """Write `run` instead of `handle`; what it returns is the exit code (None is 0).

    Where code and database do not fit each other nothing is run (UNFIT). A BinderyError ends with FAILED; a database
    that cannot be used and Ctrl-C end with a sentence too.
    """

    # A command that reads no tables must not ask for a database at all.
    requires_system_checks: list[str] | tuple[str, ...] | Literal["__all__"] = []
    requires_migrations_checks = False
    # False for one that reads no tables, or must work beside any: code and database that do not fit then stop nothing.
    reads_tables = True

    def run(self, *args: Any, **options: Any) -> int | None:
        raise NotImplementedError

    def fail(self, message: str) -> NoReturn:
        raise CommandFailure(message)

    def print_json(self, document: object) -> None:
        """The one document of --json, on standard output; whatever else is said goes to standard error."""
        self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False))

    def handle(self, *args: Any, **options: Any) -> None:
        code = self._outcome(*args, **options)
        if code:
            sys.exit(code)

    def _outcome(self, *args: Any, **options: Any) -> int:
        try:
            if self.reads_tables:
                schema_check()
            return self.run(*args, **options) or 0
        except SchemaError as error:
            return self._say(str(error), UNFIT)
        except BinderyError as error:
            return self._say(f"{error}{_flags_for(error, options)}", FAILED)
        except CommandFailure as error:
            return self._say(str(error), FAILED)
        except (DatabaseError, InterfaceError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            advice = "Has `manage.py up` been run once, and is the database reachable?"
            return self._say(f"The database cannot be used: {reason}. {advice}", FAILED)
        except KeyboardInterrupt:
            return self._say("Stopped.", INTERRUPTED)

    def _say(self, sentence: str, code: int) -> int:
        self.stderr.write(f"bindery: {sentence}", self.style.ERROR)
        return code


def _flags_for(error: BinderyError, options: dict[str, Any]) -> str:
    """How a passphrase that is missing is given here."""
    flags = [flag for flag in ("passphrase_file", "parent_passphrase_file") if flag in options]
    if error.code != "passphrase-needed" or not flags:
        return ""
    words = " or ".join("--" + flag.replace("_", "-") for flag in flags)
    return f" Here: {words} FILE; - reads it from standard input, or asks."


class VerbCommand(BinderyCommand):
    """`verbs` are its second word; each is a command of its own, and speaks through this one."""

    verbs: ClassVar[dict[str, type[BinderyCommand]]] = {}

    def add_arguments(self, parser: CommandParser) -> None:
        known = parser.add_subparsers(title="what to do", dest="verb", required=True)
        for word, kind in self.verbs.items():
            about = str(kind.help)
            # Without abbreviations: `--password secret` must not be taken for `--password-file secret`, and repeated.
            own: CommandParser = known.add_parser(word, help=about, description=about, allow_abbrev=False)
            kind().add_arguments(own)

    def run(self, *args: Any, **options: Any) -> int | None:
        command = self.verbs[options["verb"]]()
        command.stdout, command.stderr, command.style = self.stdout, self.stderr, self.style
        return command.run(**options)
