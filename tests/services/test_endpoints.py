"""Who may add which endpoint, and what is forgotten with another address."""

from typing import Any

import pytest

from certs.domain.errors import ConflictError, NotAllowed
from certs.models import Endpoint, Organization, RoleGrant, User
from certs.models.organization import DEFAULT_ORGANIZATION
from certs.services.endpoints import endpoint_create, endpoint_update

pytestmark = pytest.mark.django_db
SSH = {"host": "192.0.2.1", "user": "deploy"}


@pytest.fixture
def home() -> Organization:
    return Organization.objects.get(pk=DEFAULT_ORGANIZATION)


@pytest.fixture
def local_admin(home: Organization) -> User:
    person = User.objects.create_user("admin@example.org", "x")
    RoleGrant.objects.update_or_create(user=person, organization=home, defaults={"role": "admin"})
    return person


def added(actor: Any, home: Organization | None, *, connection: str = "ssh", **given: str) -> Endpoint:
    known = SSH if connection == "ssh" else {}
    return endpoint_create(
        name="web1", kind="nginx", connection=connection, given={**known, **given}, organization=home, actor=actor
    )


def test_an_administrator_of_an_organization_adds_its_endpoints(local_admin: User, home: Organization) -> None:
    assert added(local_admin, home, ssh_key="k").organization == home


@pytest.mark.parametrize(
    "given", [{"connection": "local"}, {"ssh_key_path": "/etc/bindery/other"}], ids=["its machine", "its files"]
)
def test_the_portal_s_own_machine_is_the_whole_portal_s(
    local_admin: User, home: Organization, given: dict[str, str]
) -> None:
    with pytest.raises(NotAllowed, match="whole portal"):
        added(local_admin, home, **given)
    with pytest.raises(NotAllowed):
        added(local_admin, None)
    row = added(local_admin, home)
    if "ssh_key_path" in given:
        with pytest.raises(NotAllowed, match="whole portal"):
            endpoint_update(row, given=given, actor=local_admin)
    assert added_by_all(given, home) == 2


def added_by_all(given: dict[str, str], home: Organization) -> int:
    connection = given.get("connection", "ssh")
    options = {name: value for name, value in given.items() if name != "connection"}
    known = SSH if connection == "ssh" else {}
    endpoint_create(
        name="web2", kind="nginx", connection=connection, given={**known, **options}, organization=home, actor="test"
    )
    return Endpoint.objects.count()


def test_an_operator_adds_none(home: Organization) -> None:
    person = User.objects.create_user("operator@example.org", "x")
    RoleGrant.objects.create(user=person, role="operator")
    with pytest.raises(NotAllowed):
        added(person, home)


def test_another_machine_is_approved_anew_and_another_account_is_not(home: Organization) -> None:
    row = added("test", home, ssh_key="k")
    row.pin = row.pin_fingerprint = "approved"
    endpoint_update(row, given={"user": "other"}, actor="test")
    assert row.pin == "approved"
    endpoint_update(row, given={"host": "192.0.2.2"}, actor="test")
    assert (row.pin, row.pin_fingerprint) == ("", "")


def test_a_name_is_given_once(home: Organization) -> None:
    added("test", home)
    with pytest.raises(ConflictError):
        added("test", home)
