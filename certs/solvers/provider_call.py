"""Runs as a program of its own for `dns01_provider`: one call of dns-lexicon, then it ends.

The library has no time limits, prints, and logs what it sends; apart from the portal none of this matters. It reads
{"provider", "options", "zone", "ttl", "action": add|remove, "name", "value", "roots": PEM} from stdin and writes {} or
{"error", "message", "status"} to stdout. Nothing of Bindery is imported.
"""

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any

import requests

REQUEST_SECONDS = 20
# Where requests, botocore and what asks OpenSSL itself look for the roots to trust.
_ROOTS = ("REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "SSL_CERT_FILE")
_WORDS = 600  # characters of an error


def call(task: Mapping[str, Any]) -> dict[str, Any]:
    """Raises whatever the library raises."""
    # The loader of a provider's module is private; the package is pinned, and a test fails where it moves. Imported
    # here, since the portal meets this module when it looks for solvers, and must not load the library for that.
    from lexicon._private.discovery import load_provider_module  # noqa: PLC0415 - see above
    from lexicon.config import ConfigResolver  # noqa: PLC0415 - see above

    kind = load_provider_module(task["provider"]).Provider
    # As its own command line does, except that it would guess the zone from a list it fetches from the web.
    given = Namespace(
        provider_name=task["provider"], domain=task["zone"], ttl=task["ttl"], **values(kind, task["options"])
    )
    config: Any = ConfigResolver
    provider = kind(config().with_args(given))
    provider.authenticate()
    try:
        deed = provider.create_record if task["action"] == "add" else provider.delete_record
        done = deed(rtype="TXT", name=task["name"], content=task["value"])
    finally:
        provider.cleanup()
    return {} if done is not False else {"error": "Refused", "message": "it gave no reason", "status": 0}


def values(kind: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """In the types that the provider's own parser gives them; what was left empty is None."""
    parser = ArgumentParser(add_help=False)
    kind.configure_parser(parser)
    found = {}
    for action in parser._actions:
        raw = options.get(action.dest) or None
        found[action.dest] = action.type(raw) if raw is not None and callable(action.type) else raw or action.default
    return found


def failure(error: BaseException) -> dict[str, Any]:
    answer = getattr(error, "response", None)
    status = getattr(answer, "status_code", 0) or 0
    body = str(getattr(answer, "text", "") or "")
    words = " ".join(f"{error} {body}".split())[:_WORDS]
    return {"error": _family(error), "message": words or type(error).__name__, "status": status}


def _family(error: BaseException) -> str:
    """The first of its classes that the caller tells apart."""
    known = {"AuthenticationError", "ProxyError", "SSLError", "ConnectionError", "Timeout", "ProviderNotAvailableError"}
    return next((each.__name__ for each in type(error).__mro__ if each.__name__ in known), type(error).__name__)


def _bound_requests() -> None:
    """The providers name no time limit themselves."""
    unbound = requests.Session.request

    def request(self: requests.Session, *words: Any, **options: Any) -> Any:
        options["timeout"] = options.get("timeout") or REQUEST_SECONDS
        return unbound(self, *words, **options)

    requests.Session.request = request  # type: ignore[method-assign]


@contextmanager
def _trusting(roots: str) -> Iterator[None]:
    """A file that no other process meets: it has no name, and goes with this process, however that ends."""
    with TemporaryFile("w") as file:
        file.write(roots)
        file.flush()
        file.seek(0)
        os.environ.update(dict.fromkeys(_ROOTS, f"/dev/fd/{file.fileno()}"))
        yield


def main() -> None:
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # some providers print
    try:
        task = json.load(sys.stdin)
        _bound_requests()
        with _trusting(task["roots"]):
            said = call(task)
    except Exception as error:  # whatever a provider raises is told to the portal
        said = failure(error)
    with answer:
        json.dump(said, answer)


if __name__ == "__main__":
    main()
