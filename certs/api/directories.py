"""/api/accounts/{id}/directory: what is known and set of the directory of an account, and so of all accounts there."""

from typing import Any
from uuid import UUID

from django.db import transaction
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.acme.directories import directory_label
from certs.api.base import Endpoint
from certs.api.etags import document_answer, etag_of, match_require
from certs.api.fields import Strict, Text, body_read, words
from certs.api.schema import operation
from certs.domain.budget import limit_parse, limit_written
from certs.models import AcmeAccount, AcmeDirectory
from certs.services.account_changes import account_staging
from certs.services.ledger import limits_of, limits_own, limits_set
from certs.services.portal_state import state_lock
from certs.services.rehearsals import rehearsal_directory


class DirectoryDocument(serializers.Serializer[Any]):
    directory = serializers.CharField()
    name = serializers.CharField()
    terms = serializers.CharField(help_text="As the CA names them now.")
    trouble = serializers.CharField(help_text="Why it did not answer when it was last asked.")
    staging = serializers.CharField(help_text="Where orders are rehearsed, as it was set.")
    stagingNow = serializers.CharField(help_text="As it was set, else as it is known of the CA.")
    limits = serializers.ListField(child=serializers.CharField(), help_text="Your own.")
    limitsNow = serializers.ListField(child=serializers.CharField(), help_text="With those that the CA publishes.")


def directory_document(account: AcmeAccount) -> dict[str, Any]:
    url = account.directory_url
    row = AcmeDirectory.objects.filter(directory_url=url).first() or AcmeDirectory()
    return {
        "directory": url,
        "name": directory_label(url),
        "terms": row.terms_url,
        "trouble": row.trouble,
        "staging": row.rehearsal_url,
        "stagingNow": rehearsal_directory(account),
        "limits": [limit_written(limit) for limit in limits_own(url)],
        "limitsNow": [limit_written(limit) for limit in limits_of(url)],
    }


class DirectoryChange(Strict):
    staging = Text(required=False, max_length=500, help_text="Empty: what is known of the CA.")
    limits = words(
        required=False,
        max_length=20,
        help_text="scope=count/hours, as set=5/168. Scopes: set, domain, account, name, server. Empty: as published.",
    )


class Directory(Endpoint):
    has_etag = True

    @operation("directory_get", "The directory of an account", answers={200: DirectoryDocument}, tag="accounts")
    def get(self, request: Request, id: UUID) -> Response:
        return document_answer(request, directory_document(selectors.accounts_visible_to(self.actor).get(pk=id)))

    @operation(
        "directory_change",
        "Set where to rehearse, and the limits of a CA",
        body=DirectoryChange,
        answers={200: DirectoryDocument},
        tag="accounts",
        example={"limits": ["set=5/168", "account=300/3"]},
    )
    def patch(self, request: Request, id: UUID) -> Response:
        given = body_read(request.data, DirectoryChange)
        account = selectors.accounts_visible_to(self.actor).get(pk=id)
        with transaction.atomic():
            state_lock()  # not the row: there may be none yet
            match_require(request, etag_of(directory_document(account)))
            if "staging" in given:
                account_staging(account, given["staging"], actor=self.actor)
            if "limits" in given:
                limits_set(account.directory_url, [limit_parse(text) for text in given["limits"]], actor=self.actor)
        return document_answer(request, directory_document(account))
