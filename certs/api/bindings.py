"""/api/bindings: which certificate answers for which server name. The default's name here is `_default`."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.certificates import certificate_visible
from certs.api.documents import id_of
from certs.api.etags import etag_of, is_unchanged, match_require
from certs.api.fields import Query, Strict, Text, body_read, page_kind, query_read
from certs.api.paging import BY_NUMBER, page_answer, page_of
from certs.api.schema import operation
from certs.domain.names import SERVER_NAME, name_parse
from certs.models import Binding
from certs.services.bindings import binding_remove, binding_set

DEFAULT = "_default"


class BindingDocument(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="A server name, perhaps *.example.com, or _default.")
    certificate = serializers.CharField()
    updatedAt = serializers.DateTimeField()


BindingPage = page_kind(BindingDocument, "BindingPage")


class BindingGiven(Strict):
    certificate = Text(max_length=200, allow_blank=False, help_text="The id of the certificate.")


class Bindings(Endpoint):
    @operation("binding_list", "List bindings", query=Query, answers={200: BindingPage}, tag="bindings")
    def get(self, request: Request) -> Response:
        query_read(request, Query)
        page = page_of(_visible(self), request, BY_NUMBER)
        return page_answer(request, [binding_document(row) for row in page.rows], page.cursor)


class BindingItem(Endpoint):
    has_etag = True

    @operation("binding_get", "One binding", answers={200: BindingDocument}, tag="bindings")
    def get(self, request: Request, name: str) -> Response:
        document = binding_document(_one(self, name))
        etag = etag_of(document)
        if is_unchanged(request._request, etag):
            return Response(status=304, headers={"ETag": etag})
        return Response(document, headers={"ETag": etag})

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
        before = _visible(self).filter(server_name=_name(name)).first()
        match_require(request._request, etag_of(binding_document(before)) if before else "")
        row = binding_set(_name(name), certificate_visible(self.actor, given["certificate"]), actor=self.actor)
        document = binding_document(row)
        return Response(document, headers={"ETag": etag_of(document)})

    @operation("binding_remove", "Let go of a binding", answers={204: None}, tag="bindings")
    def delete(self, request: Request, name: str) -> Response:
        row = _one(self, name)
        match_require(request._request, etag_of(binding_document(row)))
        binding_remove(row.server_name, actor=self.actor)
        return Response(status=204)


def binding_document(row: Binding) -> dict[str, Any]:
    return {
        "name": row.server_name or DEFAULT,
        "certificate": id_of(row.certificate),
        "updatedAt": row.updated_at.isoformat(),
    }


def _visible(endpoint: Endpoint) -> QuerySet[Binding]:
    rows = Binding.objects.select_related("certificate")
    return rows.filter(certificate__in=selectors.certificates_visible_to(endpoint.actor).values("pk"))


def _one(endpoint: Endpoint, name: str) -> Binding:
    return _visible(endpoint).get(server_name=_name(name))


def _name(text: str) -> str:
    return "" if text == DEFAULT else name_parse(text, SERVER_NAME)
