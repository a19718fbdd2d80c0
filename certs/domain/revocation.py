"""Revocation: the reasons a person may give, and what a CRL says of a certificate (RFC 5280 §5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from certs.domain.certinfo import extension_of
from certs.domain.errors import InputError

UNSPECIFIED = "unspecified"
KEY_COMPROMISE = "keyCompromise"
# RFC 5280 §5.3.1. Baseline Requirements 7.2.2 leave subscribers these; CAs refuse the rest.
REASONS: dict[str, tuple[int, str]] = {
    UNSPECIFIED: (0, "No reason given"),
    KEY_COMPROMISE: (1, "The private key is known to somebody else"),
    "affiliationChanged": (3, "The organization named in it has changed"),
    "superseded": (4, "Replaced by another certificate"),
    "cessationOfOperation": (5, "The names are no longer mine, or no longer used"),
}
HOLD = "certificateHold"
CA_COMPROMISE = "cACompromise"
# What an authority of our own knows besides: a hold can be taken back, a CA can lose its key.
OWN_REASONS: dict[str, tuple[int, str]] = {
    **REASONS,
    CA_COMPROMISE: (2, "The key of the CA that it belongs to is known to somebody else"),
    HOLD: (6, "On hold: it can be released again"),
    "privilegeWithdrawn": (9, "Its holder may no longer use it"),
}
CRL_REASONS = frozenset(OWN_REASONS) | {"aACompromise"}
CLOCK_TOLERANCE = timedelta(minutes=10)


class CrlRefused(InputError):
    """The list cannot tell: why, in a sentence."""

    code = "crl"


@dataclass(frozen=True)
class Entry:
    at: datetime
    reason: str  # a name of RFC 5280 §5.3.1


def reason_number(reason: str, reasons: Mapping[str, tuple[int, str]] = REASONS) -> int:
    """As RFC 5280 §5.3.1 numbers it; `reasons` are those that the CA takes. Raises InputError."""
    if reason not in reasons:
        raise InputError(f"“{reason}” is no reason for a revocation.", advice=f"Use one of {', '.join(reasons)}.")
    return reasons[reason][0]


def crl_urls(certificate: x509.Certificate) -> list[str]:
    """Where the CA publishes the lists that this certificate would be on, whole lists of the issuer itself only."""
    points = extension_of(certificate.extensions, x509.CRLDistributionPoints) or ()
    names = [name for point in points if not point.reasons and not point.crl_issuer for name in point.full_name or ()]
    return [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]


def crl_read(data: bytes, issuer: x509.Certificate, url: str, now: datetime) -> x509.CertificateRevocationList:
    """A current list, signed by the issuer, that is about all its server certificates, or about those that name `url`.

    Raises CrlRefused for anything else: from another list's silence nothing follows.
    """
    try:
        load = x509.load_pem_x509_crl if data.lstrip().startswith(b"-----BEGIN") else x509.load_der_x509_crl
        crl = load(data)
        # A key of a kind that cannot sign lists raises TypeError, which is caught below.
        signed = crl.issuer == issuer.subject and crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
        _scope_check(crl, url)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.DuplicateExtension) as error:
        raise CrlRefused("What it answers is not a revocation list.") from error
    if not signed:
        raise CrlRefused("The revocation list is not signed by the certificate's issuer.")
    if crl.last_update_utc > now + CLOCK_TOLERANCE:
        raise CrlRefused("The revocation list is from the future: compare this server's clock.")
    if crl.next_update_utc is None or crl.next_update_utc <= now:
        raise CrlRefused("The revocation list is out of date.")
    return crl


def crl_entry(crl: x509.CertificateRevocationList, serial: int) -> Entry | None:
    found = crl.get_revoked_certificate_by_serial_number(serial)
    if found is None:
        return None
    try:
        reason = found.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
    except (x509.ExtensionNotFound, ValueError):
        reason = UNSPECIFIED
    return Entry(found.revocation_date_utc, reason)


def _scope_check(crl: x509.CertificateRevocationList, url: str) -> None:
    """RFC 5280 §6.3.3 (b): the list must cover the certificate, and every critical extension must be known."""
    for extension in crl.extensions:
        value = extension.value
        if isinstance(value, x509.DeltaCRLIndicator):
            raise CrlRefused("The revocation list tells changes only.")
        if isinstance(value, x509.IssuingDistributionPoint):
            partial = value.indirect_crl or value.only_contains_ca_certs or value.only_contains_attribute_certs
            if partial or value.only_some_reasons:
                raise CrlRefused("The revocation list is not about certificates of this kind.")
            names = [name.value for name in value.full_name or ()]
            if names and url not in names:
                raise CrlRefused("The revocation list is that of other certificates.")
        elif extension.critical:
            raise CrlRefused("The revocation list has a part that is not known here.")
