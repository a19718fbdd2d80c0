"""/api/accounts: our accounts at CAs that speak ACME."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs import selectors
from certs.acme.client import MAC_ALGORITHMS, ExternalAccount
from certs.acme.directories import directory_label
from certs.api.base import Endpoint
from certs.api.etags import document_answer, document_made, etag_of, match_require
from certs.api.fields import Flag, Strict, Text, Word, body_read
from certs.api.listing import Given, listing
from certs.api.organizations import organization_named
from certs.api.problems import refuse
from certs.api.schema import operation
from certs.domain.errors import ConflictError
from certs.domain.keys import SIZE_LIMIT
from certs.domain.roles import Right
from certs.models import AcmeAccount
from certs.services.access import require
from certs.services.account_changes import (
    account_contacts,
    account_deactivate,
    account_register_now,
    account_rollover,
    account_terms_accept,
    account_terms_new,
)
from certs.services.accounts import account_eab_store, account_get_or_create, directory_read, external_account
from certs.services.directories import directory_named
from certs.services.issuing import directory_usual


class AccountDocument(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    organization = serializers.UUIDField()
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
        "organization": str(row.organization_id),
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


class ExternalGiven(Strict):
    eabKid = Text(max_length=255, allow_blank=False, help_text="The key ID of an external account, as the CA shows it.")
    eabHmacKey = Text(max_length=1024, allow_blank=False, help_text="Kept sealed, dropped once the CA has taken it.")
    eabAlgorithm = Word(required=False, choices=list(MAC_ALGORITHMS))


class AccountGiven(Strict):
    directory = Text(required=False, max_length=500, help_text="An address, or a known CA: letsencrypt; the usual one.")
    organization = serializers.UUIDField(
        required=False, help_text="The default one where none is named, or the first that you see."
    )
    email = Text(required=False, max_length=254)
    acceptTerms = Flag(required=False, help_text="Where the CA has terms: that they were read and accepted.")
    eabKid = Text(required=False, max_length=255, help_text="For CAs that want an account of yours on their own site.")
    eabHmacKey = Text(required=False, max_length=1024)
    eabAlgorithm = Word(required=False, choices=list(MAC_ALGORITHMS))
    caBundle = Text(required=False, max_length=SIZE_LIMIT, help_text="PEM of roots to trust for the directory.")
    allowPrivate = Flag(required=False, help_text="The directory may be on a private address.")


class Terms(Strict):
    terms = Text(
        max_length=500, allow_blank=False, help_text="The address of those that were read, as `directory` has it."
    )


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
        description="The directory is asked for its terms. The key is made here; the CA registers it with the first "
        "order, or with _register. Of one directory and address there is one: that is answered again.",
        example={"directory": "letsencrypt", "email": "ops@example.com", "acceptTerms": True},
    )
    def post(self, request: Request) -> Response:
        given = body_read(request.data or {}, AccountGiven)
        place = organization_named(self.actor, given)
        require(self.actor, Right.ACCOUNT, place)
        eab = _external(given) if given.get("eabKid") else None
        url = directory_named(given["directory"]) if given.get("directory") else directory_usual()
        reached = {"ca_bundle": given.get("caBundle", ""), "allow_private": given.get("allowPrivate", False)}
        info = directory_read(url, **reached)
        if info.eab_required and eab is None:
            raise refuse(400, "eab", f"{directory_label(url)} wants an external account.", pointer="/eabKid")
        if info.terms_url and not given.get("acceptTerms"):
            raise refuse(
                403,
                "terms",
                f"The terms of {directory_label(url)} have not been accepted.",
                advice=f"Read them at {info.terms_url}, then send acceptTerms.",
            )
        made = account_get_or_create(
            directory_url=url,
            email=given.get("email", "").strip().lower(),
            terms_url=info.terms_url,
            eab=eab,
            organization=place,
            actor=self.actor,
            **reached,
        )
        document = account_document(selectors.accounts_visible_to(self.actor).get(pk=made.pk))
        return document_made(document, f"/api/accounts/{made.pk}")


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


class AccountTerms(Endpoint):
    @operation(
        "account_terms",
        "Accept the terms that the CA names now",
        body=Terms,
        answers={200: AccountDocument},
        tag="accounts",
        description="409 where they are not those: they may have changed again.",
        example={"terms": "https://ca.example.com/terms-2.pdf"},
    )
    def post(self, request: Request, id: UUID) -> Response:
        terms = body_read(request.data, Terms)["terms"]
        rows = selectors.accounts_visible_to(self.actor)
        row = rows.get(pk=id)
        require(self.actor, Right.ACCOUNT, row)
        if terms != account_terms_new(row):
            raise refuse(409, "terms", "These are not the terms that the CA names now.", advice="Read them again.")
        account_terms_accept(row, terms, actor=self.actor)
        return Response(account_document(rows.get(pk=id)))


class AccountExternal(Endpoint):
    @operation(
        "account_external",
        "Give it an external account",
        body=ExternalGiven,
        answers={200: AccountDocument},
        tag="accounts",
        description="It is used at the next registration, once.",
        example={"eabKid": "kid-1", "eabHmacKey": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"},
    )
    def post(self, request: Request, id: UUID) -> Response:
        given = _external(body_read(request.data, ExternalGiven))
        rows = selectors.accounts_visible_to(self.actor)
        row = rows.get(pk=id)
        require(self.actor, Right.ACCOUNT, row)
        if row.deactivated_at is not None:
            raise refuse(409, "deactivated", "This account was deactivated.", advice="Make a new one.")
        account_eab_store(row, given, actor=self.actor)
        return Response(account_document(rows.get(pk=id)))


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


def _external(given: Mapping[str, Any]) -> ExternalAccount:
    return external_account(given["eabKid"], given.get("eabHmacKey", ""), given.get("eabAlgorithm", ""))
