"""/api/certificates/_import: whatever is in files, recognised and taken in."""

from base64 import b64decode
from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from certs.api.base import Endpoint
from certs.api.documents import id_of
from certs.api.fields import Flag, Strict, Text, body_read
from certs.api.parsing import FILE_LIMIT, Files, StrictJson
from certs.api.problems import refuse
from certs.api.schema import operation
from certs.domain.bundle_items import GivenFile
from certs.services.intake import Outcome, Preview, Proposal, intake_read, intake_save

FILES_MOST = 20


class FileGiven(Strict):
    name = Text(required=False, max_length=255)
    data = Text(  # type: ignore[assignment]  # the library takes it off the class
        max_length=FILE_LIMIT, help_text="The file in base64."
    )


class FilesGiven(Strict):
    files = serializers.ListField(child=FileGiven(), min_length=1, max_length=FILES_MOST)
    passwords = serializers.ListField(child=Text(max_length=1024), required=False, max_length=20)
    dryRun = Flag(required=False, help_text="Say what is in the files, and keep nothing.")


@extend_schema_serializer(component_name="FilesForm")
class FilesForm(serializers.Serializer[Any]):
    file = serializers.ListField(child=serializers.FileField())
    password = serializers.ListField(child=serializers.CharField(), required=False)
    dryRun = serializers.BooleanField(required=False)


class Taken(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    kind = serializers.CharField()
    verdict = serializers.ChoiceField(choices=["new", "same", "key", "version", "answer", "refused"])
    title = serializers.CharField()
    file = serializers.CharField()
    names = serializers.ListField(child=serializers.CharField())
    hasPrivateKey = serializers.BooleanField()
    missingIssuer = serializers.CharField(help_text="Of the chain; empty where it is whole.")
    remarks = serializers.ListField(child=serializers.CharField())
    certificate = serializers.CharField(allow_null=True, help_text="The id of what it became, or belongs to.")
    code = serializers.CharField(help_text="“ok”, or of what stood against it.")
    message = serializers.CharField()


class Intake(serializers.Serializer[Any]):
    items = Taken(many=True)
    leftOver = serializers.ListField(child=serializers.CharField(), help_text="What was in the files besides.")


class Import(Endpoint):
    def get_parsers(self) -> list[BaseParser]:
        return [StrictJson(), Files()]

    @operation(
        "certificate_import",
        "Import files: PKCS#12, JKS, PEM, DER, PKCS#7",
        body={"application/json": FilesGiven, "multipart/form-data": FilesForm},
        answers={200: Intake},
        description="Everything that is recognised is kept, or with `dryRun` only told. Each item wholly or not at "
        "all: `code` and `message` say what stood against one.",
    )
    def post(self, request: Request) -> Response:
        files, passwords, dry_run = _files_read(request)
        preview = intake_read(files, passwords, actor=self.actor)
        if dry_run or not any(proposal.wanted for proposal in preview.proposals):
            items = [_proposed(proposal) for proposal in preview.proposals]
        else:
            saved = {each.proposal.number: each for each in intake_save(preview, actor=self.actor)}
            items = [_kept(saved[one.number]) if one.number in saved else _proposed(one) for one in preview.proposals]
        return Response({"items": items, "leftOver": _left_over(preview)})


def _files_read(request: Request) -> tuple[list[GivenFile], list[str], bool]:
    if not request.content_type.startswith("multipart/"):
        given = body_read(request.data, FilesGiven)
        files = [GivenFile(one.get("name", ""), _base64(one["data"], n)) for n, one in enumerate(given["files"])]
        return files, given.get("passwords", []), given.get("dryRun", False)
    sent, form = request._request.FILES, request._request.POST
    if unknown := sorted(set(form) - {"password", "dryRun"}):
        raise refuse(400, "fields", f"The form has a field “{unknown[0][:60]}” that is not known.")
    files = [GivenFile(each.name or "", each.read()) for name in sent for each in sent.getlist(name)]
    if not 1 <= len(files) <= FILES_MOST:
        raise refuse(400, "fields", f"Send 1 to {FILES_MOST} files.", pointer="/file")
    return files, form.getlist("password"), form.get("dryRun", "").lower() in {"1", "true", "on"}


def _base64(text: str, number: int) -> bytes:
    try:
        return b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise refuse(400, "fields", "This is no base64.", pointer=f"/files/{number}/data") from error


def _proposed(proposal: Proposal) -> dict[str, Any]:
    item = proposal.item
    return {
        "number": proposal.number,
        "kind": item.kind,
        "verdict": proposal.verdict,
        "title": item.title,
        "file": item.file,
        "names": list(item.info.names) if item.info else [],
        "hasPrivateKey": item.key is not None,
        "missingIssuer": item.missing,
        "remarks": [remark.text for remark in item.remarks] + list(proposal.differences),
        "certificate": id_of(proposal.certificate) if proposal.certificate else None,
        "code": "refused" if proposal.reason else "ok",
        "message": proposal.reason,
    }


def _kept(outcome: Outcome) -> dict[str, Any]:
    told = _proposed(outcome.proposal) | {"verdict": outcome.verdict}
    if outcome.certificate is not None:
        told["certificate"] = id_of(outcome.certificate)
    if outcome.error is not None:
        told |= {"code": outcome.error.code, "message": str(outcome.error)}
    return told


def _left_over(preview: Preview) -> list[str]:
    return [f"{each.file}: {each.text}" if each.file else each.text for each in preview.left_over]
