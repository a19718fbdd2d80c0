"""/api/authorities/{id}/issued: the register of what a CA of ours has signed."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs.api.authorities import authority_named
from certs.api.base import Endpoint
from certs.api.fields import Strict, Word, body_read
from certs.api.listing import Given, listing
from certs.api.paging import NEWEST_NUMBER
from certs.api.schema import operation
from certs.domain.revocation import OWN_REASONS
from certs.models import IssuedCertificate
from certs.services.revocations import serial_release, serial_revoke


class IssuedDocument(serializers.Serializer[Any]):
    serial = serializers.CharField()
    subject = serializers.CharField()
    notAfter = serializers.DateTimeField()
    revokedAt = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField()
    createdAt = serializers.DateTimeField()


def issued_document(row: IssuedCertificate) -> dict[str, Any]:
    return {
        "serial": row.serial,
        "subject": row.subject,
        "notAfter": row.not_after.isoformat(),
        "revokedAt": row.revoked_at.isoformat() if row.revoked_at else None,
        "reason": row.reason,
        "createdAt": row.created_at.isoformat(),
    }


class RevokingSerial(Strict):
    reason = Word(choices=list(OWN_REASONS))


class Issued(Endpoint):
    @listing(
        "authority_issued",
        "The register of what a CA signed",
        IssuedDocument,
        issued_document,
        tag="authorities",
        order=NEWEST_NUMBER,
    )
    def get(self, given: Given, id: str) -> QuerySet[IssuedCertificate]:
        return authority_named(self.actor, id).issued.all()


class IssuedRevoke(Endpoint):
    @operation(
        "issued_revoke",
        "Revoke by serial number",
        body=RevokingSerial,
        answers={200: IssuedDocument},
        tag="authorities",
    )
    def post(self, request: Request, id: str, serial: str) -> Response:
        given = body_read(request.data, RevokingSerial)
        row = serial_revoke(authority_named(self.actor, id), serial, given["reason"], actor=self.actor)
        row.refresh_from_db()
        return Response(issued_document(row))


class IssuedRelease(Endpoint):
    @operation("issued_release", "Take back a hold by serial number", answers={200: IssuedDocument}, tag="authorities")
    def post(self, request: Request, id: str, serial: str) -> Response:
        row = serial_release(authority_named(self.actor, id), serial, actor=self.actor)
        row.refresh_from_db()
        return Response(issued_document(row))
