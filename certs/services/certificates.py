"""Certificates and their versions: made, taken in, renewed into, changed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from cryptography import x509
from django.db import IntegrityError, transaction

from certs.domain.certinfo import CertInfo, certificate_info, common_name_of, covers
from certs.domain.errors import CertificateRefused, ConflictError, InputError
from certs.domain.keys import key_from_pem, key_kind, spki_sha256
from certs.domain.names import name_reversed
from certs.domain.pem import Chain, certificate_pem, certificates_read, chain_order, pair_check
from certs.domain.properties import NAME_LIMIT, api_id_check, description_check, metadata_check, name_check, tags_check
from certs.domain.roles import Place, Right
from certs.issuers.self_signed import MAX_DAYS, self_signed_make
from certs.models import (
    AcmeAccount,
    Authority,
    Binding,
    Certificate,
    CertificateName,
    CertificateTag,
    CertificateVersion,
    Department,
    Organization,
    PortalState,
    PrivateKey,
)
from certs.models.statements import row_delete, row_insert, row_update
from certs.services.access import Actor, home_for, needs, require
from certs.services.events import audit_record, audit_record_many
from certs.services.issue_options import (
    IssueOptions,
    issue_options_check,
    issue_options_of,
    issue_options_set,
    issue_options_shown,
)
from certs.services.keys import key_create, key_import, key_open
from certs.services.portal_state import generation_bump, state_lock
from portal import clock

_RENEWAL = frozenset({"account", "key_type", "auto_renew", "renew_before_days", "check_hours"})
_DESCRIBING = frozenset({"name", "description", "metadata", "tags", "exposed", "department"})
# Not its names: who wishes for others asks for another certificate, and this one stays as long as it is bound.
_EDITABLE = _RENEWAL | _DESCRIBING
_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": name_check,
    "description": description_check,
    "metadata": metadata_check,
    "tags": tags_check,
}


@dataclass(frozen=True)
class Properties:
    """What its owner says of a certificate. An empty name: its first DNS name; no organization: the default one."""

    name: str = ""
    description: str = ""
    tags: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    exposed: bool = False
    api_id: str = ""  # chosen by a program; one that is a UUID becomes the primary key
    organization: Organization | None = None
    department: Department | None = None


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
    fields = _fields_of(given, actor, fallback=name or names[0])
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
        row_insert(_label_row(certificate))
        issue_options_set(certificate, options, actor=actor)
        audit_record(actor, "certificate.create", certificate, after=_summary(certificate))
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
    fields = _fields_of(given, actor, fallback=_name_from(chain.leaf, info))
    with transaction.atomic():
        state_lock()  # of two who bring the same at once, the second finds what the first has made
        known = _known_version(info, fields.organization_id)
        if known is not None:
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
        audit_record(actor, action, certificate, after=_summary(certificate))
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
    fields = _fields_of(given, actor, fallback=names[0] if names else f"Key pair {key.spki_sha256[:12]}")
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
        row_insert(_label_row(certificate))
        action = action or ("certificate.request" if request_pem else "certificate.key-pair")
        audit_record(actor, action, certificate, after=_summary(certificate))
    return certificate, True


def version_add(
    certificate: Certificate,
    *,
    leaf: x509.Certificate,
    chain: Sequence[x509.Certificate],
    key: PrivateKey | None,
    is_test: bool = False,
    allow_expired: bool = False,
) -> CertificateVersion:
    """Add what was issued or imported and make it the current version; earlier versions and their keys stay.

    `chain` holds the intermediates, the leaf's issuer first. First everything is proven: the key fits, the names
    wanted from a CA are all there, it has not expired; the key only with `allow_expired`, by which history is taken in.
    Then rows, `current` and, where it is bound, the generation change in one transaction. The same leaf again returns
    its version and changes nothing: a repeated step is safe.
    Raises CertificateRefused.
    """
    info = certificate_info(leaf)
    if not allow_expired:
        refuse_expired(info)
    key_fits(leaf, key)
    if certificate.source == Certificate.Source.ACME and not allow_expired:
        _refuse_missing_names(certificate, info)
    with transaction.atomic():
        certificate_lock(certificate)
        existing = certificate.versions.filter(fingerprint_sha256=info.fingerprint_sha256).first()
        if existing is not None:
            return existing
        version = _version_row(certificate, leaf, chain_pem(chain), info, key=key)
        version.is_test = is_test
        version.save(force_insert=True)
        version_make_current(certificate, version)
    return version


def _version_row(
    certificate: Certificate, leaf: x509.Certificate, chain: str, info: CertInfo, *, key: PrivateKey | None
) -> CertificateVersion:
    """Not stored yet; `chain` is PEM."""
    return CertificateVersion(
        certificate=certificate,
        key=key,
        leaf_pem=certificate_pem(leaf),
        chain_pem=chain,
        fingerprint_sha256=info.fingerprint_sha256,
        serial=info.serial,
        subject=info.subject[:500],
        issuer=info.issuer[:500],
        issuer_name=info.issuer_name[:255],
        names=info.names,
        other_names=info.other_names,
        key_type=key_kind(leaf.public_key()),
        self_signed=info.self_signed,
        is_ca=info.is_ca,
        is_client=info.is_client,
        not_before=info.not_before,
        not_after=info.not_after,
    )


def chain_pem(chain: Sequence[x509.Certificate]) -> str:
    return "".join(certificate_pem(issuer) for issuer in chain)


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
    fields = [_fields_of(one.properties, actor, fallback=_name_from(one.leaf, info)) for one, info in given]
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
        version = _version_row(row, one.leaf, pem, info, key=one.key)
        # The two point at each other; the database looks at the end of the transaction.
        row.current_id, row.last_renewed_at = version.pk, version.created_at
        rows.append(row)
        versions.append(version)
        names += _name_rows(row, info.names)
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
        audit_record_many(actor, "certificate.issue", [(row, _summary(row)) for row in rows])
    return rows


@needs(Right.CERTIFICATE_CHANGE)
def certificate_update(certificate: Certificate, *, actor: Actor, **fields: Any) -> bool:
    """Change what a person may: name, description, metadata, tags, exposed, department; account, key_type, auto_renew,
    renew_before_days, check_hours. False where nothing changes.

    A change of the renewal is weighed by the next tick: the certificate is looked at again at once. One audit event
    holds what changed. Raises InputError naming what cannot be stored; then nothing is.
    """
    unknown = fields.keys() - _EDITABLE
    if unknown:
        raise InputError(
            f"{', '.join(sorted(unknown))} cannot be changed by hand.",
            advice="Ask for a new certificate for other names." if "names" in unknown else "",
        )
    wanted = _checked(certificate, fields)
    before = _summary(certificate, certificate_tags(certificate) if "tags" in wanted else None)
    tags = wanted.pop("tags", None)
    changed = {name for name, value in wanted.items() if getattr(certificate, name) != value}
    retagged = tags is not None and tags != before["tags"]
    if not changed and not retagged:
        return False
    if retagged or "department" in changed:
        department = wanted.get("department", certificate.department)
        held = frozenset(certificate_tags(certificate) if tags is None else tags)
        # Nobody moves one to where they may not change it, which is what a token's tags are for.
        place = Place(certificate.organization_id, department.pk if department else None, held)
        require(actor, Right.CERTIFICATE_CHANGE, place)
    for name in changed:
        setattr(certificate, name, wanted[name])
    if changed & _RENEWAL:
        certificate.next_check_at = clock.now()
        changed.add("next_check_at")
    with transaction.atomic():
        if changed:
            certificate.save(update_fields=changed)
        if "name" in changed:
            row_delete(CertificateName, {"certificate": certificate, "kind": CertificateName.Kind.LABEL})
            row_insert(_label_row(certificate))
        if retagged:
            _tags_write(certificate, tags or [])
        audit_record(actor, "certificate.change", certificate, before=before, after=_summary(certificate, tags))
    return True


def certificate_tags(certificate: Certificate) -> list[str]:
    return sorted(row.tag for row in certificate.tag_rows.all())


@needs(Right.CERTIFICATE_CHANGE)
def certificate_tags_set(certificate: Certificate, tags: Sequence[str], *, actor: Actor) -> bool:
    """These and no others; False where they are the same already. Raises InputError."""
    return certificate_update(certificate, actor=actor, tags=tags)


@needs(Right.CERTIFICATE_CHANGE)
def certificate_options_change(certificate: Certificate, options: IssueOptions, *, actor: Actor) -> bool:
    """For the orders to come; the version in use stays. False where nothing changes. Raises InputError, and what
    `method_settle` raises for a new challenge method."""
    before = issue_options_of(certificate)
    if options == before:
        return False
    if certificate.account is None or certificate.source != Certificate.Source.ACME:
        raise InputError(f"{certificate.name} does not come from a CA.", advice="There is nothing to choose for it.")
    issue_options_check(options, names=certificate.names, account=certificate.account)
    with transaction.atomic():
        kept = issue_options_set(certificate, options, actor=actor)
        if kept != before:
            was, now = issue_options_shown(before), issue_options_shown(kept)
            audit_record(actor, "certificate.options", certificate, before=was, after=now)
    return kept != before


def refuse_expired(info: CertInfo) -> None:
    if info.not_after <= clock.now():
        raise CertificateRefused(
            f"The certificate expired on {info.not_after:%Y-%m-%d}.",
            advice="Give its successor, or get a new one from a CA.",
            code="expired",
        )


def _refuse_missing_names(certificate: Certificate, info: CertInfo) -> None:
    missing = [name for name in certificate.names if not covers(info, name)]
    if missing:
        raise CertificateRefused(
            f"The certificate does not hold {', '.join(missing)}.",
            advice="It was not taken; order again.",
            code="names",
        )


def key_fits(leaf: x509.Certificate, key: PrivateKey | None) -> None:
    """Raises CertificateRefused where there is a key and it is another's."""
    if key is not None and spki_sha256(leaf.public_key()) != key.spki_sha256:
        raise CertificateRefused("The key does not belong to this certificate.", code="pair")


