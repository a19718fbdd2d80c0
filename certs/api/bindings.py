"""/api/bindings: which certificate answers for which server name. The default's name here is `_default`."""

from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.certificates import certificate_visible
from certs.api.documents import id_of
from certs.api.etags import document_answer, etag_of, match_require, row_locked, unchanged
from certs.api.fields import Strict, Text, body_read
from certs.api.listing import Given, listing
from certs.api.paging import BY_NUMBER
from certs.api.schema import operation
from certs.domain.names import SERVER_NAME, name_parse
from certs.models import Binding
from certs.services.access import Actor
from certs.services.bindings import binding_remove, binding_set
from certs.services.portal_state import state_lock
from certs.services.versions import certificate_lock

DEFAULT = "_default"


class BindingDocument(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="A server name, perhaps *.example.com, or _default.")
    certificate = serializers.CharField()
    updatedAt = serializers.DateTimeField()


def binding_document(row: Binding) -> dict[str, Any]:
    return {
        "name": row.server_name or DEFAULT,
        "certificate": id_of(row.certificate),
        "updatedAt": row.updated_at.isoformat(),
    }


class BindingGiven(Strict):
    certificate = Text(max_length=200, allow_blank=False, help_text="The id of the certificate.")


class Bindings(Endpoint):
    @listing("binding_list", "List bindings", BindingDocument, binding_document, tag="bindings", order=BY_NUMBER)
    def get(self, given: Given) -> QuerySet[Binding]:
        return _visible(self.actor)


class BindingItem(Endpoint):
    has_etag = True

    @operation("binding_get", "One binding", answers={200: BindingDocument}, tag="bindings")
    def get(self, request: Request, name: str) -> Response:
        return document_answer(request, binding_document(self._rows(name).get()))

    @operation(
        "binding_set",
        "Bind a certificate",
        body=BindingGiven,
        answers={200: BindingDocument},
        tag="bindings",
        description="Every process of the portal follows within seconds.",
    )
    def put(self, request: Request, name: str) -> Response:
        given = body_read(request.data, BindingGiven)
        certificate = certificate_visible(self.actor, given["certificate"])
        with transaction.atomic():
            state_lock()  # where nothing is bound there is no row to be locked
            certificate_lock(certificate)
            before = row_locked(self._rows(name))
            match_require(request, etag_of(binding_document(before)) if before else "")
            row = binding_set(_name(name), certificate, actor=self.actor)
        return document_answer(request, binding_document(row))

    @operation("binding_remove", "Let go of a binding", answers={204: None}, tag="bindings")
    def delete(self, request: Request, name: str) -> Response:
        with unchanged(request, self._rows(name), binding_document) as row:
            binding_remove(row.server_name, actor=self.actor)
        return Response(status=204)

    def _rows(self, name: str) -> QuerySet[Binding]:
        return _visible(self.actor).filter(server_name=_name(name))


def _visible(actor: Actor) -> QuerySet[Binding]:
    visible = selectors.certificates_visible_to(actor).filter(pk=OuterRef("certificate"))
    return Binding.objects.select_related("certificate").filter(Exists(visible))


def _name(text: str) -> str:
    return "" if text == DEFAULT else name_parse(text, SERVER_NAME)
