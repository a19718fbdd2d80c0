"""What is chosen for one certificate besides its properties: `/api/certificates/{id}/options`, how it is asked for and
when; `_rehearse`, the order at the staging directory; `_move`, to another organization."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.certificates import certificate_answer, certificate_visible
from certs.api.documents import CertificateDocument, by_id
from certs.api.etags import document_answer, unchanged
from certs.api.fields import Flag, Strict, Text, Whole, Word, body_read
from certs.api.jobs import JobDocument, job_answer, order_job
from certs.api.organizations import departments_visible_to
from certs.api.schema import operation
from certs.models import Certificate
from certs.services.access import Actor
from certs.services.certificate_changes import certificate_options_change, certificate_update
from certs.services.issue_options import CA_KEY_TYPES, issue_options_of
from certs.services.organizations import certificate_move
from certs.services.rehearsals import rehearsal_ask


class OptionsDocument(serializers.Serializer[Any]):
    organization = serializers.UUIDField()
    department = serializers.UUIDField(allow_null=True)
    renewBeforeDays = serializers.IntegerField(allow_null=True, help_text="Null: as in the settings.")
    checkHours = serializers.IntegerField(allow_null=True, help_text="Null: as in the settings.")
    account = serializers.UUIDField(allow_null=True, help_text="Null: no CA outside renews it. Changed by _move only.")
    fallbacks = serializers.ListField(child=serializers.UUIDField(), help_text="Accounts that are asked in this order.")
    method = serializers.UUIDField(allow_null=True, help_text="A challenge method; null: chosen by itself.")
    keyType = serializers.CharField()
    reuseKey = serializers.BooleanField()
    profile = serializers.CharField()
    preferredChain = serializers.CharField()


def options_document(row: Certificate) -> dict[str, Any]:
    asked = issue_options_of(row)
    return {
        "organization": str(row.organization_id),
        "department": _id(row.department_id),
        "renewBeforeDays": row.renew_before_days,
        "checkHours": row.check_hours,
        "account": _id(row.account_id),
        "fallbacks": [str(account.pk) for account in asked.fallbacks],
        "method": _id(row.challenge_method_id),
        "keyType": asked.key_type,
        "reuseKey": asked.reuse_key,
        "profile": asked.profile,
        "preferredChain": asked.preferred_chain,
    }


class OptionsChange(Strict):
    department = serializers.UUIDField(required=False, allow_null=True)
    renewBeforeDays = Whole(required=False, allow_null=True, min_value=1, max_value=180)
    checkHours = Whole(required=False, allow_null=True, min_value=1, max_value=168)
    fallbacks = serializers.ListField(child=serializers.UUIDField(), required=False, max_length=20)
    method = serializers.UUIDField(required=False, allow_null=True)
    keyType = Word(required=False, choices=list(CA_KEY_TYPES))
    reuseKey = Flag(required=False)
    profile = Text(required=False, max_length=100)
    preferredChain = Text(required=False, max_length=200)


class Moving(Strict):
    organization = serializers.UUIDField()
    department = serializers.UUIDField(required=False)
    account = serializers.UUIDField(required=False, help_text="Of that organization, where a CA outside renews it.")


class Options(Endpoint):
    has_etag = True

    @operation("certificate_options", "How a certificate is asked for", answers={200: OptionsDocument})
    def get(self, request: Request, id: str) -> Response:
        return document_answer(request, options_document(certificate_visible(self.actor, id)))

    @operation(
        "certificate_options_change",
        "Change how a certificate is asked for",
        body=OptionsChange,
        answers={200: OptionsDocument},
        description="From the next order on; the version in use stays.",
        example={"renewBeforeDays": 14, "method": None},
    )
    def patch(self, request: Request, id: str) -> Response:
        given = body_read(request.data, OptionsChange)
        rows = selectors.certificates_visible_to(self.actor).filter(by_id(id))
        with unchanged(request, rows, options_document) as row:
            if fields := _named(given, _FIELDS, self.actor):
                certificate_update(row, actor=self.actor, **fields)
            if asked := _named(given, _ASKED, self.actor):
                certificate_options_change(row, replace(issue_options_of(row), **asked), actor=self.actor)
        return document_answer(request, options_document(certificate_visible(self.actor, str(row.pk))))


class Rehearse(Endpoint):
    @operation(
        "certificate_rehearse",
        "Rehearse the order of a certificate",
        answers={202: JobDocument},
        description="The whole order at the staging directory of its CA; what it brings is dropped.",
    )
    def post(self, request: Request, id: str) -> Response:
        return job_answer(order_job(rehearsal_ask(certificate_visible(self.actor, id), actor=self.actor)))


class Move(Endpoint):
    @operation(
        "certificate_move",
        "Move a certificate to another organization",
        body=Moving,
        answers={200: CertificateDocument},
        example={"organization": "00000000-0000-4000-8000-000000000001"},
    )
    def post(self, request: Request, id: str) -> Response:
        given = body_read(request.data, Moving)
        row = certificate_visible(self.actor, id)
        certificate_move(
            row,
            selectors.organizations_visible_to(self.actor).get(pk=given["organization"]),
            department=_department(self.actor, given.get("department")),
            account=_account(self.actor, given.get("account")),
            actor=self.actor,
        )
        return certificate_answer(certificate_visible(self.actor, str(row.pk)), 200)


def _id(key: Any) -> str | None:
    return str(key) if key else None


def _department(actor: Actor, key: Any) -> Any:
    return departments_visible_to(actor).get(pk=key) if key else None


def _account(actor: Actor, key: Any) -> Any:
    return selectors.accounts_visible_to(actor).get(pk=key) if key else None


def _method(actor: Actor, key: Any) -> Any:
    return selectors.methods_visible_to(actor).get(pk=key) if key else None


def _fallbacks(actor: Actor, keys: Any) -> Any:
    return tuple(_account(actor, key) for key in keys)


def _plain(actor: Actor, value: Any) -> Any:
    return value


# As a body calls it -> as the service does, and how it is read. Raise DoesNotExist, which is 404.
_FIELDS = {
    "department": ("department", _department),
    "renewBeforeDays": ("renew_before_days", _plain),
    "checkHours": ("check_hours", _plain),
}
_ASKED = {
    "fallbacks": ("fallbacks", _fallbacks),
    "method": ("challenge_method", _method),
    "keyType": ("key_type", _plain),
    "reuseKey": ("reuse_key", _plain),
    "profile": ("profile", _plain),
    "preferredChain": ("preferred_chain", _plain),
}


def _named(given: Mapping[str, Any], names: Mapping[str, Any], actor: Actor) -> dict[str, Any]:
    return {column: read(actor, given[name]) for name, (column, read) in names.items() if name in given}
