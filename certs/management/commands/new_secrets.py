import secrets
from typing import Any

from certs.domain.envelope import KeyRing
from certs.management.base import BinderyCommand


class Command(BinderyCommand):
    help = "Print a fresh BINDERY_SECRET_KEY and BINDERY_KEY_RING, for an installation with DATABASE_URL."
    reads_tables = False

    def run(self, *args: Any, **options: Any) -> int | None:
        self.stdout.write(f"BINDERY_SECRET_KEY={secrets.token_urlsafe(48)}")
        self.stdout.write(f"BINDERY_KEY_RING='{KeyRing.generate().to_json()}'")
        return None
