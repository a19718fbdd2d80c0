"""Certificates and their versions: made, imported, renewed into, deleted."""

from collections.abc import Sequence
from typing import Any

from cryptography import x509
from django.db import transaction

from certs.domain.certinfo import CertInfo, certificate_info, covers
from certs.domain.errors import CertificateRefused, ConflictError, InputError
from certs.domain.keys import key_from_pem, key_type_of, spki_sha256
from certs.domain.names import name_reversed
from certs.domain.pem import Chain, certificate_pem, certificates_read, chain_order, pair_check
from certs.issuers.self_signed import MAX_DAYS, self_signed_make
from certs.models import (
    AcmeAccount,
    Binding,
    Certificate,
    CertificateName,
    CertificateVersion,
    Order,
    PortalState,
    PrivateKey,
    User,
)
from certs.models.statements import row_delete, row_update
from certs.services.events import audit_record
from certs.services.issue_options import (
    IssueOptions,
    issue_options_check,
    issue_options_of,
    issue_options_set,
    issue_options_shown,
)
from certs.services.keys import key_create, key_import, key_open
from certs.services.portal_state import generation_bump, state_get
from portal import clock

# Not its names: who wishes for others asks for another certificate, and this one stays as long as it is bound.
_EDITABLE = frozenset({"name", "account", "key_type", "auto_renew", "renew_before_days", "check_hours"})
Actor = User | str | None


def certificate_new(
    *,
    name: str,
    names: Sequence[str],
    account: AcmeAccount,
    actor: Actor,
    options: IssueOptions | None = None,
    on_demand: bool = False,
) -> Certificate:
    """A certificate to be had from a CA; it has no version until an order brings one. `names` are A-labels.

    Raises InputError where the options do not fit the names.
    """
    options = options or IssueOptions()
    issue_options_check(options, names=names, account=account)
    with transaction.atomic():
        certificate = Certificate.objects.create(
            name=name or names[0],
            source=Certificate.Source.ACME,
            names=sorted(names),
            account=account,
            auto_renew=True,
            on_demand=on_demand,
        )
        issue_options_set(certificate, options, actor=actor)
        audit_record(actor, "certificate.create", certificate, after=_summary(certificate))
    return certificate


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
    return _create_with_version(
        Chain(leaf), row, name=name, source=Certificate.Source.SELF_SIGNED, actor=actor, action="certificate.self-sign"
    )


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
    known = _known_version(info, into)
    row = key_import(private)
    if known is not None:
        if known.key_id != row.pk:
            # The certificate was known before its key was.
            CertificateVersion.objects.filter(pk=known.pk, key=None).update(key=row)
        return known.certificate
    if into is None:
        return _create_with_version(
            found, row, name=name, source=Certificate.Source.UPLOADED, actor=actor, action="certificate.import"
        )
    with transaction.atomic():
        version = version_add(into, leaf=found.leaf, chain=found.intermediates, key=row)
        audit_record(actor, "certificate.import", into, after={"fingerprint": version.fingerprint_sha256})
    into.refresh_from_db()
    return into


def version_add(
    certificate: Certificate,
    *,
    leaf: x509.Certificate,
    chain: Sequence[x509.Certificate],
    key: PrivateKey | None,
    is_test: bool = False,
) -> CertificateVersion:
    """Add what was issued or imported and make it the current version; earlier versions and their keys stay.

    `chain` holds the intermediates, the leaf's issuer first. First everything is proven: the key fits, the names
    wanted from a CA are all there, it has not expired. Then rows, `current` and, where it is bound, the generation
    change in one transaction. The same leaf again returns its version and changes nothing: a repeated step is safe.
    Raises CertificateRefused.
    """
    info = certificate_info(leaf)
    refuse_expired(info)
    if key is not None and spki_sha256(leaf.public_key()) != key.spki_sha256:
        raise CertificateRefused("The key does not belong to this certificate.", code="pair")
    if certificate.source == Certificate.Source.ACME:
        _refuse_missing_names(certificate, info)
    existing = certificate.versions.filter(fingerprint_sha256=info.fingerprint_sha256)
    if existing.exists():
        return existing.get()
    with transaction.atomic():
        version = CertificateVersion.objects.create(
            certificate=certificate,
            key=key,
            leaf_pem=certificate_pem(leaf),
            chain_pem="".join(certificate_pem(issuer) for issuer in chain),
            fingerprint_sha256=info.fingerprint_sha256,
            serial=info.serial,
            subject=info.subject[:500],
            issuer=info.issuer[:500],
            issuer_name=info.issuer_name[:255],
            names=info.names,
            other_names=info.other_names,
            key_type=key_type_of(leaf.public_key()),
            self_signed=info.self_signed,
            is_ca=info.is_ca,
            is_client=info.is_client,
            is_test=is_test,
            not_before=info.not_before,
            not_after=info.not_after,
        )
        version_make_current(certificate, version)
    return version


