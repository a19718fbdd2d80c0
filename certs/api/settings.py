"""/api/settings: what is set below Configuration, as far as one number or word says it."""

from collections.abc import Collection, Mapping
from typing import Any

from django.db import transaction
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs.api.base import Endpoint
from certs.api.etags import document_answer, etag_of, match_require
from certs.api.fields import Flag, Strict, Text, Whole, body_read
from certs.api.schema import operation
from certs.domain.roles import Right
from certs.services import addresses
from certs.services.access import PORTAL, Actor, require
from certs.services.jwks import jwks_overlap_set
from certs.services.missing_issuers import fetch_issuers_change
from certs.services.pki import pki_base_url, pki_base_url_confirm
from certs.services.portal_state import state_get, state_lock
from certs.services.public_url import public_url_change
from certs.services.renewal_settings import renewal_change


class SettingsDocument(serializers.Serializer[Any]):
    publicUrl = serializers.CharField()
    pkiBaseUrl = serializers.CharField(help_text="Stands in every certificate that our CAs sign.")
    renewBeforeDays = serializers.IntegerField()
    checkHours = serializers.IntegerField()
    jwksOverlapDays = serializers.IntegerField()
    fetchIssuers = serializers.BooleanField()
    forceSsl = serializers.BooleanField(help_text="Changed on its page, where it is confirmed.")
    hsts = serializers.BooleanField(help_text="Changed on its page.")
    tlsInFront = serializers.BooleanField(help_text="Changed on its page, where it is confirmed.")
    onDemand = serializers.BooleanField(help_text="Changed on its page.")
    export = serializers.BooleanField(help_text="Changed on its page.")


class SettingsGiven(Strict):
    ignored = frozenset({"forceSsl", "hsts", "tlsInFront", "onDemand", "export"})

    publicUrl = Text(required=False, max_length=300)
    pkiBaseUrl = Text(required=False, max_length=300)
    renewBeforeDays = Whole(required=False, min_value=1, max_value=180)
    checkHours = Whole(required=False, min_value=1, max_value=168)
    jwksOverlapDays = Whole(required=False, min_value=0, max_value=365)
    fetchIssuers = Flag(required=False)


class Settings(Endpoint):
    has_etag = True

    @operation("settings_get", "The settings", answers={200: SettingsDocument}, tag="settings")
    def get(self, request: Request) -> Response:
        require(self.actor, Right.READ, PORTAL)
        return document_answer(request, settings_document())

    @operation(
        "settings_change",
        "Change settings",
        body=SettingsGiven,
        answers={200: SettingsDocument},
        tag="settings",
        description="A merge patch: what is left out stays. The settings that a person has to confirm in a browser "
        "are read only here.",
    )
    def patch(self, request: Request) -> Response:
        require(self.actor, Right.SETTING, PORTAL)
        given = body_read(request.data, SettingsGiven)
        with transaction.atomic():  # all of them or none
            state_lock()
            before = settings_document()
            match_require(request, etag_of(before))
            wanted = {name: value for name, value in given.items() if value != before[name]}
            _change(before | wanted, wanted.keys(), self.actor)
        return document_answer(request, settings_document())


def _change(after: Mapping[str, Any], changed: Collection[str], actor: Actor) -> None:
    if {"renewBeforeDays", "checkHours"} & set(changed):
        renewal_change(renew_before_days=after["renewBeforeDays"], check_hours=after["checkHours"], actor=actor)
    if "jwksOverlapDays" in changed:
        jwks_overlap_set(after["jwksOverlapDays"], actor=actor)
    if "fetchIssuers" in changed:
        fetch_issuers_change(on=after["fetchIssuers"], actor=actor)
    if "publicUrl" in changed:
        public_url_change(after["publicUrl"], actor=actor)
    if "pkiBaseUrl" in changed:
        pki_base_url_confirm(after["pkiBaseUrl"], actor=actor)


def settings_document() -> dict[str, Any]:
    state = state_get()
    return {
        "publicUrl": addresses.public_url(),
        "pkiBaseUrl": pki_base_url(),
        "renewBeforeDays": state.renew_before_days,
        "checkHours": state.check_hours,
        "jwksOverlapDays": state.jwks_overlap_days,
        "fetchIssuers": state.fetch_issuers,
        "forceSsl": state.force_ssl,
        "hsts": state.hsts,
        "tlsInFront": state.tls_in_front,
        "onDemand": state.on_demand,
        "export": state.export,
    }
