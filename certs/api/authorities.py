"""/api/authorities: our own CAs, the register of what they signed, and /api/crls, their lists of what was revoked."""

import base64
from typing import Any
from uuid import UUID

from django.db.models import Count, Q, QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.documents import id_of
from certs.api.doors import KEY_TYPES, Owned, authority_named, wish_read
from certs.api.fields import Flag, Query, Strict, Text, Whole, Word, body_read, page_kind, query_read, words
from certs.api.idempotency import idempotent
from certs.api.paging import NEWEST, NEWEST_NUMBER, page_answer, page_of
from certs.api.problems import refuse
from certs.api.schema import operation
from certs.domain.certinfo import common_name_of
from certs.domain.revocation import OWN_REASONS
from certs.domain.signing import DIGESTS
from certs.domain.subjects import subject_parse
from certs.models import Authority, IssuedCertificate
from certs.services.access import Actor
from certs.services.authorities import (
    authority_change,
    authority_create,
    authority_import,
    authority_renew,
    authority_retire,
)
from certs.services.certificates import api_id_refuse_taken
from certs.services.crls import authority_publish, crl_days_change, crl_sign
from certs.services.pki import pki_base_url, pki_urls
from certs.services.posting import properties_read
from certs.services.revocations import serial_release, serial_revoke


