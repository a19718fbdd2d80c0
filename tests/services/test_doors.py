"""Every service that takes an actor asks for a right at its door, or stands in the table with the reason why not."""

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

import certs.services
from certs.domain.errors import NotAllowed
from certs.domain.roles import Role
from certs.models import Organization, User
from certs.services.access import Actor, TokenActor
from certs.services.accounts import account_get_or_create
from certs.services.tokens import token_create
from tests import stock

# Why each of these has no mark.
BEHIND = {
    "accounts.account_register": "account_register_now and the flow of an order",
    "certificates.certificates_add_many": "issue_many, which asks for the right to add where they go",
    "issue_options.issue_options_set": "certificate_new and certificate_options_change",
    "renewal_claims.renewal_claim": "certificate_reissue and authority_renew; it marks who is at it",
    "register.issued_release": "version_release and serial_release",
    "register.issued_revoke": "version_revoke and serial_revoke",
    "rehearsals.rehearsal_account": "rehearsal_ask and the schedule",
    "revocations.key_compromised": "version_revoke",
    "sweeps.sweep_run": "certificate_renew and the schedule; order_create asks for each",
}
ASKS_ITSELF = {
    "bulk.bulk_ask": "the right of the action that it names",
    "bulk.bulk_preview": "the right of the action that it names",
    "certificate_properties.fields_of": "home_for says where it goes",
    "downloads.download_make": "to read, and the export permission for keys",
    "downloads.downloads_offered": "what download_make would say",
    "downloads.trust_store_make": "to read each of them",
    "posting.certificate_foresee": "changes nothing; home_for says where it would go",
    "posting.certificate_post": "home_for says where it goes, and the services it calls ask",
    "posting.properties_read": "changes nothing; home_for says where it would go",
    "search.certificates_keys": "narrowed to what they see",
    "search.certificates_matching": "narrowed to what they see",
    "receiving.renewal_foresee": "changes nothing; whoever may not have it signed is told so",
    "search.certificates_search": "narrowed to what they see",
    "tokens.token_create": "up to the own role",
    "tokens.token_revoke": "the own ones, or all people's",
    "trusted.log_in_guard": "whoever is let in by a certificate: the right of people",
}
RECORDS = {"events.audit_record", "events.audit_record_many"}


def _services() -> Iterator[tuple[str, Callable[..., Any]]]:
    for found in pkgutil.walk_packages(certs.services.__path__, "certs.services."):
        module = import_module(found.name)
        short = found.name.removeprefix("certs.services.")
        for name, service in vars(module).items():
            own = inspect.isfunction(service) and service.__module__ == found.name
            if short == "access" or not own or name.startswith("_"):
                continue
            if "actor" in inspect.signature(service).parameters:
                yield f"{short}.{name}", service


DOORS = dict(_services())
MARKED = {name: service for name, service in DOORS.items() if hasattr(service, "right")}


def test_every_service_that_takes_an_actor_asks_for_a_right() -> None:
    unmarked = DOORS.keys() - MARKED.keys()
    assert unmarked - BEHIND.keys() - ASKS_ITSELF.keys() - RECORDS == set()
    assert (BEHIND.keys() | ASKS_ITSELF.keys() | RECORDS) - unmarked == set()  # the table names nothing else


def test_many_doors_are_there() -> None:
    assert len(MARKED) > 90


def _called(service: Callable[..., Any], actor: Actor) -> Any:
    """With nothing but who acts: it is refused before it looks at anything else."""
    parameters = inspect.signature(service).parameters
    return service(**{name: actor if name == "actor" else None for name in parameters})


@pytest.fixture
def without_rights(db: None) -> list[Actor]:
    user = User.objects.create_user("nobody@example.com", "x", role=None)
    owner = stock.administrator("left@example.com")
    token, _ = token_create("of one who left", "admin", actor=owner)
    owner.is_active = False
    owner.save()
    token.owner = owner
    revoked, _ = token_create("revoked", "admin", actor="test")
    revoked.revoked_at = revoked.created_at
    expired, _ = token_create("expired", "admin", actor="test")
    expired.expires_at = expired.created_at
    return [None, user, TokenActor(token), TokenActor(revoked), TokenActor(expired)]


def test_no_door_opens_to_nobody(without_rights: list[Actor]) -> None:
    opened = []
    for name, service in MARKED.items():
        for actor in without_rights:
            try:
                _called(service, actor)
            except NotAllowed:
                continue
            except Exception as error:
                opened.append(f"{name} began its work for {actor}: {error!r}")
            else:
                opened.append(f"{name} did it for {actor}")
    assert not opened, opened


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_no_door_opens_to_a_lesser_role(db: None, role: str) -> None:
    token, _ = token_create("one", role, actor="test")
    actor, opened = TokenActor(token), []
    doors = {name: each for name, each in MARKED.items() if not Role(role).may(each.right)}  # type: ignore[attr-defined]
    for name, service in doors.items():
        try:
            _called(service, actor)
        except NotAllowed:
            continue
        except Exception as error:
            opened.append(f"{name} began its work: {error!r}")
    assert doors
    assert not opened, opened


def test_the_door_looks_at_what_it_is_about(db: None) -> None:
    """An administrator of another organization, at every door of a certificate, an order and an account."""
    elsewhere = Organization.objects.create(name="Elsewhere")
    token, _ = token_create("theirs", "admin", organization=elsewhere, actor="test")
    certificate = stock.wanted("a.example")
    account = account_get_or_create(directory_url=stock.DIRECTORY, email="", actor="test")
    about = {"certificate": certificate, "account": account, "row": certificate, "into": certificate}
    tried = 0
    for service in MARKED.values():
        parameters = inspect.signature(service).parameters
        given = next((parameter for parameter in parameters if parameter in about), None)
        if given is None or given not in (next(iter(parameters)), "certificate", "into"):
            continue
        values: dict[str, Any] = dict.fromkeys(parameters)
        values |= {given: about[given], "actor": TokenActor(token)}
        with pytest.raises(NotAllowed):
            service(**values)
        tried += 1
    assert tried > 20
