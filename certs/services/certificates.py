"""Certificates on their way into the store: asked of a CA, signed by themselves, imported, with a key alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cryptography import x509
from django.db import IntegrityError, transaction

from certs.domain.certinfo import CertInfo, certificate_info, common_name_of
from certs.domain.errors import ConflictError, InputError
from certs.domain.keys import key_from_pem, key_kind
from certs.domain.pem import Chain, certificates_read, chain_order, pair_check
from certs.domain.properties import NAME_LIMIT
from certs.domain.roles import Right
from certs.issuers.self_signed import MAX_DAYS, self_signed_make
from certs.models import (
    AcmeAccount,
    Authority,
    Certificate,
    CertificateName,
    CertificateTag,
    CertificateVersion,
    PrivateKey,
)
from certs.models.statements import row_insert, row_update
from certs.services.access import Actor, may, needs, require
from certs.services.certificate_properties import (
    Fields,
    Properties,
    account_belongs,
    api_id_refuse_taken,
    certificate_summary,
    fields_of,
    tags_write,
)
from certs.services.events import audit_record, audit_record_many
from certs.services.issue_options import (
    IssueOptions,
    issue_options_check,
    issue_options_set,
)
from certs.services.keys import key_create, key_import, key_open
from certs.services.portal_state import state_lock
from certs.services.versions import (
    chain_pem,
    key_fits,
    label_row,
    name_rows,
    refuse_expired,
    version_add,
    version_known,
    version_row,
)
from portal import clock


@needs(Right.CERTIFICATE_ADD)
def certificate_new(
    *,
    name: str,
    names: Sequence[str],
    account: AcmeAccount,
    actor: Actor,
    options: IssueOptions | None = None,
    on_demand: bool = False,
    properties: Properties | None = None,
) -> Certificate:
    """A certificate to be had from a CA; it has no version until an order brings one. `names` are A-labels.

    Raises InputError where the options do not fit the names.
    """
    options = options or IssueOptions()
    issue_options_check(options, names=names, account=account)
    given = properties or Properties()
    if given.organization is None and given.department is None:
        given = replace(given, organization=account.organization)
    fields = fields_of(given, actor, fallback=name or names[0])
    account_belongs(account, fields.organization_id)
    with transaction.atomic():
        certificate = _create(
            fields,
            source=Certificate.Source.ACME,
            names=sorted(names),
            key_type=Certificate._meta.get_field("key_type").default,
            account=account,
            auto_renew=True,
            on_demand=on_demand,
        )
        row_insert(label_row(certificate))
        issue_options_set(certificate, options, actor=actor)
        audit_record(actor, "certificate.create", certificate, after=certificate_summary(certificate))
    return certificate


@needs(Right.CERTIFICATE_ADD)
def certificate_self_sign(
    *, name: str, names: Sequence[str], actor: Actor, days: int = 365, key_type: str = "rsa-2048"
) -> Certificate:
    """A new certificate that signs itself. `names` are A-labels or addresses. Raises InputError, KeyRefused."""
    if not names:
        raise InputError("A self-signed certificate needs a name.", advice="Type the host name of this portal.")
    if not 1 <= days <= MAX_DAYS:
        raise InputError(
            f"A self-signed certificate can be valid for 1 to {MAX_DAYS} days, not {days}.", advice="365 is usual."
        )
    row = key_create(key_type)
    leaf = self_signed_make(key_open(row), names, now=clock.now(), days=days)
    made, _ = certificate_take(
        Chain(leaf),
        row,
        properties=Properties(name=name[:NAME_LIMIT]),
        source=Certificate.Source.SELF_SIGNED,
        actor=actor,
        action="certificate.self-sign",
    )
    return made


@needs(Right.CERTIFICATE_ADD, of="into")
def certificate_import(
    *,
    chain: bytes,
    key: bytes,
    actor: Actor,
    name: str = "",
    password: bytes | None = None,
    into: Certificate | None = None,
) -> Certificate:
    """Take in one's own certificate: PEM of leaf and intermediates in any order, PEM of the key.

    The same certificate again is recognised and returned. Another one for the same names becomes a Certificate of its
    own, so that nothing bound changes unasked, unless `into` names the uploaded certificate to add a version to.
    One that has expired is refused (nothing here could use it); one that is not valid yet is taken, and refused only
    where it is to be bound. Raises CertificateRefused, KeyRefused, ConflictError.
    """
    private = key_from_pem(key, password)
    found = chain_order(certificates_read(chain), private.public_key())
    pair_check(found.leaf, private)
    info = certificate_info(found.leaf)
    refuse_expired(info)
    if into is not None and into.source == Certificate.Source.ACME:
        raise ConflictError(
            f"{into.name} is renewed by a CA; an upload would be replaced by the next renewal.",
            advice="Import it as a certificate of its own, then bind it.",
        )
    row = key_import(private)
    if into is None:
        taken, _ = certificate_take(found, row, properties=Properties(name=name[:NAME_LIMIT]), actor=actor)
        return taken
    with transaction.atomic():
        version = version_add(into, leaf=found.leaf, chain=found.intermediates, key=row)
        _key_complete(version, row, actor)
        audit_record(actor, "certificate.import", into, after={"fingerprint": version.fingerprint_sha256})
    into.refresh_from_db()
    return into


@needs(Right.CERTIFICATE_ADD, of="properties")
def certificate_take(
    chain: Chain,
    key: PrivateKey | None,
    *,
    actor: Actor,
    properties: Properties | None = None,
    source: str = Certificate.Source.UPLOADED,
    auto_renew: bool = False,
    authority: Authority | None = None,
    wish: Mapping[str, Any] | None = None,
    allow_expired: bool = False,
    action: str = "certificate.import",
) -> tuple[Certificate, bool]:
    """Take a certificate into the store, whichever door it came through; whether it is new there.

    `key` None is one that is only trusted. The same certificate again within its organization is recognised and
    returned as it is, except that a key which was missing is added to it. `authority` and `wish` are kept for the
    renewal by one of our own CAs. Raises CertificateRefused (also for a key that does not fit, and one that has expired
    unless `allow_expired`), InputError for properties that cannot be stored, ConflictError (code "id") where the id is
    another's, and (code "known") where the certificate is known under another id.
    """
    given = properties or Properties()
    info = certificate_info(chain.leaf)
    key_fits(chain.leaf, key)
    if not allow_expired:
        refuse_expired(info)
    fields = fields_of(given, actor, fallback=_name_from(chain.leaf, info))
    with transaction.atomic():
        state_lock()  # of two who bring the same at once, the second finds what the first has made
        known = version_known(info.fingerprint_sha256, organization=fields.organization_id)
        if known is not None:
            _refuse_unseen(known.certificate, actor)
            _same_id(known.certificate, given.api_id)
            _key_complete(known, key, actor)
            return known.certificate, False
        certificate = _create(
            fields,
            source=source,
            names=info.names,
            key_type=key_kind(chain.leaf.public_key()),
            auto_renew=auto_renew,
            authority=authority,
            wish=dict(wish or {}),
        )
        version_add(certificate, leaf=chain.leaf, chain=chain.intermediates, key=key, allow_expired=allow_expired)
        audit_record(actor, action, certificate, after=certificate_summary(certificate))
    return certificate, True


@needs(Right.CERTIFICATE_ADD, of="properties")
def certificate_keypair_add(
    key: PrivateKey,
    *,
    actor: Actor,
    properties: Properties | None = None,
    request_pem: str = "",
    names: Sequence[str] = (),
    source: str = Certificate.Source.UPLOADED,
    action: str = "",
) -> tuple[Certificate, bool]:
    """A key pair without a certificate; with `request_pem`, a request that an outside CA is to answer for `names`.

    The same key pair again within its organization is recognised. Raises InputError, ConflictError as above.
    """
    given = properties or Properties()
    fields = fields_of(given, actor, fallback=names[0] if names else f"Key pair {key.spki_sha256[:12]}")
    with transaction.atomic():
        state_lock()
        same = Certificate.objects.filter(
            key=key,
            current=None,
            request_pem=request_pem,
            deleted_at=None,
            organization=fields.organization_id,
        ).first()
        if same is not None:
            _refuse_unseen(same, actor)
            _same_id(same, given.api_id)
            return same, False
        certificate = _create(
            fields,
            source=source,
            names=list(names),
            key_type=key.key_type,
            key=key,
            request_pem=request_pem,
        )
        row_insert(label_row(certificate))
        action = action or ("certificate.request" if request_pem else "certificate.key-pair")
        audit_record(actor, action, certificate, after=certificate_summary(certificate))
    return certificate, True


@dataclass(frozen=True)
class Fresh:
    """One certificate that was just signed for the first time, with a key whose row is stored."""

    leaf: x509.Certificate
    key: PrivateKey
    wish: Mapping[str, Any]
    properties: Properties
    auto_renew: bool = True


def certificates_add_many(
    fresh: Sequence[Fresh], *, authority: Authority, chain: Sequence[x509.Certificate], actor: Actor
) -> list[Certificate]:
    """What one of our own CAs signed, in one transaction and few statements; `chain` is the same for all.

    As `certificate_take` for each, for certificates that nobody can know yet. Raises InputError for properties that
    cannot be stored, ConflictError where an id is taken; then none is stored.
    """
    given = [(one, certificate_info(one.leaf)) for one in fresh]
    fields = [fields_of(one.properties, actor, fallback=_name_from(one.leaf, info)) for one, info in given]
    pem, rows, versions, names, tags = chain_pem(chain), [], [], [], []
    for (one, info), own in zip(given, fields, strict=True):
        row = Certificate(
            **own.columns,
            source=Certificate.Source.INTERNAL,
            names=info.names,
            key_type=one.key.key_type,
            auto_renew=one.auto_renew,
            authority=authority,
            wish=dict(one.wish),
            expires_at=info.not_after,
            issuer_name=info.issuer_name[:255],
            next_check_at=clock.now(),
        )
        version = version_row(row, one.leaf, pem, info, key=one.key)
        # The two point at each other; the database looks at the end of the transaction.
        row.current_id, row.last_renewed_at = version.pk, version.created_at
        rows.append(row)
        versions.append(version)
        names += name_rows(row, info.names)
        tags += [CertificateTag(certificate=row, tag=tag) for tag in own.tags]
    with transaction.atomic():
        try:
            with transaction.atomic():
                Certificate.objects.bulk_create(rows)
        except IntegrityError:
            for own in fields:
                api_id_refuse_taken(own.api_id)
            raise
        CertificateVersion.objects.bulk_create(versions)
        CertificateName.objects.bulk_create(names)
        CertificateTag.objects.bulk_create(tags)
        audit_record_many(actor, "certificate.issue", [(row, certificate_summary(row)) for row in rows])
    return rows


def _refuse_unseen(certificate: Certificate, actor: Actor) -> None:
    if not may(actor, Right.READ, certificate):
        raise ConflictError(
            "The same is kept here already, where you may not see it.", advice="Ask an administrator.", code="known"
        )


def _same_id(certificate: Certificate, api_id: str) -> None:
    if api_id and api_id not in (certificate.api_id, str(certificate.pk)):
        raise ConflictError(
            f"{certificate.name} is the same, under the id {certificate.api_id or certificate.pk}.",
            advice="Use that one, or delete it first.",
            code="known",
        )


def _key_complete(version: CertificateVersion, key: PrivateKey | None, actor: Actor) -> None:
    """The certificate was known before its key was."""
    if key is None or version.key_id is not None:
        return
    require(actor, Right.CERTIFICATE_CHANGE, version.certificate)
    with transaction.atomic():
        if row_update(CertificateVersion, {"pk": version.pk, "key": None}, {"key": key}):
            audit_record(actor, "certificate.key", version.certificate, after={"key": key.spki_sha256})
    version.key = key


def _create(given: Fields, **fields: Any) -> Certificate:
    """Its row and its tags, inside the caller's transaction. Raises ConflictError where the id is taken."""
    try:
        with transaction.atomic():
            certificate = Certificate.objects.create(**given.columns, **fields)
    except IntegrityError:
        api_id_refuse_taken(given.api_id)
        raise
    tags_write(certificate, given.tags)
    return certificate


def _name_from(leaf: x509.Certificate, info: CertInfo) -> str:
    words = (*info.names[:1], common_name_of(leaf.subject), *info.other_names[:1], info.subject)
    return next(filter(None, words), info.fingerprint_sha256[:12])
