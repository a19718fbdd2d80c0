"""/api/certificates/{id}/versions: what was issued or imported before, compared, used again, revoked."""

from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs.api.actions import Revoking
from certs.api.base import Endpoint
from certs.api.certificates import certificate_answer, certificate_visible
from certs.api.documents import CertificateDocument, milliseconds
from certs.api.fields import Query, Strict, body_read, query_read
from certs.api.paging import NEWEST, page_answer, page_of
from certs.api.schema import operation
from certs.models import Certificate, CertificateVersion
from certs.services.keys import key_is_here
from certs.services.revocations import version_revoke
from certs.services.versions import version_use


class VersionDocument(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    certificate = serializers.CharField()
    current = serializers.BooleanField()
    chain = serializers.CharField()
    subject = serializers.CharField()
    issuer = serializers.CharField()
    serial = serializers.CharField()
    fingerprint = serializers.CharField()
    keyType = serializers.CharField()
    hasPrivateKey = serializers.BooleanField()
    sans = serializers.ListField(child=serializers.CharField())
    selfSigned = serializers.BooleanField()
    ca = serializers.BooleanField()
    client = serializers.BooleanField()
    to = serializers.IntegerField()
    revokedAt = serializers.DateTimeField(allow_null=True)
    revocationReason = serializers.CharField()
    retiredAt = serializers.DateTimeField(allow_null=True, help_text="When another became the current one.")
    createdAt = serializers.DateTimeField()

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), "from": serializers.IntegerField()}


class VersionPage(serializers.Serializer[Any]):
    items = VersionDocument(many=True)
    next = serializers.CharField(allow_null=True)


class Difference(serializers.Serializer[Any]):
    property = serializers.CharField()
    first = serializers.JSONField()
    second = serializers.JSONField()


class Comparison(serializers.Serializer[Any]):
    first = serializers.UUIDField()
    second = serializers.UUIDField()
    differences = Difference(many=True)


class CompareQuery(Strict):
    first = serializers.UUIDField()
    second = serializers.UUIDField(required=False, help_text="The current one where none is named.")


class Versions(Endpoint):
    @operation("version_list", "Versions of a certificate", query=Query, answers={200: VersionPage}, tag="versions")
    def get(self, request: Request, id: str) -> Response:
        query_read(request, Query)
        row = certificate_visible(self.actor, id)
        page = page_of(row.versions.select_related("key"), request, NEWEST)
        return page_answer(request, [version_document(each, row, id) for each in page.rows], page.cursor)


class VersionItem(Endpoint):
    @operation("version_get", "One version", answers={200: VersionDocument}, tag="versions")
    def get(self, request: Request, id: str, version: UUID) -> Response:
        row = certificate_visible(self.actor, id)
        return Response(version_document(row.versions.select_related("key").get(pk=version), row, id))


class Compare(Endpoint):
    @operation("version_compare", "Compare two versions", query=CompareQuery, answers={200: Comparison}, tag="versions")
    def get(self, request: Request, id: str) -> Response:
        given = query_read(request, CompareQuery)
        row = certificate_visible(self.actor, id)
        rows = row.versions.select_related("key")
        first = rows.get(pk=given["first"])
        second = rows.get(pk=given["second"]) if "second" in given else rows.get(current_of=row)
        one, other = version_document(first, row, id), version_document(second, row, id)
        differences = [
            {"property": name, "first": one[name], "second": other[name]} for name in one if one[name] != other[name]
        ]
        return Response({"first": str(first.pk), "second": str(second.pk), "differences": differences})


class Use(Endpoint):
    @operation("version_use", "Go back to a version", answers={200: CertificateDocument}, tag="versions")
    def post(self, request: Request, id: str, version: UUID) -> Response:
        row = certificate_visible(self.actor, id)
        version_use(row, row.versions.select_related("key").get(pk=version), actor=self.actor)
        return certificate_answer(certificate_visible(self.actor, str(row.pk)), 200)


class RevokeVersion(Endpoint):
    @operation("version_revoke", "Revoke a version", body=Revoking, answers={200: VersionDocument}, tag="versions")
    def post(self, request: Request, id: str, version: UUID) -> Response:
        given = body_read(request.data, Revoking)
        row = certificate_visible(self.actor, id)
        found = row.versions.select_related("key", "certificate").get(pk=version)
        version_revoke(found, given["reason"], by=given.get("by", "account"), actor=self.actor)
        return Response(version_document(row.versions.select_related("key").get(pk=version), row, id))


def version_document(version: CertificateVersion, row: Certificate, id: str) -> dict[str, Any]:
    return {
        "id": str(version.pk),
        "certificate": id,
        "current": version.pk == row.current_id,
        "chain": version.fullchain_pem,
        "subject": version.subject,
        "issuer": version.issuer,
        "serial": version.serial,
        "fingerprint": version.fingerprint_sha256,
        "keyType": version.key_type,
        "hasPrivateKey": key_is_here(version.key),
        "sans": [*version.names, *version.other_names],
        "selfSigned": version.self_signed,
        "ca": version.is_ca,
        "client": version.is_client,
        "from": milliseconds(version.not_before),
        "to": milliseconds(version.not_after),
        "revokedAt": version.revoked_at.isoformat() if version.revoked_at else None,
        "revocationReason": version.revocation_reason,
        "retiredAt": version.retired_at.isoformat() if version.retired_at else None,
        "createdAt": version.created_at.isoformat(),
    }
