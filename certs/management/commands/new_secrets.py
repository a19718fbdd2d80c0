import secrets
from argparse import ArgumentParser
from typing import Any

from certs.domain.envelope import KeyRing
from certs.management.base import BinderyCommand


class Command(BinderyCommand):
    help = "Print a fresh BINDERY_SECRET_KEY and BINDERY_KEY_RING, for an installation with DATABASE_URL."
    reads_tables = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--only",
            choices=["secret-key", "key-ring"],
            help="just this value, as the file of a mounted secret holds it",
        )

    def run(self, *args: Any, **options: Any) -> int | None:
        secret_key, key_ring = secrets.token_urlsafe(48), KeyRing.generate().to_json()
        if options["only"]:
            self.stdout.write(secret_key if options["only"] == "secret-key" else key_ring)
            return None
        self.stdout.write(f"BINDERY_SECRET_KEY={secret_key}")
        self.stdout.write(f"BINDERY_KEY_RING='{key_ring}'")
        return None
