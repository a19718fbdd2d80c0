"""/api/challenge-methods: how a CA is shown that names are ours, set up once and used by any number of certificates.
Credentials are write-only."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.etags import document_answer, document_made, unchanged
from certs.api.fields import Strict, Text, Word, body_read, query_read
from certs.api.listing import Given, listing
from certs.api.organizations import organization_named
from certs.api.plugin_options import KindDocument, OptionValues, kind_document
from certs.api.schema import operation
from certs.domain.roles import Right
from certs.models import ChallengeMethod
from certs.services.access import require
from certs.services.challenges import solver_kinds
from certs.services.method_tests import method_is_testable, method_is_testing, method_test_begin
from certs.services.methods import (
    LONGEST_NAME,
    method_create,
    method_delete,
    method_kind,
    method_merged,
    method_shown,
    method_update,
)


class TestDocument(serializers.Serializer[Any]):
    __test__ = False  # for pytest, which looks for tests by such names

    state = serializers.ChoiceField(choices=["none", "running", "ok", "failed"])
    words = serializers.CharField()
    at = serializers.DateTimeField(allow_null=True)


class MethodDocument(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    kind = serializers.CharField()
    organization = serializers.UUIDField()
    options = OptionValues(help_text="All but the secrets.")
    secrets = serializers.ListField(child=serializers.CharField(), help_text="The names of those that are kept.")
    test = TestDocument(help_text="The last one.")
    createdAt = serializers.DateTimeField()


def method_document(row: ChallengeMethod) -> dict[str, Any]:
    shown = method_shown(row)
    return {
        "id": str(row.pk),
        "name": row.name,
        "kind": row.kind,
        "organization": str(row.organization_id),
        "options": shown["options"],
        "secrets": shown["secrets"],
        "test": {
            "state": _test_state(row),
            "words": row.test_words,
            "at": row.tested_at.isoformat() if row.tested_at else None,
        },
        "createdAt": row.created_at.isoformat(),
    }


def _test_state(row: ChallengeMethod) -> str:
    if method_is_testing(row):
        return "running"
    return "none" if row.test_ok is None else "ok" if row.test_ok else "failed"


class MethodKind(KindDocument):
    chooser = serializers.CharField(help_text="The option on which the others depend; ask with its value as `choice`.")
    wildcards = serializers.BooleanField()
    addresses = serializers.BooleanField()
    testable = serializers.BooleanField()


class MethodKindList(serializers.Serializer[Any]):
    items = MethodKind(many=True)


class MethodKindQuery(Strict):
    kind = serializers.CharField(required=False, max_length=40)
    choice = serializers.CharField(required=False, max_length=60, help_text="Such as a provider of DNS.")


class MethodGiven(Strict):
    name = Text(max_length=LONGEST_NAME, allow_blank=False)
    options = OptionValues(required=False, help_text="As /api/challenge-methods/_kinds lists them.")
    organization = serializers.UUIDField(
        required=False, help_text="The default one where none is named, or the first that you see."
    )

    def get_fields(self) -> dict[str, Any]:
        # The plugins are loaded when they are wanted.
        return {"kind": Word(choices=list(solver_kinds())), **super().get_fields()}


class MethodChange(Strict):
    name = Text(required=False, max_length=LONGEST_NAME, allow_blank=False)
    options = OptionValues(required=False, help_text="Those that are named; null takes one away.")


class Testing(Strict):
    name = Text(max_length=255, allow_blank=False, help_text="One that the method can prove.")


class Methods(Endpoint):
    @listing(
        "challenge_method_list",
        "List challenge methods",
        MethodDocument,
        method_document,
        tag="challenge methods",
    )
    def get(self, given: Given) -> QuerySet[ChallengeMethod]:
        return selectors.methods_visible_to(self.actor).defer(None)

    @operation(
        "challenge_method_create",
        "Set up a challenge method",
        body=MethodGiven,
        answers={201: MethodDocument},
        tag="challenge methods",
        example={
            "kind": "dns01_rfc2136",
            "name": "DNS of the company",
            "options": {"server": "ns1.example.com", "key": "bindery", "secret": "c2VjcmV0IG9mIHRoZSBrZXk="},
        },
    )
    def post(self, request: Request) -> Response:
        given = body_read(request.data, MethodGiven)
        row = method_create(
            kind=given["kind"],
            name=given["name"],
            given=given.get("options", {}),
            organization=organization_named(self.actor, given),
            actor=self.actor,
        )
        return document_made(method_document(row), f"/api/challenge-methods/{row.pk}")


class MethodKinds(Endpoint):
    @operation(
        "challenge_method_kinds",
        "Kinds of challenge methods, and their options",
        query=MethodKindQuery,
        answers={200: MethodKindList},
        tag="challenge methods",
    )
    def get(self, request: Request) -> Response:
        require(self.actor, Right.READ)
        given = query_read(request, MethodKindQuery)
        wanted = [given["kind"]] if "kind" in given else list(solver_kinds())
        return Response({"items": [_kind(kind, given.get("choice", "")) for kind in wanted]})


class MethodItem(Endpoint):
    has_etag = True

    @operation("challenge_method_get", "One method", answers={200: MethodDocument}, tag="challenge methods")
    def get(self, request: Request, id: UUID) -> Response:
        return document_answer(request, method_document(self._rows(id).get()))

    @operation(
        "challenge_method_change",
        "Change a challenge method",
        body=MethodChange,
        answers={200: MethodDocument},
        tag="challenge methods",
        description="The certificates that use it follow with their next renewal. Under another provider only what "
        "that has too is kept, and no secret.",
        example={"options": {"ttl": 300}},
    )
    def patch(self, request: Request, id: UUID) -> Response:
        given = body_read(request.data, MethodChange)
        options = given.get("options")
        with unchanged(request, self._rows(id), method_document) as row:
            method_update(
                row,
                name=given.get("name"),
                given=None if options is None else method_merged(row, options),
                forget=[name for name, value in (options or {}).items() if value is None],
                actor=self.actor,
            )
        return document_answer(request, method_document(self._rows(id).get()))

    @operation(
        "challenge_method_delete",
        "Delete a challenge method",
        answers={204: None},
        tag="challenge methods",
        description="409 while a certificate uses it, or an answer is still to be taken away.",
    )
    def delete(self, request: Request, id: UUID) -> Response:
        with unchanged(request, self._rows(id), method_document) as row:
            method_delete(row, actor=self.actor)
        return Response(status=204)

    def _rows(self, id: UUID) -> QuerySet[ChallengeMethod]:
        return selectors.methods_visible_to(self.actor).defer(None).filter(pk=id)


class MethodTest(Endpoint):
    @operation(
        "challenge_method_test",
        "Test a challenge method",
        body=Testing,
        answers={202: MethodDocument},
        tag="challenge methods",
        description="An answer that nobody asked for is put in place, looked at and taken away again; no CA is asked. "
        "`test` of the method tells how far it is.",
        example={"name": "www.example.com"},
    )
    def post(self, request: Request, id: UUID) -> Response:
        given = body_read(request.data, Testing)
        rows = selectors.methods_visible_to(self.actor).defer(None)
        method_test_begin(rows.get(pk=id), given["name"], actor=self.actor)
        headers = {"Location": f"/api/challenge-methods/{id}", "Retry-After": "2"}
        return Response(method_document(rows.get(pk=id)), status=202, headers=headers)


def _kind(kind: str, choice: str) -> dict[str, Any]:
    solver = method_kind(kind)
    options = solver.options_for({solver.chooser: choice} if solver.chooser and choice else {})
    return {
        **kind_document(kind, solver.label, solver, options),
        "chooser": solver.chooser,
        "wildcards": solver.wildcards,
        "addresses": solver.addresses,
        "testable": method_is_testable(kind),
    }
