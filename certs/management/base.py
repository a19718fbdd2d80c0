"""What every command shares: an error is one sentence on stderr and an exit code, never a traceback."""

import sys
from typing import Any, NoReturn

from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError

from certs.domain.errors import BinderyError

FAILED = 1
INTERRUPTED = 130


class CommandFailure(Exception):
    """Ends a command with one sentence and an exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


class BinderyCommand(BaseCommand):
    """Write `run` instead of `handle`; what it returns is the exit code (None is 0).

    A BinderyError ends with `error_code`; a database that cannot be used and Ctrl-C end with a sentence too.
    """

    error_code = FAILED
    # A command that reads no tables must not ask for a database at all.
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def run(self, *args: Any, **options: Any) -> int | None:
        raise NotImplementedError

    def fail(self, message: str, code: int | None = None) -> NoReturn:
        raise CommandFailure(message, self.error_code if code is None else code)

    def handle(self, *args: Any, **options: Any) -> None:
        code = self._outcome(*args, **options)
        if code:
            sys.exit(code)

    def _outcome(self, *args: Any, **options: Any) -> int:
        try:
            return self.run(*args, **options) or 0
        except CommandFailure as failure:
            return self._say(str(failure), failure.code)
        except BinderyError as error:
            return self._say(str(error), self.error_code)
        except (DatabaseError, InterfaceError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            advice = "Has `manage.py up` been run once, and is the database reachable?"
            return self._say(f"The database cannot be used: {reason}. {advice}", self.error_code)
        except KeyboardInterrupt:
            return self._say("Stopped.", INTERRUPTED)

    def _say(self, sentence: str, code: int) -> int:
        self.stderr.write(f"bindery: {sentence}", self.style.ERROR)
        return code
