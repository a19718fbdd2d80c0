import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from certs.domain.errors import InputError
from certs.domain.formats.base import Format, format_find, formats
from certs.domain.options import options_of
from certs.management.base import BinderyCommand
from certs.management.passwords import can_ask, password_ask
from certs.management.plugin_options import option_arguments, options_described, options_typed, secret_advice
from certs.management.reporting import ACTOR
from certs.management.store.finding import WORD, version_of
from certs.selectors import certificate_find
from certs.services.downloads import Download, download_make


class ExportVerb(BinderyCommand):
    help = "Write a certificate, its chain or its key to a file, in the form that is asked for."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("certificate", nargs="?", metavar="NAME", help=WORD)
        parser.add_argument("format", nargs="?", metavar="FORMAT", help="one of those that --formats lists")
        parser.add_argument(
            "-o", "--output", metavar="FILE", default="", help="a file or a directory; - is standard output"
        )
        parser.add_argument("--force", action="store_true", help="write over a file that is there")
        parser.add_argument("--of-version", default="", metavar="FINGERPRINT", help="not the version in use")
        parser.add_argument("--formats", action="store_true", help="list the forms and their options")
        option_arguments(parser)

    def run(self, *args: Any, **options: Any) -> int | None:
        if options["formats"]:
            self._list()
            return None
        if not options["certificate"] or not options["format"]:
            self.fail("Give a certificate and a format; --formats lists them.")
        wanted = format_find(options["format"])
        self.refuse_terminal(wanted, options)
        row = certificate_find(options["certificate"])
        target = version_of(row, options["of_version"]) if options["of_version"] else row
        made = download_make(target, wanted.id, self._values(wanted, options), actor=ACTOR)
        self.write(made, f"{wanted.label} of {row.name}", options)
        return None

    def refuse_terminal(self, wanted: Format, options: dict[str, Any]) -> None:
        to_terminal = options["output"] == "-" and sys.stdout.isatty()
        if to_terminal and (wanted.has_key or not wanted.media_type.startswith("text")):
            self.fail("Keys and binary files are not shown on a terminal. Give a file with -o.")

    def write(self, made: Download, about: str, options: dict[str, Any]) -> None:
        if options["output"] == "-":
            self._print(made)
            return
        file = file_place(options["output"], made.name)
        file_write(file, made.data, force=options["force"])
        self.stdout.write(f"{file}: {about}.")

    def _list(self) -> None:
        for each in formats().values():
            self.stdout.write(f"{each.id}: {each.label}. {each.help}")
            for line in options_described(each.options):
                self.stdout.write(f"    {line}")

    def _values(self, wanted: Format, options: dict[str, Any]) -> dict[str, str]:
        values = options_typed(wanted.options, options)
        for about in options_of(wanted.options):
            if about.name != "password" or about.name in values or values.get("encryption") == "none":
                continue
            if not can_ask():
                raise InputError("The file gets a password, and none was given.", advice=secret_advice(about.name))
            values[about.name] = password_ask(f"{about.label} of the new file")
        return values

    def _print(self, made: Download) -> None:
        """Bytes as they are, where standard output takes bytes."""
        raw = getattr(getattr(self.stdout, "_out", None), "buffer", None)
        if raw is not None:
            raw.write(made.data)
            raw.flush()
            return
        try:
            self.stdout.write(made.data.decode(), ending="")
        except UnicodeDecodeError:
            self.fail("This form is binary. Give a file with -o.")


def file_place(output: str, name: str) -> Path:
    """Into the directory that is named, or into this one, under the usual name; else the file itself."""
    place = Path(output or ".")
    return place / name if place.is_dir() else place


def file_write(file: Path, data: bytes, *, force: bool) -> None:
    """For its owner alone, there as a whole or not at all. Raises InputError where it is there already."""
    if file.is_symlink() or (file.exists() and not force):
        raise InputError(f"{file} is there already.", advice="Give another name, or --force to write over it.")
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if force:
            partial.replace(file)
        else:
            os.link(partial, file)  # unlike a rename, never over one that appeared meanwhile
            partial.unlink()
    except FileExistsError:
        partial.unlink(missing_ok=True)
        raise InputError(f"{file} is there already.", advice="Give another name, or --force.") from None
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"{file} cannot be written: {error.strerror}.") from None
