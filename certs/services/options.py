"""Options of plugins in the database: what may be shown as JSON, the secrets sealed and bound to their row."""

import json
from collections.abc import Collection, Mapping
from typing import Any, TypeVar
from uuid import UUID

from certs.domain.options import options_of, options_read, options_split
from certs.services.secrets import secret_open, secret_seal

T = TypeVar("T")


def options_store(options: object, *, purpose: str, uid: UUID) -> tuple[dict[str, Any], str]:
    """(JSON to show, envelope or "") for the two columns of the row `uid`."""
    shown, hidden = options_split(options)
    return shown, secret_seal(purpose, uid, json.dumps(hidden).encode()) if hidden else ""


def options_load(kind: type[T], shown: Mapping[str, Any], sealed: str, *, purpose: str, uid: UUID) -> T:
    """The dataclass again. Raises SecretError, OptionRefused where the plugin has changed since."""
    known = {each.name for each in options_of(kind)}
    given = {**shown, **options_opened(sealed, purpose=purpose, uid=uid)}
    return options_read(kind, {name: value for name, value in given.items() if name in known})


def options_merge(
    kind: type[T], given: Mapping[str, Any], *, sealed: str, purpose: str, uid: UUID, forget: Collection[str] = ()
) -> T:
    """As typed into the form of a row that is there: a secret left empty keeps what is stored, except those to
    `forget`. Raises OptionRefused."""
    kept = {
        name: value for name, value in options_opened(sealed, purpose=purpose, uid=uid).items() if name not in forget
    }
    secret = {each.name for each in options_of(kind) if each.secret}
    filled = {name: kept.get(name) if name in secret and not value else value for name, value in given.items()}
    return options_read(kind, {**{name: value for name, value in kept.items() if name in secret}, **filled})


def options_secret(sealed: str, *, purpose: str, uid: UUID) -> list[str]:
    """The names of the secrets that are stored."""
    return sorted(options_opened(sealed, purpose=purpose, uid=uid))


def options_opened(sealed: str, *, purpose: str, uid: UUID) -> dict[str, Any]:
    """The secrets themselves. Raises SecretError."""
    found: dict[str, Any] = json.loads(secret_open(purpose, uid, sealed)) if sealed else {}
    return found
