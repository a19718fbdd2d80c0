"""Writes the exported files once, in a process of its own: a slow disk must not hold the supervisor."""

from certs.services.export import export_run


def main() -> None:
    export_run()


if __name__ == "__main__":
    main()
