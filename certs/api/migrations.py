"""/api/migrations: taking over from certbot or acme.sh. First a dry run, then the same with the digest that it told."""

import binascii
from base64 import b64decode
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs.api.base import Endpoint
from certs.api.documents import id_of
from certs.api.fields import Flag, Strict, Text, Word, body_read
from certs.api.problems import refuse
from certs.api.schema import operation
from certs.domain.keys import SIZE_LIMIT
from certs.domain.roles import Right
from certs.services.access import PORTAL, require
from certs.services.migration import HOMES, Deed, Line, Plan
from certs.services.migration_kept import ARCHIVE_BYTES, Given, migration_look, migration_take
from certs.services.migration_run import Done
from certs.services.other_clients import other_client_words
from certs.transports.schedules import State


class MigrationLine(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=["account", "certificate", "other"])
    name = serializers.CharField()
    deed = serializers.ChoiceField(choices=[deed.value for deed in Deed])
    text = serializers.CharField()
    advice = serializers.CharField()
    certificate = serializers.CharField(allow_null=True, help_text="The one that is here now.")
    failed = serializers.BooleanField()


class MigrationDocument(serializers.Serializer[Any]):
    digest = serializers.CharField(help_text="Of what was seen; it is sent to carry it out.")
    done = serializers.BooleanField()
    lines = MigrationLine(many=True)
    warnings = serializers.ListField(
        child=serializers.CharField(), help_text="The other client is still at work by itself."
    )


class MigrationGiven(Strict):
    client = Word(choices=list(HOMES))
    place = Text(required=False, max_length=500, help_text="A directory on the server, below those that it may read.")
    archive = Text(
        required=False, max_length=2 * ARCHIVE_BYTES, help_text=".tar.gz in base64, of up to 1 MiB before that."
    )
    caBundle = Text(
        required=False, max_length=SIZE_LIMIT, help_text="PEM of roots to trust for the CAs of its accounts."
    )
    allowPrivate = Flag(required=False, help_text="Those CAs may be on private addresses.")
    digest = Text(required=False, max_length=64, help_text="Of the dry run.")
    dryRun = Flag(required=False, help_text="Say what would be taken, and change nothing.")


class Migrations(Endpoint):
    @operation(
        "migration",
        "Take over from certbot or acme.sh",
        body=MigrationGiven,
        answers={200: MigrationDocument},
        tag="migrations",
        description="Accounts with their keys, certificates with all versions, and how they are proven. Nothing is "
        "ordered. With `dryRun` what would be taken, and a digest; without it the digest is needed, and 409 says that "
        "there is something else by now.",
        example={"client": "certbot", "place": "/etc/letsencrypt", "dryRun": True},
    )
    def post(self, request: Request) -> Response:
        require(self.actor, Right.ACCOUNT, PORTAL)
        body = body_read(request.data, MigrationGiven)
        given = _given(body)
        if body.get("dryRun"):
            return Response(migration_document(migration_look(given, actor=self.actor), []))
        if not body.get("digest"):
            detail = "Send the digest of a dry run, so that what is taken is what was seen."
            raise refuse(400, "digest", detail, pointer="/digest")
        return Response(migration_document(*migration_take(given, body["digest"], actor=self.actor)))


def migration_document(plan: Plan, done: list[Done]) -> dict[str, Any]:
    """Of a plan, and of what came of it where that is done."""
    lines = (
        [*(_line(each.line, each) for each in done), *map(_line, plan.left_lines)] if done else map(_line, plan.lines)
    )
    words = other_client_words(list(plan.schedules))
    return {
        "digest": plan.digest,
        "done": bool(done),
        "lines": list(lines),
        "warnings": [text for state, text in words if state == State.ACTIVE],
    }


def _line(line: Line, done: Done | None = None) -> dict[str, Any]:
    certificate = id_of(done.certificate) if done and done.certificate else None
    return {**line.as_json(), "certificate": certificate, "failed": bool(done and done.failed)}


def _given(body: dict[str, Any]) -> Given:
    place, archive = body.get("place", "").strip(), body.get("archive", "")
    if bool(place) == bool(archive):
        raise refuse(400, "fields", "Give a directory, or an archive.", pointer="/place")
    try:
        data = b64decode(archive, validate=True)
    except (binascii.Error, ValueError):
        raise refuse(400, "fields", "This is no base64.", pointer="/archive") from None
    return Given(
        body["client"], place, data, "archive.tar.gz", body.get("caBundle", ""), body.get("allowPrivate", False)
    )