def _known_version(info: CertInfo, organization: UUID) -> CertificateVersion | None:
    known = CertificateVersion.objects.select_related("certificate").filter(
        fingerprint_sha256=info.fingerprint_sha256,
        certificate__deleted_at=None,
        certificate__organization=organization,
    )
    return known.first()


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
    with transaction.atomic():
        if row_update(CertificateVersion, {"pk": version.pk, "key": None}, {"key": key}):
            audit_record(actor, "certificate.key", version.certificate, after={"key": key.spki_sha256})
    version.key = key


def _create(given: "_Fields", **fields: Any) -> Certificate:
    """Its row and its tags, inside the caller's transaction. Raises ConflictError where the id is taken."""
    try:
        with transaction.atomic():
            certificate = Certificate.objects.create(**given.columns, **fields)
    except IntegrityError:
        api_id_refuse_taken(given.api_id)
        raise
    _tags_write(certificate, given.tags)
    return certificate


def api_id_refuse_taken(api_id: str) -> None:
    """Raises ConflictError (code "id"). For whoever signs or orders first, and stores after."""
    taken = Certificate.objects.filter(api_id=api_id).first() if api_id else None
    if taken is None and api_id and isinstance(uid := api_id_check(api_id), UUID):
        taken = Certificate.objects.filter(pk=uid).first()
    if taken is not None:
        raise ConflictError(
            f"The id {api_id} is that of {taken.name}{', which was deleted' if taken.deleted_at else ''}.",
            advice="Restore it, or choose another id."
            if taken.deleted_at
            else "Change that one, or choose another id.",
            code="id",
        )


