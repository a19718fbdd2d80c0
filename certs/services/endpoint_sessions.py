"""From an endpoint's row to the installer that knows its kind, and to an open session with its machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from certs.domain.errors import BinderyError, InputError
from certs.domain.redaction import Redaction
from certs.domain.registry import plugins
from certs.installers.base import Installer
from certs.models import Endpoint
from certs.services.options import options_load, options_opened
from certs.transports.hosts.base import Connection, IdentityChanged, IdentityUnknown, Witness, unseen
from portal import clock

T = TypeVar("T")
INSTALLERS, CONNECTIONS = "certs.installers", "certs.transports.hosts"


def installer_kinds() -> dict[str, type[Installer]]:
    return plugins(INSTALLERS, Installer)


def connection_kinds() -> dict[str, type[Connection]]:
    return plugins(CONNECTIONS, Connection)


def installer_of(endpoint: Endpoint) -> Installer:
    """Raises InputError for a kind that this version does not know, SecretError, OptionRefused."""
    kind = kind_of(installer_kinds(), endpoint.kind, "endpoint")
    return kind(
        options_load(kind.Options, endpoint.options, endpoint.sealed, purpose=Endpoint.PURPOSE, uid=endpoint.pk)
    )


def connection_of(endpoint: Endpoint) -> Connection:
    """Raises what `installer_of` raises."""
    kind = kind_of(connection_kinds(), endpoint.connection, "connection")
    purpose = Endpoint.CONNECTION_PURPOSE
    shown, sealed = endpoint.connection_options, endpoint.connection_sealed
    return kind(options_load(kind.Options, shown, sealed, purpose=purpose, uid=endpoint.pk))


def endpoint_redaction(endpoint: Endpoint) -> Redaction:
    """That takes the endpoint's own secrets out of what its machine says."""
    stored = (
        (endpoint.sealed, Endpoint.PURPOSE),
        (endpoint.connection_sealed, Endpoint.CONNECTION_PURPOSE),
    )
    secrets = (options_opened(sealed, purpose=purpose, uid=endpoint.pk) for sealed, purpose in stored)
    return Redaction(frozenset(str(value) for each in secrets for value in each.values()))


@contextmanager
def endpoint_open(endpoint: Endpoint, witness: Witness = unseen) -> Iterator[Any]:
    """An open session. What became of the contact, and an identity that nobody has approved, is written down.

    Raises what `Connection.open` raises.
    """
    try:
        with connection_of(endpoint).open(endpoint.pin, witness) as host:
            _contact(endpoint, trouble="")
            yield host
    except (IdentityUnknown, IdentityChanged) as refusal:
        shown = {"shown_key": refusal.identity.key, "shown_fingerprint": refusal.identity.fingerprint}
        _contact(endpoint, trouble=refusal.message, **shown)
        raise


def contact_failed(endpoint: Endpoint, error: BinderyError) -> None:
    _contact(endpoint, trouble=error.message)


def _contact(endpoint: Endpoint, *, trouble: str, **fields: str) -> None:
    if not fields and endpoint.trouble == trouble and endpoint.trouble_at is not None:
        return
    now = clock.now()
    Endpoint.objects.filter(pk=endpoint.pk).update(trouble=trouble, trouble_at=now, **fields)
    for name, value in {"trouble": trouble, "trouble_at": now, **fields}.items():
        setattr(endpoint, name, value)


def kind_of(kinds: dict[str, T], kind: str, what: str) -> T:
    """Raises InputError."""
    if kind not in kinds:
        raise InputError(
            f"There is no {what} of the kind “{kind[:40]}”.", advice=f"Choose {', '.join(kinds)}.", code="kind"
        )
    return kinds[kind]
