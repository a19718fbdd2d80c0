"""/api/accounts: our accounts at CAs that speak ACME."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.api.base import Endpoint
from certs.api.etags import document_answer, etag_of, match_require
from certs.api.fields import Flag, Strict, Text, body_read
from certs.api.listing import Given, listing
from certs.api.schema import operation
from certs.domain.errors import ConflictError
from certs.domain.roles import Right
from certs.models import AcmeAccount
from certs.services.access import require
from certs.services.account_changes import (
    account_contacts,
    account_deactivate,
    account_register_now,
    account_rollover,
)
from certs.services.accounts import account_eab_store, external_account
from certs.services.issuing import CaChoice, account_for, directory_usual


class AccountDocument(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    directory = serializers.CharField()
    email = serializers.CharField()
    url = serializers.CharField(help_text="Of the account at the CA; empty before it is registered.")
    termsUrl = serializers.CharField()
    termsAcceptedAt = serializers.DateTimeField(allow_null=True)
    eabKid = serializers.CharField(help_text="The key ID of the external account; the key itself is never told.")
    certificates = serializers.IntegerField()
    deactivatedAt = serializers.DateTimeField(allow_null=True)
    createdAt = serializers.DateTimeField()


def account_document(row: AcmeAccount) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "directory": row.directory_url,
        "email": row.email,
        "url": row.account_url,
        "termsUrl": row.terms_url,
        "termsAcceptedAt": row.terms_agreed_at.isoformat() if row.terms_agreed_at else None,
        "eabKid": row.eab_kid,
        "certificates": getattr(row, "certificate_count", 0),
        "deactivatedAt": row.deactivated_at.isoformat() if row.deactivated_at else None,
        "createdAt": row.created_at.isoformat(),
    }


class AccountGiven(Strict):
    directory = Text(required=False, max_length=500, help_text="The usual one where none is named.")
    email = Text(required=False, max_length=254)
    acceptTerms = Flag(required=False, help_text="Where the CA has terms: that they were read and accepted.")
    eabKid = Text(required=False, max_length=255)
    eabHmacKey = Text(required=False, max_length=1000, help_text="Kept sealed, dropped once the CA has taken it.")


class AccountChange(Strict):
    email = Text(max_length=254)


class Accounts(Endpoint):
    @listing("account_list", "List accounts", AccountDocument, account_document, tag="accounts")
    def get(self, given: Given) -> QuerySet[AcmeAccount]:
        return selectors.accounts_visible_to(self.actor)

    @operation(
        "account_create",
        "Make an account",
        body=AccountGiven,
        answers={201: AccountDocument},
        tag="accounts",
        description="Its key is made here. The CA registers it with the first order, or with _register.",
    )
    def post(self, request: Request) -> Response:
        require(self.actor, Right.ACCOUNT)
        given = body_read(request.data or {}, AccountGiven)
        eab = external_account(given["eabKid"], given.get("eabHmacKey", "")) if given.get("eabKid") else None
        choice = CaChoice(
            directory_url=given.get("directory") or directory_usual(),
            email=given.get("email", ""),
            terms_accepted=given.get("acceptTerms", False),
        )
        made = account_for(choice, actor=self.actor)
        if eab is not None and not made.account_url:
            account_eab_store(made, eab, actor=self.actor)
        document = account_document(selectors.accounts_visible_to(self.actor).get(pk=made.pk))
        return Response(document, status=201, headers={"Location": f"/api/accounts/{made.pk}"})


class AccountItem(Endpoint):
    has_etag = True

    @operation("account_get", "One account", answers={200: AccountDocument}, tag="accounts")
    def get(self, request: Request, id: UUID) -> Response:
        return document_answer(request, account_document(selectors.accounts_visible_to(self.actor).get(pk=id)))

    @operation(
        "account_change",
        "Change the e-mail address",
        body=AccountChange,
        answers={200: AccountDocument},
        tag="accounts",
    )
    def patch(self, request: Request, id: UUID) -> Response:
        given = body_read(request.data, AccountChange)
        rows = selectors.accounts_visible_to(self.actor).filter(pk=id)
        row = rows.get()
        match_require(request, etag_of(account_document(row)))
        try:
            account_contacts(row, given["email"], actor=self.actor)
        except ConflictError:
            # No lock is held while the CA is asked: the service found that another was quicker.
            match_require(request, etag_of(account_document(rows.get())))
            raise
        return document_answer(request, account_document(rows.get()))


class AccountRegister(Endpoint):
    @operation("account_register", "Register it at the CA now", answers={200: AccountDocument}, tag="accounts")
    def post(self, request: Request, id: UUID) -> Response:
        account_register_now(selectors.accounts_visible_to(self.actor).get(pk=id), actor=self.actor)
        return Response(account_document(selectors.accounts_visible_to(self.actor).get(pk=id)))


class AccountRollover(Endpoint):
    @operation("account_rollover", "Change its key", answers={200: AccountDocument}, tag="accounts")
    def post(self, request: Request, id: UUID) -> Response:
        account_rollover(selectors.accounts_visible_to(self.actor).get(pk=id), actor=self.actor)
        return Response(account_document(selectors.accounts_visible_to(self.actor).get(pk=id)))


class AccountDeactivate(Endpoint):
    @operation("account_deactivate", "Give an account up for good", answers={200: AccountDocument}, tag="accounts")
    def post(self, request: Request, id: UUID) -> Response:
        account_deactivate(selectors.accounts_visible_to(self.actor).get(pk=id), actor=self.actor)
        return Response(account_document(selectors.accounts_visible_to(self.actor).get(pk=id)))
