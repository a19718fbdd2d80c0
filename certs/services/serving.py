"""What the listeners serve, and what each serving process says of itself."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.utils.functional import cached_property

from certs.domain.client_auth import ClientAuth
from certs.domain.errors import BinderyError, ServingError
from certs.domain.keys import Key, key_to_pem
from certs.domain.pem import pair_check
from certs.models import Binding, Certificate, NodeProcess, PortalState
from certs.services.certificates import certificate_self_sign
from certs.services.client_auth import client_auth_read
from certs.services.deletion import certificate_delete
from certs.services.keys import key_open
from certs.services.listeners import LIVE_SECONDS
from certs.services.nodes import node_name
from certs.services.portal_state import generation_bump, generation_wanted, state_get
from portal import clock

PLACEHOLDER_NAME = "Placeholder"
PLACEHOLDER_DAYS = 825


@dataclass(frozen=True)
class BoundPair:
    """A certificate as it is served: the chain, leaf first, and the key in the open. Never logged, never stored."""

    certificate: str  # its name, for messages
    chain_pem: str
    key: Key = field(repr=False)
    fingerprint: str  # SHA-256 of the leaf's DER, hex

    @cached_property
    def key_pem(self) -> bytes:
        return key_to_pem(self.key)


Check = Callable[[BoundPair], object]


@dataclass(frozen=True)
class ServingMaterial:
    """`pairs` by server name, "" is the default; `problems` tells for server names left out why they are.

    `changes_at`: when it is to be read again though the generation stays.
    """

    generation: int
    pairs: dict[str, BoundPair]
    problems: dict[str, str] = field(default_factory=dict)
    clients: ClientAuth = field(default_factory=ClientAuth)
    changes_at: datetime | None = None

    @property
    def fingerprints(self) -> dict[str, str]:
        return {name: pair.fingerprint for name, pair in self.pairs.items()}


def serving_material(*, partial: bool = False, check: Check | None = None) -> ServingMaterial:
    """What every process is to serve now: the bindings, with the placeholder as default where none is bound.

    Raises ServingError naming the binding whose certificate or key is missing or does not fit. With `partial` such a
    binding is left out and named in `problems`, so that one bad item does not take the others down; a default that is
    left out is replaced by the placeholder. `check` may raise ServingError for a pair that cannot be used after all.
    """
    check = check or (lambda _pair: None)
    generation = generation_wanted()  # first: what changes while we read brings another generation
    clients, changes_at = client_auth_read()
    wanted = {
        binding.server_name: binding.certificate
        for binding in Binding.objects.select_related("certificate__current__key")
    }
    state = PortalState.objects.select_related("placeholder__current__key").filter(pk=1).first()
    placeholder = state.placeholder if state else None
    if "" not in wanted and placeholder is not None:
        wanted[""] = placeholder
    pairs: dict[str, BoundPair] = {}
    problems: dict[str, str] = {}
    for server_name, certificate in wanted.items():
        try:
            pair = _pair(server_name, certificate)
            check(pair)
            pairs[server_name] = pair
        except ServingError as error:
            if not partial:
                raise
            problems[server_name] = str(error)
    if "" not in pairs:
        if not partial:
            raise ServingError("No certificate answers by default.", advice="Run `manage.py up`, or bind one.")
        if placeholder is not None and problems.get(""):
            _add_placeholder(pairs, placeholder, check)
    return ServingMaterial(generation, pairs, problems, clients, changes_at)


def process_report(
    pid: int, *, generation: int, fingerprints: dict[str, str], error: str = "", started_at: datetime | None = None
) -> None:
    """What this process serves and why it serves nothing newer. `seen_at` is real time, whatever the clock says."""
    moment = clock.real()
    NodeProcess.objects.update_or_create(
        node=node_name(),
        pid=pid,
        defaults={"generation": generation, "fingerprints": fingerprints, "error": error, "seen_at": moment},
        create_defaults={
            "generation": generation,
            "fingerprints": fingerprints,
            "error": error,
            "seen_at": moment,
            "started_at": started_at or moment,
        },
    )


def process_seen(pid: int) -> bool:
    """Only the time; False when the row is gone and a report is needed."""
    return bool(NodeProcess.objects.filter(node=node_name(), pid=pid).update(seen_at=clock.real()))


def process_gone(pid: int) -> None:
    NodeProcess.objects.filter(node=node_name(), pid=pid).delete()


def processes_live(node: str | None = None) -> list[NodeProcess]:
    """Serving processes that reported within LIVE_SECONDS, of one node or of all."""
    rows = NodeProcess.objects.filter(seen_at__gte=clock.real() - timedelta(seconds=LIVE_SECONDS))
    return list(rows.filter(node=node) if node else rows)


def placeholder_ensure() -> Certificate:
    """The self-signed certificate that answers while nothing is bound; made anew where it is missing or broken.

    Two nodes may race: one of the two certificates stays.
    """
    state = state_get()
    if state.placeholder is not None and _is_usable(state.placeholder):
        return state.placeholder
    names = sorted({"localhost", _host_name()})
    made = certificate_self_sign(
        name=PLACEHOLDER_NAME, names=names, actor="the portal", days=PLACEHOLDER_DAYS, key_type="ec-p256"
    )
    with transaction.atomic():
        won = PortalState.objects.filter(pk=1, placeholder=state.placeholder).update(placeholder=made)
        if won:
            generation_bump()
    if not won:
        certificate_delete(made, actor="the portal")
        return placeholder_ensure()
    return made


def _pair(server_name: str, certificate: Certificate) -> BoundPair:
    shown = server_name or "the default"
    version = certificate.current
    if version is None:
        raise ServingError(f"{certificate.name}, bound to {shown}, has nothing to serve yet.")
    if version.key is None:
        raise ServingError(
            f"The private key of {certificate.name}, bound to {shown}, is missing.",
            advice="Import the certificate together with its key, or bind another one.",
        )
    try:
        key = key_open(version.key)
        pair_check(version.leaf, key)
    except BinderyError as error:
        raise ServingError(
            f"{certificate.name}, bound to {shown}, cannot be served: {error.message}", advice=error.advice
        ) from error
    return BoundPair(certificate.name, version.fullchain_pem, key, version.fingerprint_sha256)


def _add_placeholder(pairs: dict[str, BoundPair], placeholder: Certificate, check: Check) -> None:
    try:
        pair = _pair("", placeholder)
        check(pair)
        pairs[""] = pair
    except ServingError:
        return  # what is wrong with the default is told already; `placeholder_ensure` makes a new one


def _is_usable(placeholder: Certificate) -> bool:
    try:
        _pair("", placeholder)
    except ServingError:
        return False
    return placeholder.current is not None and placeholder.current.not_after > clock.now()


def _host_name() -> str:
    """A name that fits in a certificate; the machine's own may be anything."""
    name = socket.gethostname().lower().rstrip(".")
    labels = name.split(".")
    fits = all(
        label and len(label) <= 63 and label.strip("-") == label and label.replace("-", "").isalnum()
        for label in labels
    )
    return name if fits and name.isascii() and len(name) <= 253 else "localhost"
