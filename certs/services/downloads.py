"""Certificates and keys leave here, in any form of certs/domain/formats. The page, the API and the command ask this.

A private key leaves only through those with the export permission, and each time with a line in the audit trail. What
is made is neither stored nor cached; passwords of key stores are in no record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from certs.domain.csr import csr_read
from certs.domain.errors import ConflictError, InputError, KeyRefused, NotAllowed
from certs.domain.formats.base import Format, Material, Need, file_stem, format_find, formats
from certs.domain.keys import Key
from certs.domain.options import options_read
from certs.domain.pem import pair_check
from certs.domain.roles import Right
from certs.models import Certificate, CertificateVersion, PrivateKey
from certs.services.access import Actor, may_export, require, require_export
from certs.services.chains import chain_of
from certs.services.events import audit_record
from certs.services.keys import key_is_here, key_open
from portal import clock

CHOSEN_LIMIT = 1000  # certificates of one trust store


@dataclass(frozen=True)
class Download:
    """A file for whoever asked; nothing of it is kept."""

    name: str  # safe for any file system
    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Offer:
    """A format, and why it cannot be had just now; "" where it can."""

    format: Format
    refusal: str = ""


def download_make(
    target: Certificate | CertificateVersion,
    format_id: str,
    values: Mapping[str, Any] | None = None,
    *,
    actor: Actor,
    file_name: str = "",
) -> Download:
    """The current version of a certificate, or the version that is given, in one form.

    `values` are the format's options by name, as a form, a flag or JSON gives them. `file_name` is how the file is to
    be called instead of its usual name.
    Raises NotAllowed, InputError (OptionRefused names the option), KeyRefused where the key is not held here or has a
    passphrase of its own, CertificateRefused, ConflictError for a deleted certificate, SecretError.
    """
    certificate, version = _target(target)
    wanted = format_find(format_id)
    _may(certificate, version, wanted, actor=actor)
    options = options_read(wanted.options, values or {})
    material = _material(certificate, version, wanted)
    data = wanted.make(material, options)
    if wanted.has_key:
        audit_record(actor, "certificate.export", certificate, after=_shown(version, wanted))
    return Download(_named(file_name) or wanted.file_name(material), wanted.media_type, data)


def trust_store_make(
    certificates: Sequence[Certificate], format_id: str, values: Mapping[str, Any] | None = None, *, actor: Actor
) -> Download:
    """The chosen CA certificates as a trust store. Raises NotAllowed, InputError, CertificateRefused."""
    wanted = format_find(format_id)
    if Need.TRUSTED not in wanted.needs:
        raise InputError(f"“{wanted.label}” is no trust store.", code="format")
    if not 1 <= len(certificates) <= CHOSEN_LIMIT:
        raise InputError("Choose at least one CA certificate.", advice=f"At most {CHOSEN_LIMIT} go into one store.")
    trusted = []
    for certificate in certificates:
        require(actor, Right.READ, certificate)
        if certificate.current is None or not certificate.current.is_ca:
            raise InputError(f"{certificate.name} is no CA certificate.", advice="Choose CA certificates only.")
        trusted.append(certificate.current.leaf)
    name = certificates[0].name if len(certificates) == 1 else "trust"
    material = Material(name, clock.now(), trusted=tuple(trusted))
    data = wanted.make(material, options_read(wanted.options, values or {}))
    return Download(wanted.file_name(material), wanted.media_type, data)


def downloads_offered(target: Certificate | CertificateVersion, *, actor: Actor) -> list[Offer]:
    """Every format, with the reason where it cannot be had."""
    certificate, version = _target(target)
    key = _key_row(certificate, version)
    without_key = _key_refusal(certificate, key)
    permitted = may_export(actor, certificate)
    return [Offer(each, _refusal(each, version, without_key, permitted=permitted)) for each in formats().values()]


def file_base(certificate: Certificate) -> str:
    """What the names of its files begin with."""
    return file_stem(certificate.name)


def _refusal(wanted: Format, version: CertificateVersion | None, without_key: str, *, permitted: bool) -> str:
    if version is None and wanted.needs & {Need.CERTIFICATE, Need.TRUSTED}:
        return "There is no certificate yet."
    if not wanted.has_key:
        return ""
    return without_key or ("" if permitted else "It holds the private key, which needs the export permission.")


def _target(target: Certificate | CertificateVersion) -> tuple[Certificate, CertificateVersion | None]:
    if isinstance(target, CertificateVersion):
        return target.certificate, target
    return target, target.current


def _may(certificate: Certificate, version: CertificateVersion | None, wanted: Format, *, actor: Actor) -> None:
    require(actor, Right.READ, certificate)
    if certificate.deleted_at is not None:
        raise ConflictError(f"{certificate.name} is deleted.", advice="Restore it first.")
    if not wanted.has_key:
        return
    try:
        require_export(actor, certificate)
    except NotAllowed:
        audit_record(actor, "certificate.export", certificate, after=_shown(version, wanted), result="refused")
        raise


def _shown(version: CertificateVersion | None, wanted: Format) -> dict[str, str]:
    return {"format": wanted.id, "fingerprint": version.fingerprint_sha256 if version else ""}


def _material(certificate: Certificate, version: CertificateVersion | None, wanted: Format) -> Material:
    if version is None and wanted.needs & {Need.CERTIFICATE, Need.TRUSTED}:
        raise InputError(
            f"{certificate.name} has no certificate yet, only a key.", advice="Wait for its CA, or upload its answer."
        )
    chain = chain_of(version) if version else None
    key = _key(certificate, _key_row(certificate, version)) if wanted.has_key else None
    if chain is not None and key is not None:
        pair_check(chain.leaf, key)
    public: PublicKeyTypes | None = chain.leaf.public_key() if chain else None
    if Need.PUBLIC_KEY in wanted.needs and public is None:
        public = public_key_of(certificate)
    return Material(certificate.name, clock.now(), public, chain, key)


def public_key_of(certificate: Certificate) -> PublicKeyTypes:
    """Of a key pair, or of a request that waits for its answer. Raises KeyRefused, SecretError."""
    if certificate.request_pem:
        return csr_read(certificate.request_pem.encode()).public_key
    return _key(certificate, certificate.key).public_key()


def _key_row(certificate: Certificate, version: CertificateVersion | None) -> PrivateKey | None:
    return version.key if version else certificate.key


def _key(certificate: Certificate, row: PrivateKey | None) -> Key:
    refusal = _key_refusal(certificate, row)
    if row is None or refusal:
        code = "key-locked" if row is not None and row.locked else "key-not-here"
        raise KeyRefused(refusal, advice="Take the certificate without its key.", code=code)
    return key_open(row)


def _key_refusal(certificate: Certificate, row: PrivateKey | None) -> str:
    if row is None or not key_is_here(row):
        return f"The private key of {certificate.name} is not held here."
    if row.locked:
        return f"The private key of {certificate.name} has a passphrase that is not stored."
    return ""


def _named(file_name: str) -> str:
    """A wished name, as long as it is a safe one."""
    return file_name if file_name and file_name == file_stem(file_name) else ""
