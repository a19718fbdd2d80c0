"""/api/people: who may log in, which roles they hold and where, and whether private keys may leave through them."""

from typing import Any
from uuid import UUID

from django.contrib.auth.models import Permission
from django.db.models import Exists, OuterRef, Q, QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs.api.base import Endpoint
from certs.api.etags import document_answer, document_made, unchanged
from certs.api.fields import Flag, Strict, Text, Word, body_read
from certs.api.listing import Given, listing
from certs.api.paging import Order
from certs.api.schema import operation
from certs.domain.roles import Right, Role
from certs.models import Department, Organization, RoleGrant, User
from certs.services.access import EXPORT_PERMISSION, Actor, may, require
from certs.services.users import grant_set, user_create, user_export_set, user_update

EVERYWHERE = "everywhere"
_EXPORT = EXPORT_PERMISSION.partition(".")[2]
_BY_ADDRESS = Order(("email",), (str,))
Place = tuple[Organization | None, Department | None]


class GrantDocument(serializers.Serializer[Any]):
    role = serializers.ChoiceField(choices=list(Role))
    place = serializers.CharField(help_text="“everywhere”, or the id of an organization or department.")
    organization = serializers.UUIDField(allow_null=True)
    department = serializers.UUIDField(allow_null=True)


class PersonDocument(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    email = serializers.CharField()
    name = serializers.CharField()
    active = serializers.BooleanField(help_text="Who is not is locked out, and so are their tokens.")
    canExport = serializers.BooleanField(help_text="Private keys may leave through them.")
    grants = GrantDocument(many=True)
    createdAt = serializers.DateTimeField()


def person_document(row: User) -> dict[str, Any]:
    held = [] if not row.is_superuser else [_grant(Role.ADMIN, RoleGrant())]
    return {
        "id": str(row.pk),
        "email": row.email,
        "name": row.name,
        "active": row.is_active,
        "canExport": row.is_active and (row.is_superuser or row.was_permitted),  # type: ignore[attr-defined]  # annotated
        "grants": [*held, *(_grant(Role(each.role), each) for each in row.grants.all())],
        "createdAt": row.date_joined.isoformat(),
    }


def _grant(role: Role, grant: RoleGrant) -> dict[str, Any]:
    organization, department = grant.organization_id, grant.department_id
    return {
        "role": role.value,
        "place": str(department or organization or EVERYWHERE),
        "organization": str(organization) if organization else None,
        "department": str(department) if department else None,
    }


class PersonGiven(Strict):
    email = Text(max_length=254, allow_blank=False)
    name = Text(required=False, max_length=200)
    password = Text(max_length=1024, allow_blank=False, help_text="Write-only.")


class PersonChange(Strict):
    name = Text(required=False, max_length=200)
    active = Flag(required=False)
    canExport = Flag(required=False)


class GrantGiven(Strict):
    role = Word(choices=list(Role))


class People(Endpoint):
    @listing("person_list", "List people", PersonDocument, person_document, tag="people", order=_BY_ADDRESS)
    def get(self, given: Given) -> QuerySet[User]:
        require(self.actor, Right.PERSON)
        return _people(self.actor)

    @operation(
        "person_create",
        "Make an account for a person",
        body=PersonGiven,
        answers={201: PersonDocument},
        tag="people",
        description="Without any role yet: they see nothing.",
        example={"email": "ada@example.com", "name": "Ada", "password": "a long pass phrase"},
    )
    def post(self, request: Request) -> Response:
        given = body_read(request.data, PersonGiven)
        made = user_create(given["email"], name=given.get("name", ""), password=given["password"], actor=self.actor)
        return document_made(person_document(_people(self.actor).get(pk=made.pk)), f"/api/people/{made.pk}")


class PersonItem(Endpoint):
    has_etag = True

    @operation("person_get", "One person", answers={200: PersonDocument}, tag="people")
    def get(self, request: Request, id: UUID) -> Response:
        return document_answer(request, person_document(_people(self.actor).get(pk=id)))

    @operation(
        "person_change",
        "Change a person",
        body=PersonChange,
        answers={200: PersonDocument},
        tag="people",
        description="The last administrator who can log in stays one.",
        example={"active": False},
    )
    def patch(self, request: Request, id: UUID) -> Response:
        given = body_read(request.data, PersonChange)
        with unchanged(request, _people(self.actor).filter(pk=id), person_document) as row:
            if given.keys() & {"name", "active"}:
                name, active = given.get("name", row.name), given.get("active", row.is_active)
                user_update(row, name=name, is_active=active, actor=self.actor)
            if "canExport" in given:
                user_export_set(row, on=given["canExport"], actor=self.actor)
        return document_answer(request, person_document(_people(self.actor).get(pk=id)))


class Grant(Endpoint):
    has_etag = True

    @operation(
        "grant_set",
        "Give a role",
        body=GrantGiven,
        answers={200: PersonDocument},
        tag="people",
        description="In the place of the role that is held there. If-Match is that of the person.",
        example={"role": "operator"},
    )
    def put(self, request: Request, id: UUID, place: str) -> Response:
        return self._set(request, id, place, Role(body_read(request.data, GrantGiven)["role"]))

    @operation("grant_remove", "Take a role away", answers={200: PersonDocument}, tag="people")
    def delete(self, request: Request, id: UUID, place: str) -> Response:
        return self._set(request, id, place, None)

    def _set(self, request: Request, id: UUID, place: str, role: Role | None) -> Response:
        with unchanged(request, _people(self.actor).filter(pk=id), person_document) as row:
            organization, department = _place(place)
            here = str(getattr(department or organization, "pk", EVERYWHERE))
            if role is None and here not in {each["place"] for each in person_document(row)["grants"]}:
                raise RoleGrant.DoesNotExist
            grant_set(row, role, organization=organization, department=department, actor=self.actor)
        return document_answer(request, person_document(_people(self.actor).get(pk=id)))


def _people(actor: Actor) -> QuerySet[User]:
    """Who may not change people does not see them either, as on the pages."""
    if not may(actor, Right.PERSON):
        return User.objects.none()
    permitted = Permission.objects.filter(Q(user=OuterRef("pk")) | Q(group__user=OuterRef("pk")), codename=_EXPORT)
    return User.objects.annotate(was_permitted=Exists(permitted)).prefetch_related("grants")


def _place(word: str) -> Place:
    """Raises DoesNotExist, which is 404."""
    if word == EVERYWHERE:
        return None, None
    try:
        key = UUID(word)
    except ValueError:
        raise Organization.DoesNotExist from None
    department = Department.objects.select_related("organization").filter(pk=key).first()
    return (None, department) if department else (Organization.objects.get(pk=key), None)
