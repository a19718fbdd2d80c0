"""/api/authorities: our own CAs. `issued.py` has what they signed, `crls.py` their lists of what was revoked."""

from typing import Any

from django.db.models import Q, QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.documents import Owned, by_id, id_of, own_id
from certs.api.etags import document_answer, unchanged
from certs.api.fields import Flag, Strict, Text, Whole, body_read, words
from certs.api.listing import Given, listing
from certs.api.schema import operation
from certs.api.wishes import Wished, wish_read
from certs.domain.certinfo import common_name_of
from certs.domain.subjects import subject_parse
from certs.models import Authority, Certificate
from certs.services.access import Actor
from certs.services.authorities import (
    authority_change,
    authority_create,
    authority_import,
    authority_renew,
    authority_retire,
)
from certs.services.certificate_properties import Properties, api_id_refuse_taken
from certs.services.crls import authority_publish, crl_days_change
from certs.services.posting import properties_read


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


class AuthorityWish(Wished):
    parent = serializers.UUIDField(  # type: ignore[assignment]  # the library takes it off the class
        required=False, help_text="An intermediate below it; else a root."
    )
    subject = Text(max_length=1000, allow_blank=False, help_text="RFC 4514, such as CN=Example Root,O=Example.")
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


class Authorities(Endpoint):
    @listing("authority_list", "List our CAs", AuthorityDocument, authority_document, tag="authorities")
    def get(self, given: Given) -> QuerySet[Authority]:
        return _visible(self.actor)

    @operation(
        "authority_create",
        "Create a CA",
        body=AuthorityWish,
        answers={201: AuthorityDocument},
        tag="authorities",
        description="A root, or an intermediate below `parent`. It signs its OCSP responder and its first list.",
    )
    def post(self, request: Request) -> Response:
        given = body_read(request.data, AuthorityWish)
        api_id_refuse_taken(given.get("id") or "")
        made = authority_create(
            wish_read({**given, "ca": True}),
            actor=self.actor,
            parent=_visible(self.actor).get(pk=given["parent"]) if "parent" in given else None,
            passphrase=given.get("passphrase", ""),
            parent_passphrase=given.get("parentPassphrase", ""),
            properties=_properties(given, self.actor),
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
    def post(self, request: Request) -> Response:
        given = body_read(request.data, AuthorityGiven)
        api_id_refuse_taken(given.get("id") or "")
        made = authority_import(
            chain=given["chain"].encode(),
            key=given["privateKey"].encode(),
            actor=self.actor,
            password=given.get("password", "").encode() or None,
            passphrase=given.get("passphrase", ""),
            properties=properties_read(given, actor=self.actor),
            crl_days=given.get("crlDays", 7),
            include_aia=given.get("includeAia", True),
        )
        return _made(self.actor, made)


class AuthorityItem(Endpoint):
    has_etag = True

    @operation("authority_get", "One CA", answers={200: AuthorityDocument}, tag="authorities")
    def get(self, request: Request, id: str) -> Response:
        return document_answer(request, authority_document(authority_named(self.actor, id)))

    @operation(
        "authority_change", "Change a CA", body=AuthorityChange, answers={200: AuthorityDocument}, tag="authorities"
    )
    def patch(self, request: Request, id: str) -> Response:
        given = body_read(request.data, AuthorityChange)
        with unchanged(request, _named(self.actor, id), authority_document) as row:
            authority_change(row, actor=self.actor, include_aia=given.get("includeAia"), profiles=given.get("profiles"))
            if "crlDays" in given:
                crl_days_change(row, given["crlDays"], actor=self.actor)
        return document_answer(request, authority_document(_visible(self.actor).get(pk=row.pk)))


class AuthorityRenew(Endpoint):
    @operation(
        "authority_renew",
        "Renew a CA",
        body=AuthorityRenewing,
        answers={200: AuthorityDocument},
        tag="authorities",
        description="The same name and key; what it issued is renewed in turn.",
    )
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


def authority_named(actor: Actor, id: str) -> Authority:
    """By the id of its certificate, or its own. Raises DoesNotExist."""
    return _named(actor, id).get()


def _named(actor: Actor, id: str) -> QuerySet[Authority]:
    of_certificate = Certificate.objects.filter(by_id(id), deleted_at=None).values("pk")
    return _visible(actor).filter(Q(certificate__in=of_certificate) | own_id(id))


def _visible(actor: Actor) -> QuerySet[Authority]:
    return selectors.authorities_visible_to(actor)


def _properties(given: dict[str, Any], actor: Actor) -> Properties:
    name = given.get("name") or _common_name(given.get("subject", ""))
    return properties_read({**given, "name": name}, actor=actor)


def _common_name(subject: str) -> str:
    return common_name_of(subject_parse(subject))[:255] or subject[:255]


def _made(actor: Actor, row: Authority) -> Response:
    document = authority_document(_visible(actor).get(pk=row.pk))
    return Response(document, status=201, headers={"Location": f"/api/authorities/{row.pk}"})