def certificate_update(certificate: Certificate, *, actor: Actor, **fields: Any) -> None:
    """Change settings of a certificate: name, account, key_type, auto_renew, renew_before_days, check_hours.

    A change is weighed by the next tick: the certificate is looked at again at once. Raises InputError.
    """
    unknown = fields.keys() - _EDITABLE
    if unknown:
        raise InputError(
            f"{', '.join(sorted(unknown))} cannot be changed by hand.",
            advice="Ask for a new certificate for other names." if "names" in unknown else "",
        )
    before = _summary(certificate)
    for name, value in fields.items():
        setattr(certificate, name, value)
    certificate.next_check_at = clock.now()
    with transaction.atomic():
        certificate.save(update_fields=[*fields, "next_check_at"])
        audit_record(actor, "certificate.change", certificate, before=before, after=_summary(certificate))


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


def certificate_delete(certificate: Certificate, *, actor: Actor) -> None:
    """Out of sight at once, gone with its keys when `prune` runs. Raises ConflictError where it is in use."""
    bound = [str(binding) for binding in Binding.objects.filter(certificate=certificate)]
    if bound:
        raise ConflictError(
            f"{certificate.name} is bound: {', '.join(bound)}.", advice="Bind another certificate there first."
        )
    if state_get().placeholder_id == certificate.pk:
        raise ConflictError(
            f"{certificate.name} is what the portal serves while nothing is bound.", advice="It stays as it is."
        )
    with transaction.atomic():
        # An order made at the same moment waits for this row, or is seen here: `order_create` takes it as well.
        Certificate.objects.select_for_update().get(pk=certificate.pk)
        if Order.objects.filter(certificate=certificate, finished_at=None).exists():
            raise ConflictError(
                f"An order for {certificate.name} is under way.", advice="Wait for it, or cancel it first."
            )
        Certificate.objects.filter(pk=certificate.pk, deleted_at=None).update(
            deleted_at=clock.now(), auto_renew=False, next_check_at=None
        )
        certificate.name_rows.all().delete()
        PortalState.objects.filter(portal_certificate=certificate).update(portal_certificate=None)
        PortalState.objects.filter(import_offer=certificate).update(import_offer=None)
        audit_record(actor, "certificate.delete", certificate, before=_summary(certificate))


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


def _known_version(info: CertInfo, into: Certificate | None) -> CertificateVersion | None:
    known = CertificateVersion.objects.select_related("certificate").filter(
        fingerprint_sha256=info.fingerprint_sha256, certificate__deleted_at=None
    )
    return (known.filter(certificate=into) if into else known).first()


def _create_with_version(
    chain: Chain, key: PrivateKey, *, name: str, source: str, actor: Actor, action: str
) -> Certificate:
    info = certificate_info(chain.leaf)
    with transaction.atomic():
        certificate = Certificate.objects.create(
            name=(name or _name_from(info))[:255],
            source=source,
            names=info.names,
            key_type=key_type_of(chain.leaf.public_key()),
        )
        version_add(certificate, leaf=chain.leaf, chain=chain.intermediates, key=key)
        audit_record(actor, action, certificate, after=_summary(certificate))
    return certificate


def _name_from(info: CertInfo) -> str:
    return info.names[0] if info.names else info.subject or info.fingerprint_sha256[:12]


def version_make_current(certificate: Certificate, version: CertificateVersion) -> None:
    """Inside the caller's transaction; whether it may be served is the caller's question."""
    if certificate.current_id not in (None, version.pk):
        row_update(CertificateVersion, {"pk": certificate.current_id}, {"retired_at": clock.now()})
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
    for name, value in fields.items():
        setattr(certificate, name, value)
    row_update(Certificate, {"pk": certificate.pk}, fields)
    row_delete(CertificateName, {"certificate": certificate})
    CertificateName.objects.bulk_create(
        CertificateName(certificate=certificate, name=name, reversed=name_reversed(name)) for name in version.names
    )
    if is_served(certificate):
        generation_bump()


def is_served(certificate: Certificate) -> bool:
    """Whether the listener would change with it: it is bound, or it is the placeholder."""
    return (
        Binding.objects.filter(certificate=certificate).exists()
        or PortalState.objects.filter(placeholder=certificate).exists()
    )


def _summary(certificate: Certificate) -> dict[str, Any]:
    return {
        "name": certificate.name,
        "source": str(certificate.source),
        "names": certificate.names,
        "directory": certificate.account.directory_url if certificate.account else "",
        "key_type": certificate.key_type,
        "auto_renew": certificate.auto_renew,
        "renew_before_days": certificate.renew_before_days,
        "check_hours": certificate.check_hours,
    }
