"""Passwords on the command line: from a file, standard input or the environment, else asked for; never as a word, since
every user of the machine can read those."""

import getpass
import sys
from argparse import _ActionsContainer
from typing import Any

from certs.domain.errors import InputError
from certs.management.plugin_options import content_read


def password_argument(parser: _ActionsContainer, flag: str, about: str) -> None:
    parser.add_argument(
        flag, metavar="FILE", default="", help=f"{about}; - is standard input, env:NAME an environment variable"
    )


def password_given(options: dict[str, Any], flag: str) -> str:
    """What `flag` leads to; "" where it was not given. A terminal asks where it is -. Raises InputError."""
    source = options[flag.lstrip("-").replace("-", "_")]
    if source == "-" and can_ask():
        return password_ask("Passphrase" if "passphrase" in flag else "Password")
    return content_read(source) if source else ""


def can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def password_ask(question: str) -> str:
    """Without showing it. Only where `can_ask`."""
    return getpass.getpass(f"{question}: ", stream=sys.stderr)


def password_new(options: dict[str, Any], flag: str, question: str) -> str:
    """One that is being set: asked for twice where the flag is -."""
    if options[flag.lstrip("-").replace("-", "_")] != "-" or not can_ask():
        return password_given(options, flag)
    first = password_ask(question)
    if first != password_ask(f"{question}, once more"):
        raise InputError("These are two different ones.", advice="Type it again.")
    return first
