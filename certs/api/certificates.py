"""/api/certificates: list, take in, read, change, delete; the reference's JSON posts as it stands."""

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.documents import (
    REFERENCE,
    CertificateDocument,
    Given,
    Validity,
    by_id,
    certificate_document,
    id_of,
    rows_ready,
    validity,
)
from certs.api.etags import document_answer, etag_of, match_require, row_locked, unchanged
from certs.api.fields import body_read, query_read
from certs.api.paging import page_answer, page_kind
from certs.api.parsing import JSON_PATCH, MERGE_PATCH, JsonPatch, MergePatch, StrictJson, json_check
from certs.api.patching import json_patch, merge_patch
from certs.api.problems import refuse
from certs.api.schema import operation
from certs.api.selection import CertificateQuery, certificates_found
from certs.domain.errors import ConflictError, InputError
from certs.domain.roles import Right
from certs.models import Certificate
from certs.services.access import Actor, may_export, require
from certs.services.deletion import certificate_delete
from certs.services.downloads import download_make
from certs.services.keys import key_is_here
from certs.services.posting import certificate_post, certificate_put, chain_complete, material_read

_TRIES = 3  # how often a change begins anew where somebody else changes the same
Body = dict[str, Any]


def certificate_visible(actor: Actor, id: str) -> Certificate:
    """Raises DoesNotExist, which is 404: for what is not there, and for what is not theirs to see."""
    return _visible(actor).get(by_id(id))


def _visible(actor: Actor) -> QuerySet[Certificate]:
    return rows_ready(selectors.certificates_visible_to(actor))


class Certificates(Endpoint):
    @operation(
        "certificate_list", "List certificates", query=CertificateQuery, answers={200: page_kind(CertificateDocument)}
    )
    def get(self, request: Request) -> Response:
        rows, cursor = certificates_found(self.actor, _filters(request))
        return page_answer(request, [certificate_document(row) for row in rows], cursor)

    @operation(
        "certificate_create",
        "Take a certificate in",
        body=Given,
        answers={201: CertificateDocument, 200: CertificateDocument},
        examples=[REFERENCE],
        description="A chain in PEM with its private key, or without one to trust it only; a private key alone is a "
        "key pair. What is here already is recognised: 200 instead of 201. Computed properties are ignored.",
    )
    def post(self, request: Request) -> Response:
        row, is_new = certificate_post(body_read(request.data, Given), actor=self.actor)
        return certificate_answer(certificate_visible(self.actor, str(row.pk)), 201 if is_new else 200)


class CertificateItem(Endpoint):
    has_etag = True

    def get_parsers(self) -> list[BaseParser]:
        kinds = [StrictJson, MergePatch, JsonPatch] if getattr(self.request, "method", "") == "PATCH" else [StrictJson]
        return [kind() for kind in kinds]

    @operation(
        "certificate_get",
        "One certificate",
        answers={200: CertificateDocument},
        description="With the export permission its private key too; each such answer is an audit event.",
    )
    def get(self, request: Request, id: str) -> Response:
        row = certificate_visible(self.actor, id)
        document = certificate_document(row)
        answer = document_answer(request, document)
        if answer.data is not None:
            document["privateKey"] = private_key_told(row, self.actor)
        return answer

    @operation(
        "certificate_replace",
        "Change a certificate as a whole",
        body=Given,
        answers={200: CertificateDocument},
        examples=[REFERENCE],
        description="What is left out gets its default; chain, private key and name stay. Another chain is a new "
        "version, and must be for the key that is here or is sent.",
    )
    def put(self, request: Request, id: str) -> Response:
        given = request.data
        return self._change(request, id, lambda document: given)

    @operation(
        "certificate_patch",
        "Change parts of a certificate",
        body={
            MERGE_PATCH: OpenApiTypes.OBJECT,
            JSON_PATCH: serializers.ListSerializer[Any](child=serializers.DictField()),
            "application/json": OpenApiTypes.ANY,
        },
        answers={200: CertificateDocument},
        description="A merge patch (RFC 7396) or a JSON Patch (RFC 6902) of what GET answers. As application/json an "
        "object is the one, a list the other.",
    )
    def patch(self, request: Request, id: str) -> Response:
        patch = request.data
        is_list = isinstance(patch, list)
        if is_list != (request.content_type == JSON_PATCH) and request.content_type != "application/json":
            raise refuse(400, "patch-form", "A JSON Patch is a list, a merge patch an object.")
        if not isinstance(patch, list | dict):
            raise refuse(400, "patch-form", "A patch is an object or a list.")
        apply = json_patch if is_list else merge_patch
        return self._change(request, id, lambda document: apply(document, patch))

    @operation(
        "certificate_delete",
        "Delete a certificate",
        answers={204: None},
        description="It can be restored for 30 days. What is bound or used otherwise is refused (409), naming where.",
    )
    def delete(self, request: Request, id: str) -> Response:
        with unchanged(request, self._rows(id), certificate_document) as row:
            certificate_delete(row, actor=self.actor)
        return Response(status=204)

    def _change(self, request: Request, id: str, wanted: Callable[[Body], Any]) -> Response:
        """What takes time is done before the row is locked; where another was quicker, all is weighed anew."""
        for _ in range(_TRIES):
            row = certificate_visible(self.actor, id)
            require(self.actor, Right.CERTIFICATE_CHANGE, row)
            document = certificate_document(row)
            etag = etag_of(document)
            match_require(request, etag)
            given = _editable(wanted(document), row)
            chain, key = material_read(given, row)
            chain = chain_complete(chain, row)
            with transaction.atomic():
                locked = row_locked(self._rows(id))
                if locked is None or etag_of(certificate_document(locked)) != etag:
                    continue
                certificate_put(row, given, chain, key, actor=self.actor)
            return certificate_answer(certificate_visible(self.actor, str(row.pk)), 200)
        match_require(request, "")
        raise ConflictError("Somebody else changes it all the time.", advice="Try again.", code="busy")

    def _rows(self, id: str) -> QuerySet[Certificate]:
        return _visible(self.actor).filter(by_id(id))


class CertificateValid(Endpoint):
    @operation("certificate_valid", "Whether a certificate is valid now", answers={200: Validity})
    def get(self, request: Request, id: str) -> Response:
        return Response(validity(certificate_visible(self.actor, id)))


def certificate_created(actor: Actor, row: Certificate) -> Response:
    return certificate_answer(certificate_visible(actor, str(row.pk)), 201)


def certificate_answer(row: Certificate, status: int) -> Response:
    document = certificate_document(row)
    headers = {"ETag": etag_of(document)}
    if status == 201:
        headers["Location"] = f"/api/certificates/{id_of(row)}"
    return Response(document, status=status, headers=headers)


def private_key_told(row: Certificate, actor: Actor) -> str | None:
    """For the caller who may export it, with an audit event; a key that is not here, or locked, is not told."""
    key = row.current.key if row.current else row.key
    if key is None or not key_is_here(key) or key.locked or not may_export(actor, row):
        return None
    return download_make(row, "key", actor=actor).data.decode("ascii")


def _editable(wanted: Any, row: Certificate) -> Body:
    json_check(wanted)
    given = body_read(wanted, Given)
    if given.get("id") not in (None, "", id_of(row)):
        raise InputError("The id of a certificate never changes.", advice="Leave it out.", code="id")
    return given


def _filters(request: Request) -> Any:
    """As they were sent, once it is known that each of them means something."""
    query_read(request, CertificateQuery)
    return request.query_params
