"""A certificate as the API tells it: the properties of the reference under their own names, ours below `bindery`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from certs.api.fields import Flag, Strict, Table, Text, words
from certs.api.names import COMPUTED
from certs.domain.errors import InputError
from certs.domain.keys import OWN_KEY_TYPES
from certs.domain.names import is_address
from certs.domain.properties import api_id_check
from certs.models import Certificate, CertificateVersion
from certs.selectors import certificate_shown
from certs.services.keys import key_is_here
from certs.services.reissue import is_signed_here
from portal import clock

KEY_TYPES = list(OWN_KEY_TYPES)
NOTHING = "--"  # of the reference, where there is no subject or domain
REFERENCE = OpenApiExample(
    "As the reference shows it",
    value={
        "id": "cert_api_example_com",
        "name": "api.example.com",
        "description": "TLS certificate for the public API",
        "chain": "-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----",
        "privateKey": "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "caRef": "cert_internal_ca",
        "domain": "api.example.com",
        "selfSigned": False,
        "ca": False,
        "valid": True,
        "exposed": False,
        "revoked": False,
        "autoRenew": True,
        "letsEncrypt": False,
        "client": False,
        "keypair": False,
        "subject": "CN=api.example.com",
        "from": 1710000000000,
        "to": 1741536000000,
        "sans": ["api.example.com", "*.api.example.com"],
        "password": None,
        "tags": ["production"],
        "metadata": {},
    },
    request_only=True,
)


class Owned(Strict):
    """What its owner says of a new certificate."""

    id = Text(required=False, allow_null=True, max_length=200, help_text="Chosen by you, or made. It never changes.")
    name = Text(required=False, allow_null=True, max_length=255, help_text="Its first domain where none is given.")
    description = Text(required=False, allow_null=True, max_length=10_000)
    exposed = Flag(required=False, help_text="Its public key is in /.well-known/jwks.json.")
    tags = words(required=False, max_length=50)
    metadata = Table(required=False)


@extend_schema_serializer(component_name="Certificate")
class Given(Owned):
    """What a client may say of a certificate; every computed property may be sent along and is not looked at."""

    ignored = COMPUTED

    chain = Text(
        required=False,
        allow_null=True,
        max_length=1024 * 1024,
        help_text="PEM of the certificate and its issuers, in any order.",
    )
    privateKey = Text(
        required=False,
        allow_null=True,
        max_length=64 * 1024,
        help_text="PEM; empty for a certificate that is only trusted. Left out of a change, the key stays.",
    )
    password = Text(
        required=False, allow_null=True, max_length=1024, help_text="Of the private key. Used once, never kept."
    )
    autoRenew = Flag(required=False, help_text="Needs a known CA and the private key.")


class More(serializers.Serializer[Any]):
    """What Bindery knows besides the properties of the reference."""

    uuid = serializers.UUIDField()
    state = serializers.ChoiceField(choices=["ok", "warning", "danger", "unknown"])
    stateWords = serializers.CharField()
    version = serializers.UUIDField(allow_null=True)
    fingerprint = serializers.CharField(allow_null=True, help_text="SHA-256 of the certificate, hex.")
    serial = serializers.CharField(allow_null=True)
    issuer = serializers.CharField(allow_null=True)
    keyType = serializers.CharField()
    hasPrivateKey = serializers.BooleanField()
    renews = serializers.BooleanField(help_text="It is renewed by itself: `autoRenew`, and a CA that can be asked.")
    test = serializers.BooleanField(help_text="Issued by a staging directory: browsers will not trust it.")
    requestPending = serializers.BooleanField(help_text="A request waits for the answer of an outside CA.")
    createdAt = serializers.DateTimeField()

    def get_fields(self) -> dict[str, Any]:
        # A name that a field of the library has of its own.
        return {**super().get_fields(), "source": serializers.ChoiceField(choices=Certificate.Source.choices)}


@extend_schema_serializer(component_name="Certificate")
class CertificateDocument(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    chain = serializers.CharField(help_text="PEM, the leaf first; empty where there is no certificate yet.")
    privateKey = serializers.CharField(
        allow_null=True, help_text="Only for one certificate, and for callers with the export permission."
    )
    caRef = serializers.CharField(allow_null=True, help_text="The id of the certificate of our CA that signed it.")
    domain = serializers.CharField()
    selfSigned = serializers.BooleanField()
    ca = serializers.BooleanField()
    valid = serializers.BooleanField()
    exposed = serializers.BooleanField()
    revoked = serializers.BooleanField()
    autoRenew = serializers.BooleanField()
    letsEncrypt = serializers.BooleanField(help_text="It came by the door of ACME, or Let's Encrypt signed it.")
    client = serializers.BooleanField()
    keypair = serializers.BooleanField()
    subject = serializers.CharField()
    # `from` is no name in Python: it is added below.
    to = serializers.IntegerField(allow_null=True, help_text="Milliseconds since 1970.")
    sans = serializers.ListField(child=serializers.CharField())
    password = serializers.CharField(allow_null=True, help_text="Never told: always null.")
    tags = serializers.ListField(child=serializers.CharField())
    metadata = serializers.DictField(child=serializers.CharField())
    bindery = More()

    def get_fields(self) -> dict[str, Any]:
        start = serializers.IntegerField(allow_null=True, help_text="Milliseconds since 1970.")
        return {**super().get_fields(), "from": start}


class Validity(serializers.Serializer[Any]):
    valid = serializers.BooleanField()
    reason = serializers.ChoiceField(
        choices=["", "no-certificate", "not-yet-valid", "expired", "revoked", "key-compromised"]
    )
    detail = serializers.CharField()
    checkedAt = serializers.DateTimeField()


def rows_ready(rows: QuerySet[Certificate]) -> QuerySet[Certificate]:
    """With everything that a document tells, in a fixed number of queries."""
    related = rows.select_related("current__key", "key", "authority__certificate", "account")
    return related.defer("authority__crl_der", "account__ca_bundle").prefetch_related("tag_rows")


def certificate_document(row: Certificate, *, private_key: str | None = None) -> dict[str, Any]:
    version = row.current
    shown = certificate_shown(row)
    key = version.key if version else row.key
    return {
        "id": id_of(row),
        "name": row.name,
        "description": row.description,
        "chain": version.fullchain_pem if version else "",
        "privateKey": private_key,
        "caRef": id_of(row.authority.certificate) if row.authority else None,
        "domain": _domain(row),
        "selfSigned": bool(version and version.self_signed),
        "ca": bool(version and version.is_ca),
        "valid": validity(row)["valid"],
        "exposed": row.exposed,
        "revoked": bool(version and version.revoked_at),
        "autoRenew": row.auto_renew,
        "letsEncrypt": row.source == Certificate.Source.ACME or bool(version and "O=Let's Encrypt" in version.issuer),
        "client": bool(version and version.is_client),
        "keypair": version is None and row.key_id is not None and not row.request_pem,
        "subject": (version.subject if version else "") or NOTHING,
        "from": milliseconds(version.not_before) if version else None,
        "to": milliseconds(version.not_after) if version else None,
        "sans": [*version.names, *version.other_names] if version else list(row.names),
        "password": None,
        "tags": sorted(each.tag for each in row.tag_rows.all()),
        "metadata": row.metadata,
        "bindery": {
            "uuid": str(row.pk),
            "source": row.source,
            "state": shown.kind,
            "stateWords": shown.words,
            "version": str(version.pk) if version else None,
            "fingerprint": version.fingerprint_sha256 if version else None,
            "serial": version.serial if version else None,
            "issuer": version.issuer if version else None,
            "keyType": (version.key_type if version else "") or (key.key_type if key else row.key_type),
            "hasPrivateKey": key_is_here(key),
            "renews": row.auto_renew and (row.source == Certificate.Source.ACME or is_signed_here(row)),
            "test": row.is_test,
            "requestPending": bool(row.request_pem),
            "createdAt": row.created_at.isoformat(),
        },
    }


def validity(row: Certificate, moment: datetime | None = None) -> dict[str, Any]:
    now = moment or clock.now()
    reason, detail = _invalid(row.current, now)
    return {"valid": not reason, "reason": reason, "detail": detail or "It is valid.", "checkedAt": now.isoformat()}


def _invalid(version: CertificateVersion | None, now: datetime) -> tuple[str, str]:
    if version is None:
        return "no-certificate", "There is no certificate yet."
    if version.revoked_at is not None:
        return (
            "revoked",
            f"It was revoked on {version.revoked_at:%Y-%m-%d} ({version.revocation_reason or 'no reason'}).",
        )
    if version.key is not None and version.key.compromised_at is not None:
        return "key-compromised", "Its private key is in other hands."
    if version.not_after < now:
        return "expired", f"It expired on {version.not_after:%Y-%m-%d %H:%M} UTC."
    if version.not_before > now:
        return "not-yet-valid", f"It is valid from {version.not_before:%Y-%m-%d %H:%M} UTC."
    return "", ""


def id_of(row: Certificate) -> str:
    return row.api_id or str(row.pk)


def by_id(text: str) -> Q:
    """The row that an id of a client means; nothing for a text that can be no id."""
    try:
        known = api_id_check(text)
    except InputError:
        return Q(pk__in=())
    return Q(pk=known) if isinstance(known, UUID) else Q(api_id=known)


def own_id(text: str) -> Q:
    """The same for what has no other id than a UUID."""
    try:
        return Q(pk=UUID(text))
    except ValueError:
        return Q(pk__in=())


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _domain(row: Certificate) -> str:
    names: Sequence[str] = row.current.names if row.current else row.names
    return next((name for name in names if not is_address(name)), NOTHING)
