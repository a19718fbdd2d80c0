"""/api/certificates/_create: signed by a CA of our own; /api/certificates/_selfsigned: by itself."""

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs.api.authorities import authority_named
from certs.api.base import Endpoint
from certs.api.certificates import certificate_created
from certs.api.documents import KEY_TYPES, CertificateDocument, Owned
from certs.api.fields import Flag, Text, Whole, Word, body_read, words
from certs.api.schema import operation
from certs.api.wishes import Wished, wish_read
from certs.domain.csr import csr_read
from certs.domain.profiles import USAGES
from certs.domain.wishes import Wish
from certs.services.certificate_properties import api_id_refuse_taken
from certs.services.issued import authority_issue
from certs.services.posting import properties_read
from certs.services.self_issued import certificate_self_issue


class FromAuthority(Wished):
    issuer = Text(max_length=200, allow_blank=False, help_text="The id of the CA's certificate, as in `caRef`.")
    ca = Flag(required=False)
    client = Flag(required=False)
    includeAia = Flag(required=False)
    signatureAlgorithm = Word(required=False, choices=["", "RSASSA-PSS"], help_text="Else as the issuer's key wants.")
    subject = Text(required=False, max_length=1000, help_text="RFC 4514, such as CN=a.example,O=Example.")
    hosts = words(required=False, max_length=10_000, help_text="DNS names, addresses, mailboxes and URIs.")
    usages = serializers.ListField(child=Word(choices=list(USAGES)), required=False, max_length=10)
    csr = Text(
        required=False,
        max_length=64 * 1024,
        help_text="PEM of a request: its key, and its names and subject where these are left out.",
    )
    autoRenew = Flag(required=False)
    passphrase = Text(required=False, max_length=1024, help_text="Of an offline CA. Used once, never kept.")


class SelfSigned(Owned):
    hosts = words(allow_empty=False, max_length=100)
    days = Whole(required=False, min_value=1, max_value=825)
    keyType = Word(required=False, choices=KEY_TYPES)
    autoRenew = Flag(required=False)


class CreateFromAuthority(Endpoint):
    @operation(
        "certificate_issue",
        "Create a certificate from a CA of our own",
        body=FromAuthority,
        answers={201: CertificateDocument},
        description="What is left out is as the profile says. It is linted before it is signed.",
    )
    def post(self, request: Request) -> Response:
        given = body_read(request.data, FromAuthority)
        api_id_refuse_taken(given.get("id") or "")
        row = authority_issue(
            authority_named(self.actor, given["issuer"]),
            wish_read(given),
            actor=self.actor,
            passphrase=given.get("passphrase", ""),
            csr=csr_read(given["csr"].encode()) if given.get("csr") else None,
            properties=properties_read(given, actor=self.actor),
            auto_renew=given.get("autoRenew", True),
        )
        return certificate_created(self.actor, row)


class CreateSelfSigned(Endpoint):
    @operation(
        "certificate_self_sign",
        "Create a certificate that signs itself",
        body=SelfSigned,
        answers={201: CertificateDocument},
    )
    def post(self, request: Request) -> Response:
        given = body_read(request.data, SelfSigned)
        api_id_refuse_taken(given.get("id") or "")
        row = certificate_self_issue(
            Wish(
                profile="server",
                hosts=tuple(given["hosts"]),
                days=given.get("days", 365),
                key_type=given.get("keyType", "ec-p256"),
            ),
            properties=properties_read(given, actor=self.actor),
            auto_renew=given.get("autoRenew", False),
            actor=self.actor,
        )
        return certificate_created(self.actor, row)
