"""/api/settings: what is set below Configuration, as far as one number or word says it."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs.api.base import Endpoint
from certs.api.etags import etag_of, is_unchanged, match_require
from certs.api.fields import Flag, Strict, Text, Whole, body_read
from certs.api.schema import operation
from certs.domain.roles import Right
from certs.services import addresses
from certs.services.access import PORTAL, require
from certs.services.jwks import jwks_overlap_set
from certs.services.missing_issuers import fetch_issuers_change
from certs.services.pki import pki_base_url, pki_base_url_confirm
from certs.services.portal_state import state_get
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
        document = settings_document()
        etag = etag_of(document)
        if is_unchanged(request._request, etag):
            return Response(status=304, headers={"ETag": etag})
        return Response(document, headers={"ETag": etag})

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
        before = settings_document()
        match_require(request._request, etag_of(before))
        wanted = {name: value for name, value in given.items() if value != before[name]}
        if wanted.keys() & {"renewBeforeDays", "checkHours"}:
            both = before | wanted
            renewal_change(renew_before_days=both["renewBeforeDays"], check_hours=both["checkHours"], actor=self.actor)
        if "jwksOverlapDays" in wanted:
            jwks_overlap_set(wanted["jwksOverlapDays"], actor=self.actor)
        if "fetchIssuers" in wanted:
            fetch_issuers_change(on=wanted["fetchIssuers"], actor=self.actor)
        if "publicUrl" in wanted:
            public_url_change(wanted["publicUrl"], actor=self.actor)
        if "pkiBaseUrl" in wanted:
            pki_base_url_confirm(wanted["pkiBaseUrl"], actor=self.actor)
        document = settings_document()
        return Response(document, headers={"ETag": etag_of(document)})


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
