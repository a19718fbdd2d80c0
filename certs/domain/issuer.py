"""A CA as it signs: what its certificate and those above it leave to whatever it signs (RFC 5280)."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID

from certs.domain.certinfo import extension_of
from certs.domain.constraints import Constraints, constraints_of
from certs.domain.errors import InputError, KeyRefused
from certs.domain.keys import Key

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True)
class Issuer:
    """Who signs. `above` runs from its own issuer up to the root; addresses that are empty are left out."""

    certificate: x509.Certificate
    key: Key
    above: tuple[x509.Certificate, ...] = ()
    ca_url: str = ""
    crl_url: str = ""
    ocsp_url: str = ""

    @cached_property
    def name(self) -> x509.Name:
        return self.certificate.subject

    @cached_property
    def not_before(self) -> datetime:
        return self.certificate.not_valid_before_utc

    @cached_property
    def not_after(self) -> datetime:
        """The first end of all above it: no client believes in it any longer."""
        return min(one.not_valid_after_utc for one in (self.certificate, *self.above))

    @cached_property
    def constraints(self) -> tuple[Constraints, ...]:
        return tuple(found for one in (self.certificate, *self.above) if (found := constraints_of(one)))

    @cached_property
    def room_below(self) -> int | None:
        """How many CAs may stand between it and a leaf; None: any number."""
        lengths = [
            basic.path_length - depth
            for depth, one in enumerate((self.certificate, *self.above))
            if (basic := extension_of(one.extensions, x509.BasicConstraints)) and basic.path_length is not None
        ]
        return min(lengths, default=None)

    @cached_property
    def key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return key_identifier_of(self.certificate)

    @cached_property
    def addresses(self) -> tuple[x509.ExtensionType, ...]:
        found: list[x509.ExtensionType] = []
        access = [
            x509.AccessDescription(method, x509.UniformResourceIdentifier(url))
            for method, url in (
                (AuthorityInformationAccessOID.OCSP, self.ocsp_url),
                (AuthorityInformationAccessOID.CA_ISSUERS, self.ca_url),
            )
            if url
        ]
        if access:
            found.append(x509.AuthorityInformationAccess(access))
        if self.crl_url:
            point = x509.DistributionPoint([x509.UniformResourceIdentifier(self.crl_url)], None, None, None)
            found.append(x509.CRLDistributionPoints([point]))
        return tuple(found)


def subject_identifier(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    """Its own, whatever method it was made by; else SHA-1 of the key (RFC 5280 §4.2.1.2)."""
    own = extension_of(certificate.extensions, x509.SubjectKeyIdentifier)
    return own or x509.SubjectKeyIdentifier.from_public_key(public_key_of(certificate))


def key_identifier_of(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """What everything signed by `issuer` names as its key."""
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_identifier(issuer))


def public_key_of(holder: x509.Certificate | x509.CertificateSigningRequest) -> PublicKey:
    """Raises KeyRefused for a kind that is not signed for here."""
    key = holder.public_key()
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        return key
    raise KeyRefused("The key is of a kind that is not signed for here.", advice="Use RSA, EC or Ed25519.")


def issuer_check(certificate: x509.Certificate) -> None:
    """Whether it may sign certificates at all. Raises InputError."""
    basic = extension_of(certificate.extensions, x509.BasicConstraints)
    if basic is None or not basic.ca:
        raise InputError("This certificate is not that of a CA.", advice="Give the certificate of a CA with its key.")
    usage = extension_of(certificate.extensions, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise InputError("Its key usage does not let this CA sign certificates.", advice="Give another CA.")