@dataclass(frozen=True)
class _Fields:
    """Properties that were checked: `columns` of the new row."""

    columns: dict[str, Any]
    tags: list[str]
    organization_id: UUID
    api_id: str


def _fields_of(given: Properties, actor: Actor, *, fallback: str) -> _Fields:
    """Raises InputError, NotAllowed where the actor may add nothing there. Whether the id is taken is told when the row
    is made: the same certificate again may come under its own."""
    chosen = api_id_check(given.api_id) if given.api_id else ""
    tags = tags_check(given.tags)
    home = home_for(actor, organization=given.organization, department=given.department, tags=tags)
    if given.organization is not None:
        _department_check(given.department, given.organization.pk)
    columns = {
        **({"pk": chosen} if isinstance(chosen, UUID) else {"api_id": chosen}),
        "name": name_check(given.name) if given.name.strip() else _printable(fallback),
        "description": description_check(given.description),
        "metadata": metadata_check(given.metadata),
        "exposed": given.exposed,
        "organization_id": home.organization_id,
        "department_id": home.department_id,
    }
    return _Fields(columns, tags_check(home.tags), home.organization_id, given.api_id)


def _checked(certificate: Certificate, fields: Mapping[str, Any]) -> dict[str, Any]:
    wanted = {name: _CHECKS[name](value) if name in _CHECKS else value for name, value in fields.items()}
    _department_check(wanted.get("department"), certificate.organization_id)
    account_belongs(wanted.get("account"), certificate.organization_id)
    renewable = certificate.source != Certificate.Source.UPLOADED or certificate.authority_id is not None
    if wanted.get("auto_renew") and not certificate.auto_renew and not renewable:
        raise InputError(
            f"{certificate.name} was brought from outside: nobody here can renew it.",
            advice="Get one for the same names from a CA, or issue one from an authority of your own.",
            code="auto_renew",
        )
    return wanted


