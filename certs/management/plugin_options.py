"""The options of a plugin as words of a command: the same for challenge methods and for channels."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from certs.domain.errors import InputError
from certs.domain.options import Option, options_of

_SIZE_LIMIT = 64 * 1024


def option_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        metavar="OPTION=VALUE",
        action="append",
        default=[],
        help="an option that is no secret; may be repeated",
    )
    parser.add_argument(
        "--set-file",
        metavar="OPTION=FILE",
        action="append",
        default=[],
        help="the same, or a secret, from a file; - is standard input, env:NAME an environment variable",
    )


def secret_advice(name: str) -> str:
    return f"Write --set-file {name}=FILE, {name}=- for standard input, or {name}=env:NAME."


def options_plain(words: list[str]) -> dict[str, str]:
    """What `--set` says. Raises InputError."""
    return dict(_pair(word, "--set") for word in words)


def options_typed(kind: type[Any], options: Mapping[str, Any]) -> dict[str, str]:
    """What `--set` and `--set-file` say of an Options class.

    Raises InputError, also for a secret that stands on the command line, where every user of the machine sees it.
    """
    plain = options_plain(options["set"])
    secrets = {each.name for each in options_of(kind) if each.secret}
    if shown := sorted(secrets & set(plain)):
        name = shown[0]
        raise InputError(
            f"{name} is a secret, and other users of this machine can read the command line.",
            advice=secret_advice(name),
        )
    sources = dict(_pair(word, "--set-file") for word in options["set_file"])
    if list(sources.values()).count("-") > 1:
        raise InputError("Standard input can be only one option.", advice="Put the others into files.")
    return plain | {name: content_read(source) for name, source in sources.items()}


def options_described(kind: type[Any]) -> Iterator[str]:
    """One line for each option, as `kinds KIND` lists them."""
    for about in options_of(kind):
        yield f"{about.name}: {_described(about)}"


def _pair(word: str, flag: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise InputError(f"{flag} {name} has no value.", advice=f"Write {flag} OPTION=VALUE.")
    return name.strip().replace("-", "_"), value


def content_read(source: str) -> str:
    """Of a file, of standard input (-) or of an environment variable (env:NAME), without the line's end.

    Raises InputError naming the source.
    """
    if source.startswith("env:"):
        name = source.removeprefix("env:")
        if name not in os.environ:
            raise InputError(f"The environment variable {name} is not set.")
        return os.environ[name]
    try:
        if source == "-":
            text = sys.stdin.read(_SIZE_LIMIT + 1)
        else:
            with Path(source).open(encoding="utf-8") as stream:
                text = stream.read(_SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(f"{source} cannot be read: {reason}.") from None
    if len(text) > _SIZE_LIMIT:
        raise InputError(f"{source} is too large for an option.")
    return text.rstrip("\r\n")


def _described(about: Option) -> str:
    marks = [word for word, holds in (("needed", about.required), ("secret", about.secret)) if holds]
    if about.default not in (None, ""):
        marks.append(f"default {about.default}")
    choices = f" One of {', '.join(value for value, _ in about.choices if value)}." if about.choices else ""
    known = f" ({', '.join(marks)})" if marks else ""
    return f"{about.label}{known}. {about.help}{choices}".strip()
