"""The challenge answers of the database in BINDERY_HOME on a port: `main` reads it from the command line."""

import os
import sys
import threading


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    from tests.harness.issuing import Responder

    with Responder(int(sys.argv[1])):
        threading.Event().wait()