class AuthorityDocument(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    certificate = serializers.CharField(help_text="The id of its certificate: the `caRef` of what it signs.")
    parent = serializers.UUIDField(allow_null=True)  # type: ignore[assignment]  # the library takes it off the class
    successor = serializers.UUIDField(allow_null=True)
    subject = serializers.CharField()
    offline = serializers.BooleanField(help_text="Its key has a passphrase that is stored nowhere.")
    includeAia = serializers.BooleanField()
    profiles = serializers.ListField(child=serializers.CharField(), help_text="Those it signs by; none: all.")
    crlDays = serializers.IntegerField()
    validUntil = serializers.DateTimeField(allow_null=True)
    retiredAt = serializers.DateTimeField(allow_null=True)
    createdAt = serializers.DateTimeField()


AuthorityPage = page_kind(AuthorityDocument, "AuthorityPage")


class AuthorityWish(Owned):
    parent = serializers.UUIDField(  # type: ignore[assignment]  # the library takes it off the class
        required=False, help_text="An intermediate below it; else a root."
    )
    subject = Text(max_length=1000, allow_blank=False, help_text="RFC 4514, such as CN=Example Root,O=Example.")
    profile = Text(required=False, max_length=60)
    keyType = Word(required=False, choices=[*KEY_TYPES, "RSA", "EC", "Ed25519"])
    keySize = Whole(required=False, min_value=256, max_value=16384)
    digestAlgorithm = Word(required=False, choices=["", *DIGESTS])
    days = Whole(required=False, min_value=1, max_value=36525)
    pathLength = Whole(required=False, allow_null=True, min_value=0, max_value=20)
    permitted = words(required=False, max_length=100, help_text="Names that it may certify.")
    excluded = words(required=False, max_length=100)
    passphrase = Text(required=False, max_length=1024, help_text="Makes it offline. Stored nowhere.")
    parentPassphrase = Text(required=False, max_length=1024)
    crlDays = Whole(required=False, min_value=1, max_value=3660)
    includeAia = Flag(required=False)
    profiles = words(required=False, max_length=50)


class AuthorityGiven(Owned):
    chain = Text(max_length=1024 * 1024, allow_blank=False)
    privateKey = Text(max_length=64 * 1024, allow_blank=False)
    password = Text(required=False, max_length=1024, help_text="Of the private key, as it is sent.")
    passphrase = Text(required=False, max_length=1024, help_text="Makes it offline here. Stored nowhere.")
    crlDays = Whole(required=False, min_value=1, max_value=3660)
    includeAia = Flag(required=False)


class AuthorityChange(Strict):
    includeAia = Flag(required=False)
    profiles = words(required=False, max_length=50)
    crlDays = Whole(required=False, min_value=1, max_value=3660)


class AuthorityRenewing(Strict):
    days = Whole(required=False, min_value=1, max_value=36525)
    passphrase = Text(required=False, max_length=1024)
    parentPassphrase = Text(required=False, max_length=1024)


class Retiring(Strict):
    successor = serializers.UUIDField(required=False)


class Passphrase(Strict):
    passphrase = Text(required=False, max_length=1024, help_text="Of an offline CA.")


class IssuedDocument(serializers.Serializer[Any]):
    serial = serializers.CharField()
    subject = serializers.CharField()
    notAfter = serializers.DateTimeField()
    revokedAt = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField()
    createdAt = serializers.DateTimeField()


IssuedPage = page_kind(IssuedDocument, "IssuedPage")


class RevokingSerial(Strict):
    reason = Word(choices=list(OWN_REASONS))


class CrlDocument(serializers.Serializer[Any]):
    authority = serializers.UUIDField()
    name = serializers.CharField()
    number = serializers.IntegerField()
    thisUpdate = serializers.DateTimeField(allow_null=True)
    nextUpdate = serializers.DateTimeField(allow_null=True)
    revoked = serializers.IntegerField(help_text="How many of its certificates are revoked.")
    trouble = serializers.CharField(help_text="Why the last attempt to sign it brought none.")
    url = serializers.CharField(help_text="Where it is for all; empty before that address is confirmed.")
    crl = serializers.CharField(allow_null=True, help_text="DER in base64; only of one list.")


CrlPage = page_kind(CrlDocument, "CrlPage")


class Authorities(Endpoint):
    @operation("authority_list", "List our CAs", query=Query, answers={200: AuthorityPage}, tag="authorities")
    def get(self, request: Request) -> Response:
        query_read(request, Query)
        page = page_of(_visible(self.actor), request, NEWEST)
        return page_answer(request, [authority_document(row) for row in page.rows], page.cursor)

    @operation(
        "authority_create",
        "Create a CA",
        body=AuthorityWish,
        answers={201: AuthorityDocument},
        tag="authorities",
        description="A root, or an intermediate below `parent`. It signs its OCSP responder and its first list.",
    )
    @idempotent
    def post(self, request: Request) -> Response:
        given = body_read(request.data, AuthorityWish)
        api_id_refuse_taken(given.get("id") or "")
        made = authority_create(
            wish_read({**given, "ca": True}),
            actor=self.actor,
            parent=_visible(self.actor).get(pk=given["parent"]) if "parent" in given else None,
            passphrase=given.get("passphrase", ""),
            parent_passphrase=given.get("parentPassphrase", ""),
            properties=_named(given, self.actor),
            crl_days=given.get("crlDays", 7),
            include_aia=given.get("includeAia", True),
            profiles=given.get("profiles", ()),
        )
        return _made(self.actor, made)


class AuthorityImport(Endpoint):
    @operation(
        "authority_import",
        "Take in a CA from elsewhere",
        body=AuthorityGiven,
        answers={201: AuthorityDocument},
        tag="authorities",
    )
    @idempotent
    def post(self, request: Request) -> Response:
        given = body_read(request.data, AuthorityGiven)
        made = authority_import(
            chain=given["chain"].encode(),
            key=given["privateKey"].encode(),
            actor=self.actor,
            password=given.get("password", "").encode() or None,
            passphrase=given.get("passphrase", ""),
            properties=_named(given, self.actor) if given.get("name") else None,
            crl_days=given.get("crlDays", 7),
            include_aia=given.get("includeAia", True),
        )
        return _made(self.actor, made)


class AuthorityItem(Endpoint):
    @operation("authority_get", "One CA", answers={200: AuthorityDocument}, tag="authorities")
    def get(self, request: Request, id: str) -> Response:
        return Response(authority_document(authority_named(self.actor, id)))

    @operation(
        "authority_change", "Change a CA", body=AuthorityChange, answers={200: AuthorityDocument}, tag="authorities"
    )
    def patch(self, request: Request, id: str) -> Response:
        given = body_read(request.data, AuthorityChange)
        row = authority_named(self.actor, id)
        authority_change(row, actor=self.actor, include_aia=given.get("includeAia"), profiles=given.get("profiles"))
        if "crlDays" in given:
            crl_days_change(row, given["crlDays"], actor=self.actor)
        return Response(authority_document(_visible(self.actor).get(pk=row.pk)))


class AuthorityRenew(Endpoint):
    @operation(
        "authority_renew",
        "Renew a CA",
        body=AuthorityRenewing,
        answers={200: AuthorityDocument},
        tag="authorities",
        description="The same name and key; what it issued is renewed in turn.",
    )
    @idempotent
    def post(self, request: Request, id: str) -> Response:
        given = body_read(request.data or {}, AuthorityRenewing)
        row = authority_named(self.actor, id)
        authority_renew(
            row,
            actor=self.actor,
            passphrase=given.get("passphrase", ""),
            parent_passphrase=given.get("parentPassphrase", ""),
            days=given.get("days", 0),
        )
        return Response(authority_document(_visible(self.actor).get(pk=row.pk)))


class AuthorityRetire(Endpoint):
    @operation(
        "authority_retire",
        "Retire a CA",
        body=Retiring,
        answers={200: AuthorityDocument},
        tag="authorities",
        description="It signs no certificate any more, and goes on telling of revoked ones.",
    )
    def post(self, request: Request, id: str) -> Response:
        given = body_read(request.data or {}, Retiring)
        row = authority_named(self.actor, id)
        successor = _visible(self.actor).get(pk=given["successor"]) if "successor" in given else None
        authority_retire(row, actor=self.actor, successor=successor)
        return Response(authority_document(_visible(self.actor).get(pk=row.pk)))


class AuthorityPublish(Endpoint):
    @operation(
        "authority_publish",
        "Sign responder and list anew",
        body=Passphrase,
        answers={200: AuthorityDocument},
        tag="authorities",
    )
    def post(self, request: Request, id: str) -> Response:
        given = body_read(request.data or {}, Passphrase)
        row = authority_named(self.actor, id)
        authority_publish(row, given.get("passphrase", ""), actor=self.actor)
        return Response(authority_document(_visible(self.actor).get(pk=row.pk)))


class Issued(Endpoint):
    @operation(
        "authority_issued",
        "The register of what a CA signed",
        query=Query,
        answers={200: IssuedPage},
        tag="authorities",
    )
    def get(self, request: Request, id: str) -> Response:
        query_read(request, Query)
        page = page_of(authority_named(self.actor, id).issued.all(), request, NEWEST_NUMBER)
        return page_answer(request, [issued_document(row) for row in page.rows], page.cursor)


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


class Crls(Endpoint):
    @operation("crl_list", "List the revocation lists", query=Query, answers={200: CrlPage}, tag="crls")
    def get(self, request: Request) -> Response:
        query_read(request, Query)
        page = page_of(_counted(self.actor).defer("crl_der"), request, NEWEST)
        return page_answer(request, [crl_document(row) for row in page.rows], page.cursor)


class CrlItem(Endpoint):
    @operation("crl_get", "The revocation list of a CA", answers={200: CrlDocument}, tag="crls")
    def get(self, request: Request, id: UUID) -> Response:
        return Response(crl_document(_counted(self.actor).get(pk=id), whole=True))


class CrlSign(Endpoint):
    @operation("crl_sign", "Sign a revocation list now", body=Passphrase, answers={200: CrlDocument}, tag="crls")
    def post(self, request: Request, id: UUID) -> Response:
        given = body_read(request.data or {}, Passphrase)
        crl_sign(_visible(self.actor).get(pk=id), given.get("passphrase", ""), actor=self.actor)
        return Response(crl_document(_counted(self.actor).get(pk=id), whole=True))


def authority_document(row: Authority) -> dict[str, Any]:
    version, parent = row.certificate.current, row.certificate.authority_id
    return {
        "id": str(row.pk),
        "name": row.certificate.name,
        "certificate": id_of(row.certificate),
        "parent": str(parent) if parent else None,
        "successor": str(row.successor_id) if row.successor_id else None,
        "subject": version.subject if version else "",
        "offline": row.offline,
        "includeAia": row.include_aia,
        "profiles": list(row.profiles),
        "crlDays": row.crl_days,
        "validUntil": version.not_after.isoformat() if version else None,
        "retiredAt": row.retired_at.isoformat() if row.retired_at else None,
        "createdAt": row.created_at.isoformat(),
    }


def issued_document(row: IssuedCertificate) -> dict[str, Any]:
    return {
        "serial": row.serial,
        "subject": row.subject,
        "notAfter": row.not_after.isoformat(),
        "revokedAt": row.revoked_at.isoformat() if row.revoked_at else None,
        "reason": row.reason,
        "createdAt": row.created_at.isoformat(),
    }


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
        "trouble": row.crl_trouble,
        "url": pki_urls(row).crl if pki_base_url() else "",
        "crl": base64.b64encode(bytes(row.crl_der or b"")).decode() if whole else None,
    }


def _visible(actor: Actor) -> QuerySet[Authority]:
    return selectors.authorities_visible_to(actor)


def _counted(actor: Actor) -> QuerySet[Authority]:
    return _visible(actor).annotate(revoked=Count("issued", filter=Q(issued__revoked_at__isnull=False)))


def _named(given: dict[str, Any], actor: Actor) -> Any:
    name = given.get("name") or _common_name(given.get("subject", ""))
    return properties_read({**given, "name": name}, actor=actor)


def _common_name(subject: str) -> str:
    return common_name_of(subject_parse(subject))[:255] or subject[:255]


def _made(actor: Actor, row: Authority) -> Response:
    document = authority_document(_visible(actor).get(pk=row.pk))
    return Response(document, status=201, headers={"Location": f"/api/authorities/{row.pk}"})
