"""Which node, and which options, the words of `manage.py tls` mean."""

from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from typing import Any

from certs.domain.errors import InputError
from certs.domain.options import Option, options_of
from certs.management.passwords import can_ask, password_ask
from certs.management.plugin_options import content_read
from certs.models import Node
from certs.services.endpoint_sessions import connection_kinds, installer_kinds
from certs.services.endpoints import endpoint_find

_ASK = "\0ask"


def option_flags(parser: ArgumentParser) -> None:
    """A flag for each option of each kind of endpoint and connection, under the names of the reference. What a kind
    does not know is refused when it is read."""
    for about in _all_options():
        flag = f"--{about.name}"
        help_text = about.help or about.label
        if not about.secret:
            parser.add_argument(flag, metavar="VALUE", default=None, help=help_text)
            continue
        parser.add_argument(
            flag, metavar="VALUE", nargs="?", const=_ASK, default=None, help=f"{help_text} Without a value it asks."
        )
        parser.add_argument(
            f"{flag}_file",
            metavar="FILE",
            default=None,
            help="the same from a file; - is standard input, env:NAME an environment variable",
        )


def options_given(options: Mapping[str, Any]) -> dict[str, str]:
    """Those that were given. Raises InputError."""
    found: dict[str, str] = {}
    for about in _all_options():
        value = options.get(about.name)
        source = options.get(f"{about.name}_file") if about.secret else None
        if source is not None:
            value = content_read(source)
        elif value == _ASK:
            if not can_ask():
                raise InputError(
                    f"--{about.name} has no value, and nobody can be asked.", advice=f"Use --{about.name}_file."
                )
            value = password_ask(about.label)
        if value is not None:
            found[about.name] = str(value)
    return found


def node_find(endpoint: str, word: str) -> Node:
    """By its key, its name or its id; the only one where `word` is "". Raises InputError."""
    row = endpoint_find(endpoint)
    nodes = list(row.nodes.filter(gone_at=None).select_related("endpoint", "certificate", "installed"))
    found = [node for node in nodes if not word or word in (node.key, node.name, str(node.pk))]
    if not nodes:
        raise InputError(f"{row} has no nodes yet.", advice=f"Run manage.py tls discover {row}.", code="node")
    if len(found) != 1:
        known = "; ".join(node.key for node in nodes[:20])
        raise InputError(
            f"{row} has {'several nodes' if found else 'no node'} “{word}”.",
            advice=f"Give one of: {known}.",
            code="node",
        )
    return found[0]


def _all_options() -> Iterable[Option]:
    classes = [kind.Options for kind in connection_kinds().values()]
    classes += [kind.Options for kind in installer_kinds().values()]
    return {about.name: about for each in classes for about in options_of(each)}.values()
