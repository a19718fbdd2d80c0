"""/api/certificates/{id}/versions: what was issued or imported before, compared, used again, revoked."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs.api.actions import Revoking
from certs.api.base import Endpoint
from certs.api.certificates import certificate_answer, certificate_visible
from certs.api.documents import CertificateDocument, id_of, milliseconds
from certs.api.fields import Strict, body_read, query_read
from certs.api.listing import Given, listing
from certs.api.schema import operation
from certs.models import CertificateVersion
from certs.services.access import Actor
from certs.services.keys import key_is_here
from certs.services.revocations import version_revoke
from certs.services.version_history import version_use


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


def version_document(version: CertificateVersion) -> dict[str, Any]:
    return {
        "id": str(version.pk),
        "certificate": id_of(version.certificate),
        "current": version.pk == version.certificate.current_id,
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
    @listing("version_list", "Versions of a certificate", VersionDocument, version_document, tag="versions")
    def get(self, given: Given, id: str) -> QuerySet[CertificateVersion]:
        return _versions(self.actor, id)


class VersionItem(Endpoint):
    @operation("version_get", "One version", answers={200: VersionDocument}, tag="versions")
    def get(self, request: Request, id: str, version: UUID) -> Response:
        return Response(version_document(_versions(self.actor, id).get(pk=version)))


class Compare(Endpoint):
    @operation("version_compare", "Compare two versions", query=CompareQuery, answers={200: Comparison}, tag="versions")
    def get(self, request: Request, id: str) -> Response:
        given = query_read(request, CompareQuery)
        rows = _versions(self.actor, id)
        first = rows.get(pk=given["first"])
        second = rows.get(pk=given["second"]) if "second" in given else rows.get(current_of=first.certificate)
        one, other = version_document(first), version_document(second)
        differences = [
            {"property": name, "first": one[name], "second": other[name]} for name in one if one[name] != other[name]
        ]
        return Response({"first": str(first.pk), "second": str(second.pk), "differences": differences})


class Use(Endpoint):
    @operation("version_use", "Go back to a version", answers={200: CertificateDocument}, tag="versions")
    def post(self, request: Request, id: str, version: UUID) -> Response:
        row = _versions(self.actor, id).get(pk=version)
        version_use(row.certificate, row, actor=self.actor)
        return certificate_answer(certificate_visible(self.actor, str(row.certificate_id)), 200)


class RevokeVersion(Endpoint):
    @operation("version_revoke", "Revoke a version", body=Revoking, answers={200: VersionDocument}, tag="versions")
    def post(self, request: Request, id: str, version: UUID) -> Response:
        given = body_read(request.data, Revoking)
        rows = _versions(self.actor, id)
        version_revoke(rows.get(pk=version), given["reason"], by=given.get("by", "account"), actor=self.actor)
        return Response(version_document(rows.get(pk=version)))


def _versions(actor: Actor, id: str) -> QuerySet[CertificateVersion]:
    """Raises DoesNotExist where the certificate is not theirs to see."""
    return certificate_visible(actor, id).versions.select_related("key", "certificate")
