"""The versions of a certificate: one is added, one is current. Comparing two and going back is `version_history`."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from cryptography import x509
from django.db import transaction

from certs.domain.certinfo import CertInfo, certificate_info, covers
from certs.domain.errors import CertificateRefused, ConflictError
from certs.domain.keys import key_kind, spki_sha256
from certs.domain.names import name_reversed
from certs.domain.pem import certificate_pem
from certs.models import (
    Binding,
    Certificate,
    CertificateName,
    CertificateVersion,
    PortalState,
    PrivateKey,
)
from certs.models.statements import row_delete, row_update
from certs.services.portal_state import generation_bump
from portal import clock


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
        version = version_row(certificate, leaf, chain_pem(chain), info, key=key)
        version.is_test = is_test
        version.save(force_insert=True)
        version_make_current(certificate, version)
    return version


def version_known(fingerprint: str, *, organization: UUID | None) -> CertificateVersion | None:
    """The certificate of this SHA-256, where it is here already: in this organization, or with None in any."""
    rows = CertificateVersion.objects.filter(fingerprint_sha256=fingerprint, certificate__deleted_at=None)
    rows = rows if organization is None else rows.filter(certificate__organization=organization)
    return rows.select_related("certificate").first()


def refuse_taken_again(certificate: Certificate, organization: UUID | None) -> None:
    """Before it comes back, or comes from elsewhere: what is recognised is there once. Raises ConflictError."""
    if certificate.current is None:
        return
    again = version_known(certificate.current.fingerprint_sha256, organization=organization)
    if again is not None:
        raise ConflictError(
            f"{again.certificate.name} ({again.certificate_id}) is the same certificate, taken in again since.",
            advice="Use that one, or delete it first.",
            code="known",
        )


def version_row(
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


def label_row(certificate: Certificate) -> CertificateName:
    label = certificate.name.lower()[:255]
    return CertificateName(certificate=certificate, kind=CertificateName.Kind.LABEL, name=label, reversed="")


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
    """The row as it is now, with version and key; nobody else changes it before the caller's transaction ends.

    Rows that point at it may still be written: whoever holds the settings and writes one must not wait for it.
    """
    rows = Certificate.objects.select_for_update(of=("self",), no_key=True)
    return rows.select_related("current__key").get(pk=certificate.pk)


def names_write(certificate: Certificate, names: Sequence[str]) -> None:
    """What it is found by, anew: its own name and those of its current version."""
    row_delete(CertificateName, {"certificate": certificate})
    CertificateName.objects.bulk_create(name_rows(certificate, names))


def name_rows(certificate: Certificate, names: Sequence[str]) -> list[CertificateName]:
    rows = [CertificateName(certificate=certificate, name=name, reversed=name_reversed(name)) for name in names]
    return [label_row(certificate), *rows]


def is_served(certificate: Certificate) -> bool:
    """Whether the listener would change with it: it is bound, or it is the placeholder."""
    return (
        Binding.objects.filter(certificate=certificate).exists()
        or PortalState.objects.filter(placeholder=certificate).exists()
    )
