"""What can be done with one certificate: renew, revoke, release, restore, hand out."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.certificates import certificate_answer, certificate_visible
from certs.api.documents import CertificateDocument, by_id, certificate_document, rows_ready
from certs.api.fields import Flag, Strict, Text, Word, body_read
from certs.api.jobs import JobDocument, job_answer, order_job
from certs.api.listing import Given, listing
from certs.api.paging import BY_UUID
from certs.api.plugin_options import OptionValues
from certs.api.problems import refuse
from certs.api.schema import operation
from certs.domain.revocation import OWN_REASONS
from certs.models import Certificate, CertificateVersion
from certs.services.access import Actor
from certs.services.deletion import certificate_restore
from certs.services.downloads import Download, download_make, downloads_offered
from certs.services.issuing import certificate_renew
from certs.services.reissue import certificate_reissue, is_signed_here
from certs.services.revocations import version_release, version_revoke


class Renewing(Strict):
    useLast = Flag(required=False, help_text="It may spend the last that a limit of the CA leaves.")
    passphrase = Text(required=False, max_length=1024, help_text="Of an offline CA of our own.")


class Revoking(Strict):
    reason = Word(choices=list(OWN_REASONS), help_text="As RFC 5280 §5.3.1 names it.")
    by = Word(required=False, choices=["account", "key"], help_text="Of a CA outside: as whom it is asked.")


class Exporting(Strict):
    format = Text(max_length=40, allow_blank=False, help_text="An id of /api/certificates/{id}/formats.")
    options = OptionValues(required=False, help_text="Of the format: password, alias and so on.")
    fileName = Text(required=False, max_length=100)


class FormatDocument(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    help = serializers.CharField()
    group = serializers.CharField()
    mediaType = serializers.CharField()
    hasPrivateKey = serializers.BooleanField()
    refusal = serializers.CharField(help_text="Why it cannot be had just now; empty where it can.")


class FormatList(serializers.Serializer[Any]):
    items = FormatDocument(many=True)


class RenewOne(Endpoint):
    @operation(
        "certificate_renew",
        "Renew a certificate now",
        body=Renewing,
        answers={200: CertificateDocument, 202: JobDocument},
        description="Within the same limits as the schedule, but before it is due. What a CA of our own signed, or "
        "what signs itself, is renewed at once (200); a CA outside is asked by a job (202). 409 says why it does not "
        "go now.",
    )
    def post(self, request: Request, id: str) -> Response:
        given = body_read(request.data or {}, Renewing)
        row = certificate_visible(self.actor, id)
        if is_signed_here(row):
            certificate_reissue(row, passphrase=given.get("passphrase", ""), actor=self.actor)
            return certificate_answer(certificate_visible(self.actor, str(row.pk)), 200)
        return job_answer(order_job(certificate_renew(row, actor=self.actor, use_last=given.get("useLast", False))))


class Revoke(Endpoint):
    @operation("certificate_revoke", "Revoke the present version", body=Revoking, answers={200: CertificateDocument})
    def post(self, request: Request, id: str) -> Response:
        given = body_read(request.data, Revoking)
        row = certificate_visible(self.actor, id)
        version_revoke(_present(row), given["reason"], by=given.get("by", "account"), actor=self.actor)
        return certificate_answer(certificate_visible(self.actor, str(row.pk)), 200)


class Release(Endpoint):
    @operation("certificate_release", "Take back a hold of a CA of our own", answers={200: CertificateDocument})
    def post(self, request: Request, id: str) -> Response:
        row = certificate_visible(self.actor, id)
        version_release(_present(row), actor=self.actor)
        return certificate_answer(certificate_visible(self.actor, str(row.pk)), 200)


class Deleted(Endpoint):
    @listing(
        "certificate_deleted",
        "Deleted certificates that can be restored",
        CertificateDocument,
        certificate_document,
        order=BY_UUID,
    )
    def get(self, given: Given) -> QuerySet[Certificate]:
        return _deleted(self.actor)


class Restore(Endpoint):
    @operation("certificate_restore", "Restore a deleted certificate", answers={200: CertificateDocument})
    def post(self, request: Request, id: str) -> Response:
        row = _deleted(self.actor).get(by_id(id))
        certificate_restore(row, actor=self.actor)
        return certificate_answer(certificate_visible(self.actor, str(row.pk)), 200)


class Formats(Endpoint):
    @operation("certificate_formats", "In which forms it can be had", answers={200: FormatList})
    def get(self, request: Request, id: str) -> Response:
        offers = downloads_offered(certificate_visible(self.actor, id), actor=self.actor)
        items = [
            {
                "id": each.format.id,
                "name": each.format.label,
                "help": each.format.help,
                "group": each.format.group,
                "mediaType": each.format.media_type,
                "hasPrivateKey": each.format.has_key,
                "refusal": each.refusal,
            }
            for each in offers
        ]
        return Response({"items": items})


class Export(Endpoint):
    @operation(
        "certificate_export",
        "Have it as a file",
        body=Exporting,
        answers={(200, "application/octet-stream"): OpenApiTypes.BINARY},
        description="With a private key only for callers with the export permission; each is an audit event. The "
        "answer has the media type of the format, and is never cached.",
    )
    def post(self, request: Request, id: str) -> HttpResponse:
        given = body_read(request.data, Exporting)
        row = certificate_visible(self.actor, id)
        return file_answer(
            download_make(
                row,
                given["format"],
                given.get("options", {}),
                actor=self.actor,
                file_name=given.get("fileName", ""),
            )
        )


def file_answer(download: Download) -> HttpResponse:
    """Always as a file, whatever is in it."""
    response = HttpResponse(download.data, content_type="application/octet-stream")
    response.headers["Content-Disposition"] = f'attachment; filename="{download.name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _present(row: Certificate) -> CertificateVersion:
    if row.current is None:
        raise refuse(409, "no-certificate", f"{row.name} has no certificate yet.")
    return row.current


def _deleted(actor: Actor) -> QuerySet[Certificate]:
    return rows_ready(selectors.certificates_deleted_visible_to(actor).defer(None))
