"""What `manage.py up` can do for the listener without a browser: sign a certificate itself, or ask a CA for one."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from certs.acme.directories import DirectoryInfo, directory_label
from certs.domain.errors import BinderyError, ConflictError, InputError, NotAllowed
from certs.domain.names import NameRules, name_parse, names_parse
from certs.domain.on_demand import hosts_parse
from certs.domain.renewal import Code
from certs.domain.urls import url_split
from certs.models import Certificate
from certs.services.accounts import account_get_or_create, directory_read
from certs.services.asking import asking_held
from certs.services.bindings import binding_set, bindings_default_only_placeholder
from certs.services.certificates import certificate_new, certificate_self_sign
from certs.services.container import volume_require
from certs.services.directories import directory_named
from certs.services.issuing import CaChoice, account_for
from certs.services.listeners import local_addresses
from certs.services.on_demand import on_demand_change, on_demand_volume_require
from certs.services.orders import order_create
from certs.services.own_certificate import own_certificate_is_there
from certs.services.portal_state import state_get, state_lock, state_update
from certs.services.sweeps import renewal_decision
from certs.transports.local import machine_name
from portal import clock

ACTOR = "command line"


@dataclass(frozen=True)
class CertificateWish:
    """A request as given on the command line, checked by `wish_parse` before anything is started."""

    names: list[str]
    directory_url: str
    terms_accepted: bool
    email: str = ""
    ca_bundle: str = ""
    allow_private: bool = False
    without_volume: bool = False  # what is issued may go with the container


@dataclass(frozen=True)
class DemandWish:
    """Which names may be ordered on demand, and where; no hosts: those of the page."""

    hosts: list[str]
    choice: CaChoice
    without_volume: bool = False


def wish_parse(*, hostnames: str, without_volume: bool = False, **choice: Any) -> CertificateWish:
    """Raises InputError; no network. `choice` is as for `choice_parse`."""
    ca = choice_parse(**choice)
    names = names_parse(hostnames)
    return CertificateWish(
        names, ca.directory_url, ca.terms_accepted, ca.email, ca.ca_bundle, ca.allow_private, without_volume
    )


def demand_parse(*, hosts: Sequence[str], without_volume: bool = False, **choice: Any) -> DemandWish:
    """Raises InputError; no network. `choice` is as for `choice_parse`."""
    return DemandWish(hosts_parse(hosts), choice_parse(**choice), without_volume)


def choice_parse(*, directory: str, terms_accepted: bool, email: str, ca_bundle: str, allow_private: bool) -> CaChoice:
    """`directory` is a key of the known CAs or a URL, `ca_bundle` a file. Raises InputError; no network."""
    return CaChoice(directory_named(directory), email.strip(), _bundle(ca_bundle), allow_private, terms_accepted)


def own_certificate_create(home: Path) -> Certificate | None:
    """A self-signed one for this machine, bound by default; None when a certificate or key is there already."""
    if own_certificate_is_there(home) or not bindings_default_only_placeholder():
        return None
    certificate = certificate_self_sign(name="self-signed", names=_own_names(), actor=ACTOR)
    binding_set("", certificate, actor=ACTOR)
    return certificate


def certificate_request(wish: CertificateWish) -> str:
    """Order the certificate of the wish once, to be bound; returns the sentence that says what was done.

    Nothing is asked of the CA while a valid certificate for these names is there. Raises NotAllowed naming the terms
    when they were not accepted, AcmeFailure when the CA cannot be reached.
    """
    known = _certificate_of(wish)
    if known is not None and known.current is not None and known.current.is_valid_at(clock.now()):
        return f"A valid certificate for {', '.join(wish.names)} is there; nothing was requested."
    if held := asking_held():
        return f"Nothing was requested. {held}"
    volume_require(agreed=wish.without_volume)
    directory = directory_read(wish.directory_url, ca_bundle=wish.ca_bundle, allow_private=wish.allow_private)
    if not wish.terms_accepted:
        raise _terms_missing(wish, directory)
    account = account_get_or_create(
        directory_url=wish.directory_url,
        email=wish.email,
        ca_bundle=wish.ca_bundle,
        allow_private=wish.allow_private,
        terms_url=directory.terms_url,
        actor=ACTOR,
    )
    with transaction.atomic():
        state_lock()  # two nodes may start at the same moment
        certificate = _certificate_of(wish) or certificate_new(
            name=wish.names[0], names=wish.names, account=account, actor=ACTOR
        )
    state_update(portal_certificate=certificate)
    # A start may be repeated by whatever starts the portal, again and again: it is no reason to ask earlier.
    decision = renewal_decision(certificate, asked=True)
    if decision.code in {Code.HELD_BACK, Code.LAST_ONE}:
        return f"Nothing was requested. {decision.text}"
    try:
        order_create(certificate, reason="asked", actor=ACTOR, bind=True)
    except ConflictError:
        return f"An order for {', '.join(wish.names)} is under way."
    return f"A certificate for {', '.join(wish.names)} was requested from {directory_label(wish.directory_url)}."


def demand_request(wish: DemandWish) -> str:
    """Switch issuance on demand on, as the page does; returns the sentence that says so. Nothing is ordered yet.

    Raises InputError, NotAllowed naming the terms when they were not accepted, AcmeFailure.
    """
    on_demand_volume_require(agreed=wish.without_volume)  # before the CA is asked for anything
    hosts = wish.hosts or state_get().on_demand_hosts
    account = account_for(wish.choice, actor=ACTOR)
    on_demand_change(on=True, hosts=hosts, account=account, actor=ACTOR, without_volume=wish.without_volume)
    return f"A certificate is ordered at the first visit to {', '.join(hosts)}."


def _bundle(file: str) -> str:
    if not file:
        return ""
    try:
        return Path(file).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The CA bundle {file} cannot be read: {getattr(error, 'strerror', None) or 'it is not PEM text'}."
        ) from error


def _certificate_of(wish: CertificateWish) -> Certificate | None:
    """The one for exactly these names from exactly this CA, the newest if there are several."""
    candidates = Certificate.objects.filter(
        source=Certificate.Source.ACME, deleted_at=None, account__directory_url=wish.directory_url
    ).select_related("current")
    return next((found for found in candidates.order_by("-created_at") if found.names == wish.names), None)


def _terms_missing(wish: CertificateWish, directory: DirectoryInfo) -> NotAllowed:
    ca = directory_label(wish.directory_url)
    where = f"its terms of service, {directory.terms_url}," if directory.terms_url else "its terms (it names none)"
    return NotAllowed(
        f"{ca} issues only to those who accept {where} and this was not said.",
        advice="Read them, then add --accept-le-sa.",
        code="terms",
    )


def _own_names() -> list[str]:
    """The host name, localhost and every address of this machine; what a certificate cannot hold is left out."""
    rules = NameRules(dotless=True, address=True)
    public = url_split(settings.PUBLIC_URL).hostname or ""
    names = set()
    for candidate in (public, socket.gethostname(), machine_name(), "localhost", *local_addresses()):
        try:
            names.add(name_parse(candidate, rules))
        except BinderyError:
            continue
    return sorted(names)