def account_belongs(account: AcmeAccount | None, organization: UUID | None) -> None:
    """Names that an account has proven are proven for all who order with it. Raises InputError."""
    if account is not None and account.organization_id != organization:
        raise InputError(
            f"The account {account} belongs to another organization.",
            advice="Choose one of the organization of the certificate.",
            code="account",
        )


def _department_check(department: Department | None, organization: UUID | None) -> None:
    if department is not None and department.organization_id != organization:
        raise InputError(
            f"{department} belongs to another organization.", advice="Choose one of its own.", code="department"
        )


def _tags_write(certificate: Certificate, tags: Sequence[str]) -> None:
    row_delete(CertificateTag, {"certificate": certificate})
    if tags:
        CertificateTag.objects.bulk_create(CertificateTag(certificate=certificate, tag=tag) for tag in tags)


def _label_row(certificate: Certificate) -> CertificateName:
    label = certificate.name.lower()[:255]
    return CertificateName(certificate=certificate, kind=CertificateName.Kind.LABEL, name=label, reversed="")


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in name)[:NAME_LIMIT].strip() or "unnamed"


def _name_from(leaf: x509.Certificate, info: CertInfo) -> str:
    return info.names[0] if info.names else common_name_of(leaf.subject) or info.subject or info.fingerprint_sha256[:12]


def version_make_current(certificate: Certificate, version: CertificateVersion) -> None:
    """Inside the caller's transaction; whether it may be served is the caller's question."""
    before = certificate_lock(certificate)
    if before.current_id not in (None, version.pk):
        row_update(CertificateVersion, {"pk": before.current_id}, {"retired_at": clock.now()})
    if version.retired_at is not None:  # people go back to an earlier one
        row_update(CertificateVersion, {"pk": version.pk}, {"retired_at": None})
    fields: dict[str, Any] = {
        "current": version,
        "expires_at": version.not_after,
        "issuer_name": version.issuer_name,
        "last_renewed_at": version.created_at,
        "failures": 0,
        "next_attempt_at": None,
        "retry_after_at": None,
        "next_check_at": clock.now(),
        "ari": {},  # a window of the CA belongs to one version
    }
    if certificate.source != Certificate.Source.ACME:
        fields["names"] = version.names
    if before.key_id is not None and before.key_id == version.key_id:  # what it waited for
        fields |= {"key": None, "request_pem": ""}
    for name, value in fields.items():
        setattr(certificate, name, value)
    row_update(Certificate, {"pk": certificate.pk}, fields)
    names_write(certificate, version.names)
    if is_served(certificate):
        generation_bump()


def certificate_lock(certificate: Certificate) -> Certificate:
    """The row as it is now, with version and key; nobody else changes it before the caller's transaction ends."""
    return Certificate.objects.select_for_update(of=("self",)).select_related("current__key").get(pk=certificate.pk)


def names_write(certificate: Certificate, names: Sequence[str]) -> None:
    """What it is found by, anew: its own name and those of its current version."""
    row_delete(CertificateName, {"certificate": certificate})
    CertificateName.objects.bulk_create(_name_rows(certificate, names))


def _name_rows(certificate: Certificate, names: Sequence[str]) -> list[CertificateName]:
    rows = [CertificateName(certificate=certificate, name=name, reversed=name_reversed(name)) for name in names]
    return [_label_row(certificate), *rows]


def is_served(certificate: Certificate) -> bool:
    """Whether the listener would change with it: it is bound, or it is the placeholder."""
    return (
        Binding.objects.filter(certificate=certificate).exists()
        or PortalState.objects.filter(placeholder=certificate).exists()
    )


def certificate_summary(certificate: Certificate) -> dict[str, Any]:
    """As the audit trail has it."""
    return _summary(certificate, certificate_tags(certificate))


def _summary(certificate: Certificate, tags: Sequence[str] | None = None) -> dict[str, Any]:
    return {
        "name": certificate.name,
        "source": str(certificate.source),
        "names": certificate.names,
        "directory": certificate.account.directory_url if certificate.account else "",
        "key_type": certificate.key_type,
        "auto_renew": certificate.auto_renew,
        "renew_before_days": certificate.renew_before_days,
        "check_hours": certificate.check_hours,
        "description": certificate.description,
        "metadata": certificate.metadata,
        "exposed": certificate.exposed,
        "department": str(certificate.department_id or ""),
        **({} if tags is None else {"tags": list(tags)}),
    }
