from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from certs.management.base import BinderyCommand
from certs.services.snapshots import database_backup
from portal import home


class Command(BinderyCommand):
    help = "Write a consistent copy of the SQLite database to a new file, also while the portal runs."
    reads_tables = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="the file to write; one that is there is never overwritten")

    def run(self, *args: Any, **options: Any) -> int | None:
        file: Path = options["file"]
        size = database_backup(file)
        self.stdout.write(
            f"Wrote {file.absolute()} ({size / 2**20:.1f} MiB). The key ring is not in it: keep a copy of "
            f"{home.key_ring_place() or 'BINDERY_KEY_RING'} apart from it, and one of {home.secret_key_file()}."
        )
        return None
