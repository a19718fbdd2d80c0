"""/api/crls: the lists of what our own CAs have revoked."""

import base64
from typing import Any
from uuid import UUID

from django.db.models import Count, Q, QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.authorities import Passphrase
from certs.api.base import Endpoint
from certs.api.fields import body_read
from certs.api.listing import Given, listing
from certs.api.problems import refuse
from certs.api.schema import operation
from certs.models import Authority
from certs.services.access import Actor
from certs.services.crls import crl_sign
from certs.services.pki import pki_base_url, pki_urls


class CrlDocument(serializers.Serializer[Any]):
    authority = serializers.UUIDField()
    name = serializers.CharField()
    number = serializers.IntegerField()
    thisUpdate = serializers.DateTimeField(allow_null=True)
    nextUpdate = serializers.DateTimeField(allow_null=True)
    revoked = serializers.IntegerField(help_text="How many of its certificates are revoked.")
    upToDate = serializers.BooleanField(help_text="It tells all that is known; else it waits for its signature.")
    trouble = serializers.CharField(help_text="Why the last attempt to sign it brought none.")
    url = serializers.CharField(help_text="Where it is for all; empty before that address is confirmed.")
    crl = serializers.CharField(allow_null=True, help_text="DER in base64; only of one list.")


def crl_document(row: Authority, *, whole: bool = False) -> dict[str, Any]:
    if whole and row.crl_der is None:
        raise refuse(404, "not-found", f"{row} has signed no list yet.")
    return {
        "authority": str(row.pk),
        "name": row.certificate.name,
        "number": row.crl_number,
        "thisUpdate": row.crl_this_update.isoformat() if row.crl_this_update else None,
        "nextUpdate": row.crl_next_update.isoformat() if row.crl_next_update else None,
        "revoked": getattr(row, "revoked", 0),
        "upToDate": row.crl_changes == row.register_changes,
        "trouble": row.crl_trouble,
        "url": pki_urls(row).crl if pki_base_url() else "",
        "crl": base64.b64encode(bytes(row.crl_der or b"")).decode() if whole else None,
    }


class Crls(Endpoint):
    @listing("crl_list", "List the revocation lists", CrlDocument, crl_document, tag="crls")
    def get(self, given: Given) -> QuerySet[Authority]:
        return _counted(self.actor).defer("crl_der")


class CrlItem(Endpoint):
    @operation("crl_get", "The revocation list of a CA", answers={200: CrlDocument}, tag="crls")
    def get(self, request: Request, id: UUID) -> Response:
        return Response(crl_document(_counted(self.actor).get(pk=id), whole=True))


class CrlSign(Endpoint):
    @operation("crl_sign", "Sign a revocation list now", body=Passphrase, answers={200: CrlDocument}, tag="crls")
    def post(self, request: Request, id: UUID) -> Response:
        given = body_read(request.data or {}, Passphrase)
        crl_sign(_counted(self.actor).get(pk=id), given.get("passphrase", ""), actor=self.actor)
        return Response(crl_document(_counted(self.actor).get(pk=id), whole=True))


def _counted(actor: Actor) -> QuerySet[Authority]:
    rows = selectors.authorities_visible_to(actor)
    return rows.annotate(revoked=Count("issued", filter=Q(issued__revoked_at__isnull=False)))
