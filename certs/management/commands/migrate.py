"""Django's command, taking the same way as a start of the portal: a snapshot first, and the way back printed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import no_translations
from django.core.management.commands import migrate
from django.db import connection

from certs.management.base import BinderyCommand
from certs.services.migrations import schema_migrate, schema_newer_refuse
from portal import home
from portal.server.lock import SupervisorLock

_LOOKS = ("plan", "check_unapplied")


class Command(BinderyCommand, migrate.Command):
    help = "Bring the database to this version's tables, after a snapshot of it; the portal must not be running."
    reads_tables = False
    requires_system_checks = "__all__"  # as Django's own, which has --skip-checks

    @no_translations
    def run(self, *args: Any, **options: Any) -> int | None:
        if any(options[name] for name in _LOOKS):
            schema_newer_refuse()
            migrate.Command.handle(self, *args, **options)
            return None
        words = [options.pop(name) for name in ("app_label", "migration_name")]
        with _no_portal_beside():
            schema_migrate(self.stdout.write, *[word for word in words if word], **options)
        return None


@contextmanager
def _no_portal_beside() -> Iterator[None]:
    """Raises ConflictError while one runs on this SQLite database; nodes on PostgreSQL know how to wait."""
    if connection.vendor != "sqlite" or not home.path().is_dir():
        yield
        return
    lock = SupervisorLock(home.lock_file())
    lock.acquire()
    try:
        yield
    finally:
        lock.release()
