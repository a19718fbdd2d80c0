"""What a certificate says, in the few fields that we store, show and compare."""

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from certs.domain.names import names_cover

E = TypeVar("E", bound=x509.ExtensionType)


@dataclass(frozen=True)
class CertInfo:
    fingerprint_sha256: str  # hex, of the DER
    serial: str  # hex, lower case
    subject: str  # RFC 4514
    issuer: str
    issuer_name: str  # its common name, else its organization, else ""
    names: list[str]  # DNS names in lower case, then addresses, as in the SAN; the CN never counts (RFC 9525 §2)
    other_names: list[str]  # e-mail addresses, then URIs, of the SAN
    not_before: datetime  # aware, UTC
    not_after: datetime
    self_signed: bool
    is_ca: bool
    is_client: bool  # its extended key usage names client authentication
    ari_id: str  # RFC 9773 §4.1; empty without an authority key identifier


def certificate_info(certificate: x509.Certificate) -> CertInfo:
    """Expects a certificate that `pem.certificates_read` accepted: its extensions are known to parse."""
    names, other_names = alternative_names_read(certificate.extensions)
    return CertInfo(
        fingerprint_sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        serial=serial_hex(certificate.serial_number),
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        issuer_name=common_name_of(certificate.issuer),
        names=names,
        other_names=other_names,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        self_signed=is_self_signed(certificate),
        is_ca=_is_ca(certificate),
        is_client=_is_client(certificate),
        ari_id=_ari_id(certificate),
    )


def serial_hex(serial: int) -> str:
    """As openssl prints it, in lower case: how serial numbers are stored and compared."""
    return f"{serial:x}"


def extension_of(extensions: x509.Extensions, kind: type[E]) -> E | None:
    """The value of the extension of this kind; None where there is none."""
    return next((each.value for each in extensions if isinstance(each.value, kind)), None)


def covers(info_or_names: CertInfo | Iterable[str], host: str) -> bool:
    """Whether a client that asked for `host` (a name, a wildcard as stored in a binding, or an address) is content."""
    names = info_or_names.names if isinstance(info_or_names, CertInfo) else info_or_names
    return names_cover(names, host)


def is_self_signed(certificate: x509.Certificate) -> bool:
    return certificate.issuer == certificate.subject and is_issued_by(certificate, certificate)


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """By name and signature; dates and constraints are the client's to judge."""
    if certificate.issuer != issuer.subject:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def alternative_names_read(extensions: x509.Extensions) -> tuple[list[str], list[str]]:
    """The SAN's DNS names in lower case and addresses; its e-mail addresses and URIs."""
    found = extension_of(extensions, x509.SubjectAlternativeName)
    if found is None:
        return [], []
    dns = [name.lower() for name in found.get_values_for_type(x509.DNSName)]
    addresses = [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    mails = found.get_values_for_type(x509.RFC822Name)
    others = [*mails, *found.get_values_for_type(x509.UniformResourceIdentifier)]
    return list(dict.fromkeys(dns + addresses)), list(dict.fromkeys(others))


def common_name_of(name: x509.Name) -> str:
    """Its common name, else its organization or unit, else ""."""
    for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME):
        if found := name.get_attributes_for_oid(oid):
            return str(found[0].value)
    return ""


def issuer_urls(certificate: x509.Certificate) -> list[str]:
    """Where its issuer's certificate is said to be (caIssuers, RFC 5280 §4.2.2.1); http and https only."""
    return [
        place.access_location.value
        for place in extension_of(certificate.extensions, x509.AuthorityInformationAccess) or ()
        if place.access_method == AuthorityInformationAccessOID.CA_ISSUERS
        and isinstance(place.access_location, x509.UniformResourceIdentifier)
        and place.access_location.value.lower().startswith(("http://", "https://"))
    ]


def _is_client(certificate: x509.Certificate) -> bool:
    usage = extension_of(certificate.extensions, x509.ExtendedKeyUsage)
    return usage is not None and ExtendedKeyUsageOID.CLIENT_AUTH in usage


def _is_ca(certificate: x509.Certificate) -> bool:
    basic = extension_of(certificate.extensions, x509.BasicConstraints)
    return basic is not None and basic.ca


def _ari_id(certificate: x509.Certificate) -> str:
    """base64url of the key identifier, a dot, base64url of the serial's DER content octets (leading zero kept)."""
    issuer = extension_of(certificate.extensions, x509.AuthorityKeyIdentifier)
    if issuer is None or not issuer.key_identifier:
        return ""
    serial = certificate.serial_number
    octets = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{_base64url(issuer.key_identifier)}.{_base64url(octets)}"


def _base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
