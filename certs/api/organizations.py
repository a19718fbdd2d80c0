"""/api/organizations and /api/departments: where certificates belong, and where roles are held."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.etags import document_answer, document_made, unchanged
from certs.api.fields import Query, Strict, Text, body_read
from certs.api.listing import Given, listing
from certs.api.paging import BY_UUID
from certs.api.schema import operation
from certs.models import Department, Organization
from certs.models.organization import DEFAULT_ORGANIZATION
from certs.services.access import Actor
from certs.services.organizations import (
    LONGEST_NAME,
    department_create,
    department_rename,
    organization_create,
    organization_rename,
)


class OrganizationDocument(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()


class DepartmentDocument(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    organization = serializers.UUIDField()


def organization_document(row: Organization) -> dict[str, Any]:
    return {"id": str(row.pk), "name": row.name}


def department_document(row: Department) -> dict[str, Any]:
    return {"id": str(row.pk), "name": row.name, "organization": str(row.organization_id)}


class Named(Strict):
    name = Text(max_length=LONGEST_NAME, allow_blank=False)


class DepartmentGiven(Named):
    organization = serializers.UUIDField()


class DepartmentQuery(Query):
    organization = serializers.UUIDField(required=False)


class Organizations(Endpoint):
    @listing(
        "organization_list",
        "List organizations",
        OrganizationDocument,
        organization_document,
        tag="organizations",
        order=BY_UUID,
    )
    def get(self, given: Given) -> QuerySet[Organization]:
        return selectors.organizations_visible_to(self.actor)

    @operation(
        "organization_create",
        "Make an organization",
        body=Named,
        answers={201: OrganizationDocument},
        tag="organizations",
        example={"name": "Example Ltd"},
    )
    def post(self, request: Request) -> Response:
        row = organization_create(body_read(request.data, Named)["name"], actor=self.actor)
        return document_made(organization_document(row), f"/api/organizations/{row.pk}")


class OrganizationItem(Endpoint):
    has_etag = True

    @operation("organization_get", "One organization", answers={200: OrganizationDocument}, tag="organizations")
    def get(self, request: Request, id: UUID) -> Response:
        return document_answer(request, organization_document(self._rows(id).get()))

    @operation(
        "organization_rename",
        "Rename an organization",
        body=Named,
        answers={200: OrganizationDocument},
        tag="organizations",
        example={"name": "Example Ltd"},
    )
    def patch(self, request: Request, id: UUID) -> Response:
        name = body_read(request.data, Named)["name"]
        with unchanged(request, self._rows(id), organization_document) as row:
            organization_rename(row, name, actor=self.actor)
        return document_answer(request, organization_document(row))

    def _rows(self, id: UUID) -> QuerySet[Organization]:
        return selectors.organizations_visible_to(self.actor).filter(pk=id)


class Departments(Endpoint):
    @listing(
        "department_list",
        "List departments",
        DepartmentDocument,
        department_document,
        tag="organizations",
        query=DepartmentQuery,
        order=BY_UUID,
    )
    def get(self, given: Given) -> QuerySet[Department]:
        rows = departments_visible_to(self.actor)
        return rows.filter(organization=given["organization"]) if "organization" in given else rows

    @operation(
        "department_create",
        "Make a department",
        body=DepartmentGiven,
        answers={201: DepartmentDocument},
        tag="organizations",
        example={"organization": "00000000-0000-4000-8000-000000000001", "name": "Web"},
    )
    def post(self, request: Request) -> Response:
        given = body_read(request.data, DepartmentGiven)
        organization = selectors.organizations_visible_to(self.actor).get(pk=given["organization"])
        row = department_create(organization, given["name"], actor=self.actor)
        return document_made(department_document(row), f"/api/departments/{row.pk}")


class DepartmentItem(Endpoint):
    has_etag = True

    @operation("department_get", "One department", answers={200: DepartmentDocument}, tag="organizations")
    def get(self, request: Request, id: UUID) -> Response:
        return document_answer(request, department_document(self._rows(id).get()))

    @operation(
        "department_rename",
        "Rename a department",
        body=Named,
        answers={200: DepartmentDocument},
        tag="organizations",
        example={"name": "Web and mail"},
    )
    def patch(self, request: Request, id: UUID) -> Response:
        name = body_read(request.data, Named)["name"]
        with unchanged(request, self._rows(id), department_document) as row:
            department_rename(row, name, actor=self.actor)
        return document_answer(request, department_document(row))

    def _rows(self, id: UUID) -> QuerySet[Department]:
        return departments_visible_to(self.actor).filter(pk=id)


def organization_named(actor: Actor, given: Mapping[str, Any]) -> Organization | None:
    """That of `organization` in a body; where none is named the default one, else the first that they see. Raises
    DoesNotExist."""
    places = selectors.organizations_visible_to(actor)
    if "organization" in given:
        return places.get(pk=given["organization"])
    return places.filter(pk=DEFAULT_ORGANIZATION).first() or places.first()


def departments_visible_to(actor: Actor) -> QuerySet[Department]:
    return Department.objects.filter(organization__in=selectors.organizations_visible_to(actor))
