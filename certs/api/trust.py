"""/api/trusted: the CAs of the store that the portal trusts, for its own calls and for clients of its listener;
/api/client-auth: whether that listener asks clients for a certificate; and trust stores for others."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs.api.actions import file_answer
from certs.api.base import Endpoint
from certs.api.certificates import certificate_visible
from certs.api.documents import by_id, id_of
from certs.api.etags import document_answer, document_made, etag_of, match_require, unchanged
from certs.api.fields import Flag, Strict, Text, Word, body_read, words
from certs.api.listing import Given, listing
from certs.api.paging import BY_NUMBER
from certs.api.plugin_options import OptionValues
from certs.api.problems import refuse
from certs.api.schema import operation
from certs.api.selection import Selection, certificates_selected
from certs.domain.certinfo import certificate_info
from certs.domain.client_auth import Mode
from certs.domain.pem import certificates_read, chain_order
from certs.domain.roles import Right
from certs.models import Certificate, TrustedAuthority
from certs.services.access import PORTAL, Actor, may, require
from certs.services.client_auth import client_auth_change, client_auth_mode
from certs.services.downloads import trust_store_make
from certs.services.portal_state import state_get, state_lock
from certs.services.posting import certificate_post
from certs.services.trusted import trusted_check, trusted_list, trusted_set
from certs.views.client_certificates import presented_of
from certs.views.configuration.arriving import is_direct
from portal import clock


class TrustedDocument(serializers.Serializer[Any]):
    certificate = serializers.CharField(help_text="The id of the CA's certificate.")
    name = serializers.CharField()
    outbound = serializers.BooleanField(help_text="For the portal's own calls, besides the system's roots.")
    clients = serializers.BooleanField(help_text="The listener accepts clients whose certificate it signed.")
    logIn = serializers.BooleanField(help_text="… and logs in the person whose e-mail address they name.")
    createdAt = serializers.DateTimeField()


def trusted_document(row: TrustedAuthority) -> dict[str, Any]:
    return {
        "certificate": id_of(row.certificate),
        "name": row.certificate.name,
        "outbound": row.outbound,
        "clients": row.clients,
        "logIn": row.log_in,
        "createdAt": row.created_at.isoformat(),
    }


def client_auth_document() -> dict[str, Any]:
    state = state_get()
    until = state.client_auth_confirm_by
    on_trial = until is not None and until > clock.now()
    return {
        "mode": client_auth_mode(state).value,
        "trialUntil": until.isoformat() if until and on_trial else None,
        "returnsTo": state.client_auth_before if on_trial else None,
    }


class Purposes(Strict):
    outbound = Flag(required=False)
    clients = Flag(required=False)
    logIn = Flag(required=False)


class TrustGiven(Purposes):
    chain = Text(max_length=1024 * 1024, allow_blank=False, help_text="PEM of the CA's certificate.")
    name = Text(required=False, max_length=255)
    tags = words(required=False, max_length=50)


class ClientAuthDocument(serializers.Serializer[Any]):
    mode = serializers.ChoiceField(choices=[mode.value for mode in Mode], help_text="What holds now.")
    trialUntil = serializers.DateTimeField(allow_null=True, help_text="Then it returns, unless a person keeps it.")
    returnsTo = serializers.ChoiceField(choices=[mode.value for mode in Mode], allow_null=True)


class ClientAuthGiven(Strict):
    mode = Word(choices=[mode.value for mode in Mode])


class TrustStoreWish(Selection):
    format = Text(required=False, max_length=40, help_text="truststore-jks where nothing is said.")
    options = OptionValues(required=False, help_text="Of the format: password and so on.")


class Trusted(Endpoint):
    @listing(
        "trusted_list",
        "List the trusted CAs",
        TrustedDocument,
        trusted_document,
        tag="trust",
        order=BY_NUMBER,
        description="Besides the system's roots, which are always trusted for the portal's own calls.",
    )
    def get(self, given: Given) -> QuerySet[TrustedAuthority]:
        require(self.actor, Right.READ, PORTAL)
        return trusted_list()

    @operation(
        "trusted_create",
        "Trust a CA that may not be in the store",
        body=TrustGiven,
        answers={201: TrustedDocument},
        tag="trust",
        description="Its certificate is taken into the store without a key, or recognised there. One that is there is "
        "trusted by PUT as well.",
        example={"chain": "-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----", "outbound": True},
    )
    def post(self, request: Request) -> Response:
        require(self.actor, Right.SETTING, PORTAL)
        given = body_read(request.data, TrustGiven)
        purposes = _purposes(given)
        info = certificate_info(chain_order(certificates_read(given["chain"].encode())).leaf)
        trusted_check(
            given.get("name") or info.subject,
            is_ca=info.is_ca,
            clients=purposes["clients"],
            log_in=purposes["log_in"],
        )
        certificate, _ = certificate_post(_material(given), actor=self.actor)
        trusted_set(certificate, **purposes, actor=self.actor)
        row = trusted_list().get(certificate=certificate)
        return document_made(trusted_document(row), f"/api/trusted/{id_of(certificate)}")


class TrustedItem(Endpoint):
    has_etag = True

    @operation("trusted_get", "What one CA is trusted for", answers={200: TrustedDocument}, tag="trust")
    def get(self, request: Request, id: str) -> Response:
        return document_answer(request, trusted_document(_visible(self.actor, id).get()))

    @operation(
        "trusted_set",
        "Trust a CA of the store",
        body=Purposes,
        answers={200: TrustedDocument},
        tag="trust",
        description="For what is said to be true, and for nothing else. Every process follows within seconds.",
        example={"outbound": True, "clients": False, "logIn": False},
    )
    def put(self, request: Request, id: str) -> Response:
        purposes = _purposes(body_read(request.data, Purposes))
        certificate = certificate_visible(self.actor, id)
        with transaction.atomic():
            before = TrustedAuthority.objects.select_for_update().filter(certificate=certificate).first()
            match_require(request, etag_of(trusted_document(before)) if before else "")
            trusted_set(certificate, **purposes, actor=self.actor)
        return document_answer(request, trusted_document(trusted_list().get(certificate=certificate)))

    @operation("trusted_remove", "Trust a CA no longer", answers={204: None}, tag="trust")
    def delete(self, request: Request, id: str) -> Response:
        with unchanged(request, _visible(self.actor, id), trusted_document) as row:
            trusted_set(row.certificate, actor=self.actor)
        return Response(status=204)


class ClientAuth(Endpoint):
    has_etag = True

    @operation(
        "client_auth_get",
        "Whether clients are asked for a certificate",
        answers={200: ClientAuthDocument},
        tag="trust",
    )
    def get(self, request: Request) -> Response:
        require(self.actor, Right.READ, PORTAL)
        return document_answer(request, client_auth_document())

    @operation(
        "client_auth_change",
        "Ask clients for a certificate, or not",
        body=ClientAuthGiven,
        answers={200: ClientAuthDocument},
        tag="trust",
        description="What is less strict holds at once. What is stricter needs a request that shows the way in (HTTPS "
        "to the listener itself, for `required` with a client certificate) and is on trial: it returns by itself "
        "unless a person keeps it under Configuration ➜ Trust, from a browser that gets in.",
        example={"mode": "want"},
    )
    def patch(self, request: Request) -> Response:
        require(self.actor, Right.SETTING, PORTAL)
        mode, came = Mode(body_read(request.data, ClientAuthGiven)["mode"]), request._request
        with transaction.atomic():
            state_lock()
            match_require(request, etag_of(client_auth_document()))
            client_auth_change(mode, secure=is_direct(came), presented=presented_of(came), actor=self.actor)
        return document_answer(request, client_auth_document())


class TrustStore(Endpoint):
    @operation(
        "certificate_truststore",
        "CA certificates as a trust store",
        body=TrustStoreWish,
        answers={(200, "application/octet-stream"): OpenApiTypes.BINARY},
        description="Of those that are named; each must be the certificate of a CA.",
        example={"ids": ["cert_internal_ca"], "format": "truststore-p12", "options": {"password": "changeit"}},
    )
    def post(self, request: Request) -> HttpResponse:
        given = body_read(request.data, TrustStoreWish)
        keys = certificates_selected(self.actor, given)
        rows = Certificate.objects.filter(pk__in=keys).select_related("current").order_by("name", "pk")
        wanted = given.get("format") or "truststore-jks"
        return file_answer(trust_store_make(list(rows), wanted, given.get("options", {}), actor=self.actor))


def _visible(actor: Actor, id: str) -> QuerySet[TrustedAuthority]:
    rows = trusted_list().filter(certificate__in=Certificate.objects.filter(by_id(id)))
    return rows if may(actor, Right.READ, PORTAL) else rows.none()


def _purposes(given: Mapping[str, Any]) -> dict[str, bool]:
    found = {column: given.get(name, False) for name, column in _COLUMNS.items()}
    if not any(found.values()):
        raise refuse(400, "purpose", "Say what it is trusted for.", advice="DELETE trusts it no longer.")
    return found


def _material(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in _COLUMNS}


_COLUMNS = {"outbound": "outbound", "clients": "clients", "logIn": "log_in"}
