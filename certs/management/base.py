"""What every command shares: an error is one sentence on stderr and an exit code, never a traceback.

Exit codes are the same everywhere (docs/operation.md): 2 is argparse's own, for words that it cannot read; whatever the
command itself refuses or fails at is FAILED. `management/outcome.py` adds those of renewals.
"""

import sys
from typing import Any, NoReturn

from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError

from certs.domain.errors import BinderyError

FAILED = 4
INTERRUPTED = 130


class CommandFailure(Exception):
    """Ends a command with one sentence."""


class BinderyCommand(BaseCommand):
    """Write `run` instead of `handle`; what it returns is the exit code (None is 0).

    A BinderyError ends with FAILED; a database that cannot be used and Ctrl-C end with a sentence too.
    """

    # A command that reads no tables must not ask for a database at all.
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def run(self, *args: Any, **options: Any) -> int | None:
        raise NotImplementedError

    def fail(self, message: str) -> NoReturn:
        raise CommandFailure(message)

    def handle(self, *args: Any, **options: Any) -> None:
        code = self._outcome(*args, **options)
        if code:
            sys.exit(code)

    def _outcome(self, *args: Any, **options: Any) -> int:
        try:
            return self.run(*args, **options) or 0
        except (CommandFailure, BinderyError) as error:
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
