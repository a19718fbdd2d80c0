"""/api/tokens: the tokens of programs. The secret of a new one is told once."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.etags import document_answer, unchanged
from certs.api.fields import Flag, Strict, Text, Whole, Word, body_read, words
from certs.api.listing import Given, listing
from certs.api.schema import operation
from certs.domain.roles import Role
from certs.models import ApiToken, Department
from certs.services.tokens import token_create, token_revoke, token_state


class TokenDocument(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    hint = serializers.CharField(help_text="The beginning of its secret.")
    role = serializers.ChoiceField(choices=list(Role))
    canExport = serializers.BooleanField()
    organization = serializers.UUIDField(allow_null=True)
    department = serializers.UUIDField(allow_null=True)
    tags = serializers.ListField(child=serializers.CharField())
    owner = serializers.CharField(allow_null=True)
    state = serializers.ChoiceField(choices=["active", "expired", "revoked", "locked"])
    createdAt = serializers.DateTimeField()
    expiresAt = serializers.DateTimeField(allow_null=True)
    lastUsedAt = serializers.DateTimeField(allow_null=True)


def token_document(row: ApiToken) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "name": row.name,
        "hint": row.hint,
        "role": row.role,
        "canExport": row.can_export,
        "organization": str(row.organization_id) if row.organization_id else None,
        "department": str(row.department_id) if row.department_id else None,
        "tags": list(row.tags),
        "owner": row.owner.email if row.owner else None,
        "state": token_state(row),
        "createdAt": row.created_at.isoformat(),
        "expiresAt": row.expires_at.isoformat() if row.expires_at else None,
        "lastUsedAt": row.last_used_at.isoformat() if row.last_used_at else None,
    }


class TokenMade(TokenDocument):
    secret = serializers.CharField(allow_null=True, help_text="Told once; null where the answer is given again.")


class TokenGiven(Strict):
    name = Text(max_length=120, allow_blank=False)
    role = Word(choices=list(Role))
    organization = serializers.UUIDField(required=False)
    department = serializers.UUIDField(required=False)
    tags = words(required=False, max_length=20)
    days = Whole(required=False, min_value=1, max_value=3650, help_text="How long it lives; without: for good.")
    canExport = Flag(required=False)


class Tokens(Endpoint):
    @listing("token_list", "List tokens", TokenDocument, token_document, tag="tokens")
    def get(self, given: Given) -> QuerySet[ApiToken]:
        return selectors.tokens_visible_to(self.actor)

    @operation("token_create", "Make a token", body=TokenGiven, answers={201: TokenMade}, tag="tokens")
    def post(self, request: Request) -> Response:
        given = body_read(request.data, TokenGiven)
        places = selectors.organizations_visible_to(self.actor)
        departments = Department.objects.filter(organization__in=places)
        row, secret = token_create(
            given["name"],
            given["role"],
            actor=self.actor,
            organization=places.get(pk=given["organization"]) if "organization" in given else None,
            department=departments.get(pk=given["department"]) if "department" in given else None,
            tags=given.get("tags", ()),
            days=given.get("days"),
            can_export=given.get("canExport", False),
        )
        document = token_document(row)
        response = Response({**document, "secret": secret}, status=201, headers={"Location": f"/api/tokens/{row.pk}"})
        response.kept = {**document, "secret": None}  # type: ignore[attr-defined]  # what a repeated request gets
        return response


class TokenItem(Endpoint):
    has_etag = True

    @operation("token_get", "One token", answers={200: TokenDocument}, tag="tokens")
    def get(self, request: Request, id: UUID) -> Response:
        return document_answer(request, token_document(selectors.tokens_visible_to(self.actor).get(pk=id)))

    @operation("token_revoke", "Revoke a token", answers={204: None}, tag="tokens")
    def delete(self, request: Request, id: UUID) -> Response:
        with unchanged(request, selectors.tokens_visible_to(self.actor).filter(pk=id), token_document) as row:
            token_revoke(row, actor=self.actor)
        return Response(status=204)
