"""What begins with a key of ours: /api/certificates/_keypair, and /api/certificates/_csr for a CA outside, whose answer
goes to /api/certificates/{id}/_answer."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.certificates import certificate_answer, certificate_created, certificate_visible
from certs.api.documents import KEY_TYPES, CertificateDocument, Owned, by_id, certificate_document, id_of, rows_ready
from certs.api.etags import document_answer, unchanged
from certs.api.fields import Flag, Strict, Text, Word, body_read, words
from certs.api.problems import refuse
from certs.api.schema import operation
from certs.domain.bundle_items import GivenFile
from certs.domain.csr import Subject
from certs.models import Certificate
from certs.services.posting import properties_read
from certs.services.signing_requests import (
    keypair_create,
    request_answer,
    request_create,
    request_for_key,
    request_renew,
    request_withdraw,
)


class KeyPair(Owned):
    keyType = Word(required=False, choices=KEY_TYPES)


class SubjectFields(Strict):
    common_name = Text(required=False, max_length=64)
    organization = Text(required=False, max_length=64)
    organizational_unit = Text(required=False, max_length=64)
    locality = Text(required=False, max_length=128)
    state = Text(required=False, max_length=128)
    country = Text(required=False, max_length=2)


class SigningRequest(Owned):
    hosts = words(required=False, max_length=1000)
    subject = SubjectFields(required=False)
    keyType = Word(required=False, choices=KEY_TYPES)


class RequestAgain(Strict):
    keyType = Word(required=False, choices=KEY_TYPES)
    hosts = words(required=False, max_length=1000)
    subject = SubjectFields(required=False)


_BY_ITS_CERTIFICATE = dict.fromkeys(("hosts", "subject"), "The next certificate is for what the present one is for.")
_BY_ITS_KEY = {"keyType": "The key is there already."}


class RequestDocument(serializers.Serializer[Any]):
    csr = serializers.CharField(help_text="PKCS#10 in PEM, for the CA.")
    certificate = CertificateDocument()


class Answer(Strict):
    chain = Text(max_length=1024 * 1024, help_text="What the CA made of it: PEM.")
    acceptDifferences = Flag(required=False, help_text="Although its names are not those that were asked for.")


class CreateKeyPair(Endpoint):
    @operation("certificate_keypair", "Make a key pair", body=KeyPair, answers={201: CertificateDocument})
    def post(self, request: Request) -> Response:
        given = body_read(request.data, KeyPair)
        properties = properties_read(given, actor=self.actor)
        row = keypair_create(actor=self.actor, key_type=given.get("keyType", "ec-p256"), properties=properties)
        return certificate_created(self.actor, row)


class CreateRequest(Endpoint):
    @operation(
        "certificate_request",
        "Make a request (CSR) for a CA outside",
        body=SigningRequest,
        answers={201: RequestDocument},
        description="The certificate waits for the answer, which goes to /api/certificates/{id}/_answer.",
    )
    def post(self, request: Request) -> Response:
        given = body_read(request.data, SigningRequest)
        hosts, subject = given.get("hosts", []), Subject(**given.get("subject", {}))
        name = given.get("name") or next(iter(hosts), "") or subject.common_name
        row = request_create(
            hosts=hosts,
            actor=self.actor,
            subject=subject,
            key_type=given.get("keyType", "ec-p256"),
            properties=properties_read({**given, "name": name}, actor=self.actor),
        )
        return _request_made(certificate_visible(self.actor, str(row.pk)))


class RequestItem(Endpoint):
    has_etag = True

    @operation("certificate_request_get", "The request that waits for its answer", answers={200: RequestDocument})
    def get(self, request: Request, id: str) -> Response:
        row = certificate_visible(self.actor, id)
        if not row.request_pem:
            raise refuse(404, "not-found", f"{row.name} has no request.")
        return document_answer(request, request_document(row))

    @operation(
        "certificate_request_again",
        "Make a request for the next certificate, or for a key pair",
        body=RequestAgain,
        answers={201: RequestDocument},
        description="Of a certificate: for the same names, and the same key or a new one of `keyType`; what is in use "
        "stays until the answer comes. Of a key pair: for `hosts` and `subject`.",
        example={"keyType": "ec-p256"},
    )
    def post(self, request: Request, id: str) -> Response:
        given = body_read(request.data or {}, RequestAgain)
        row = certificate_visible(self.actor, id)
        wrong = _BY_ITS_CERTIFICATE if row.current_id else _BY_ITS_KEY
        if found := next((name for name in wrong if given.get(name)), None):
            raise refuse(400, "fields", wrong[found], pointer=f"/{found}")
        if row.current_id:
            request_renew(row, actor=self.actor, key_type=given.get("keyType", ""))
        else:
            subject = Subject(**given.get("subject", {}))
            request_for_key(row, hosts=given.get("hosts", []), subject=subject, actor=self.actor)
        return _request_made(certificate_visible(self.actor, str(row.pk)))

    @operation(
        "certificate_request_withdraw",
        "Withdraw a request",
        answers={204: None},
        description="What is in use stays, and so does a key pair. What is nothing but its request is deleted instead.",
    )
    def delete(self, request: Request, id: str) -> Response:
        rows = rows_ready(selectors.certificates_visible_to(self.actor)).filter(by_id(id))
        with unchanged(request, rows, request_document) as row:
            request_withdraw(row, actor=self.actor)
        return Response(status=204)


class RequestAnswer(Endpoint):
    @operation(
        "certificate_request_answer", "Take the answer of the CA", body=Answer, answers={200: CertificateDocument}
    )
    def post(self, request: Request, id: str) -> Response:
        given = body_read(request.data, Answer)
        row = certificate_visible(self.actor, id)
        files = [GivenFile("", given["chain"].encode())]
        accept = given.get("acceptDifferences", False)
        request_answer(row, files, actor=self.actor, accept_differences=accept)
        return certificate_answer(certificate_visible(self.actor, str(row.pk)), 200)


def request_document(row: Certificate) -> dict[str, Any]:
    return {"csr": row.request_pem, "certificate": certificate_document(row)}


def _request_made(row: Certificate) -> Response:
    headers = {"Location": f"/api/certificates/{id_of(row)}"}
    return Response(request_document(row), status=201, headers=headers)
