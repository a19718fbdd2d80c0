"""Configuration ➜ People: roles, export, organizations; nobody locks out the last administrator."""

import pytest
from django.test import Client
from django.urls import reverse

from certs.domain.roles import Role
from certs.models import AuditEvent, Department, Organization, RoleGrant, User
from certs.services.access import may_export
from tests import stock

NEW = {"email": "Carol@Example.com", "name": "Carol", "password": "a long pass phrase"}


def test_a_person_is_added_and_given_a_role(client: Client) -> None:
    client.post(reverse("person-new"), NEW)
    carol = User.objects.get(email="carol@example.com")
    assert not carol.grants.exists()
    client.post(reverse("person", args=[carol.pk]), {"role": "operator", "place": ""})
    assert carol.grants.get().role == Role.OPERATOR
    client.post(reverse("person", args=[carol.pk]), {"role": "viewer", "place": ""})
    assert carol.grants.get().role == Role.VIEWER  # one role at one place
    client.post(reverse("grant-remove", args=[carol.pk, carol.grants.get().pk]))
    assert not carol.grants.exists()
    said = str(list(AuditEvent.objects.values_list("action", "before", "after")))
    assert "a long pass phrase" not in said
    assert said.count("user.grant") == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"email": "alice@example.com"}, "There is an account of alice@example.com already"),
        ({"password": "short"}, "too short"),
        ({"email": "nobody"}, "valid email"),
    ],
)
def test_what_is_wrong_with_a_new_person_is_said(client: Client, given: dict[str, str], words: str) -> None:
    page = client.post(reverse("person-new"), {**NEW, **given}).content.decode()
    assert words in page
    assert NEW["password"] not in page
    assert User.objects.count() == 1


def test_the_last_administrator_stays(client: Client, alice: User) -> None:
    refused = [
        client.post(reverse("grant-remove", args=[alice.pk, 0])),
        client.post(reverse("person", args=[alice.pk]), {"role": "operator", "place": ""}),
        client.post(reverse("person-active", args=[alice.pk]), {"wish": "off"}),
    ]
    alice.refresh_from_db()
    assert (alice.is_superuser, alice.is_active) == (True, True)
    for answer in refused:
        assert "is the last administrator" in answer.content.decode()
    stock.administrator("second@example.com")
    client.post(reverse("grant-remove", args=[alice.pk, 0]))
    alice.refresh_from_db()
    assert (alice.is_superuser, alice.is_staff) == (False, False)


def test_administrator_everywhere_is_one_and_in_an_organization_is_not(client: Client, bob: User) -> None:
    place = Organization.objects.create(name="Acme")
    client.post(reverse("person", args=[bob.pk]), {"role": "admin", "place": f"organization:{place.pk}"})
    bob.refresh_from_db()
    assert not bob.is_superuser
    client.post(reverse("person", args=[bob.pk]), {"role": "admin", "place": ""})
    bob.refresh_from_db()
    assert bob.is_superuser
    assert bob.is_staff
    assert not RoleGrant.objects.filter(user=bob, organization=None, department=None).exists()


def test_the_export_permission_is_given_and_taken(client: Client, bob: User) -> None:
    certificate = stock.uploaded("own.example")
    client.post(reverse("person-export", args=[bob.pk]), {"wish": "on"})
    assert may_export(User.objects.get(pk=bob.pk), certificate)
    client.post(reverse("person-export", args=[bob.pk]), {"wish": "off"})
    assert not may_export(User.objects.get(pk=bob.pk), certificate)


def test_organizations_and_departments(client: Client, bob: User) -> None:
    client.post(reverse("organization-new"), {"name": "Acme"})
    acme = Organization.objects.get(name="Acme")
    client.post(reverse("department-new", args=[acme.pk]), {"new-name": "Web"})
    web = Department.objects.get(name="Web")
    client.post(reverse("department", args=[web.pk]), {"name": "Web shop"})
    client.post(reverse("organization", args=[acme.pk]), {"name": "Acme Ltd"})
    client.post(reverse("person", args=[bob.pk]), {"role": "operator", "place": f"department:{web.pk}"})
    page = client.get(reverse("people")).content.decode()
    assert "Acme Ltd</a>: Web shop" in page
    assert "Operator of Acme Ltd / Web shop" in page
    taken = client.post(reverse("organization-new"), {"name": "Acme Ltd"}).content.decode()
    assert "The name “Acme Ltd” is taken" in taken


def test_who_administers_no_people_sees_none(onlooker: Client, bob: User) -> None:
    for name, args in (("people", []), ("person", [bob.pk])):
        assert onlooker.get(reverse(name, args=args)).status_code == 403
    assert onlooker.post(reverse("person", args=[bob.pk]), {"role": "admin", "place": ""}).status_code == 403
    bob.refresh_from_db()
    assert not bob.is_superuser
