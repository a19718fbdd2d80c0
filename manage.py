#!/usr/bin/env python
"""Bindery's command line. `manage.py up` starts the portal; `manage.py help` lists the rest."""

import gc
import os
import socket
import sys


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    gc.set_threshold(100_000)  # what is loaded stays: to look through it again and again took a tenth of the start
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        print(
            "Bindery's packages are not installed here. Run `make run`, or `.venv/bin/python manage.py`.",
            file=sys.stderr,
        )
        return 1

    from portal import env, home

    try:
        if sys.argv[1:2] == ["up"]:
            home.prepare()
        execute_from_command_line(sys.argv)
    except (env.EnvError, home.HomeError) as error:
        if sys.argv[1:2] == ["doctor"]:
            from certs.management.unread import unread_tell

            return unread_tell(str(error), sys.argv[2:], node=socket.gethostname())
        print(f"bindery: {error}", file=sys.stderr)
        return 4  # as every command that fails (certs/management/base.py)
    return 0


if __name__ == "__main__":
    sys.exit(main())
