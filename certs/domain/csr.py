"""Certificate signing requests (PKCS#10, RFC 2986) and the names inside them."""

import ipaddress
import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certs.domain.certinfo import alternative_names_read
from certs.domain.errors import InputError, KeyRefused
from certs.domain.keys import Key, key_type_of, signature_hash, spki_sha256
from certs.domain.names import is_address

SIZE_LIMIT = 256 * 1024  # bytes of a request
NAME_LIMIT = 1000
_BLOCK = re.compile(
    rb"-----BEGIN (?P<kind>(?:NEW )?CERTIFICATE REQUEST)-----(?P<body>[^-]*)-----END (?P=kind)-----", re.DOTALL
)
_BOUND = 200  # characters of one subject field; RFC 5280 appendix A.1 has 64 for most, 128 for some


@dataclass(frozen=True)
class Subject:
    """The fields of a subject that people fill in, each one text or empty."""

    common_name: str = ""
    organization: str = ""
    organizational_unit: str = ""
    locality: str = ""
    state: str = ""
    country: str = ""  # two letters, ISO 3166

    @property
    def is_empty(self) -> bool:
        return not any(astuple(self))


# In the order of the distinguished name, the widest first, with the upper bounds of RFC 5280 appendix A.1.
_FIELDS = (
    ("country", NameOID.COUNTRY_NAME, "country", 2),
    ("state", NameOID.STATE_OR_PROVINCE_NAME, "state or province", 128),
    ("locality", NameOID.LOCALITY_NAME, "locality", 128),
    ("organization", NameOID.ORGANIZATION_NAME, "organization", 64),
    ("organizational_unit", NameOID.ORGANIZATIONAL_UNIT_NAME, "organizational unit", 64),
    ("common_name", NameOID.COMMON_NAME, "common name", 64),
)


@dataclass(frozen=True)
class CsrInfo:
    """What a request asks for; its signature was verified, so whoever made it holds the key."""

    request: x509.CertificateSigningRequest
    subject: str  # RFC 4514
    fields: Subject
    names: list[str]  # DNS names in lower case, then addresses, as in the SAN
    other_names: list[str]  # e-mail addresses, then URIs
    key_type: str  # an id of domain.keys.KEY_TYPES, or another size that is accepted
    spki_sha256: str

    @property
    def public_key(self) -> CertificatePublicKeyTypes:
        return self.request.public_key()

    @property
    def pem(self) -> str:
        return self.request.public_bytes(Encoding.PEM).decode("ascii")


def csr_make(key: Key, names: Sequence[str], subject: Subject | None = None) -> str:
    """PEM of a PKCS#10 request with the names in the SAN; its subject is empty (RFC 8555 §7.4) unless one is given.

    `names` are DNS names, addresses, e-mail addresses and URIs; there must be some where the subject is empty.
    Raises InputError naming the field of the subject that cannot be used.
    """
    subject = subject or Subject()
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject_name(subject))
    if names:
        # Critical where the subject is empty: RFC 5280 §4.2.1.6.
        builder = builder.add_extension(alternative_names(names), critical=subject.is_empty)
    return builder.sign(key, signature_hash(key)).public_bytes(Encoding.PEM).decode("ascii")


def csr_read(data: bytes) -> CsrInfo:
    """One request, PEM (with text around it) or DER. Raises InputError (code "csr") where it cannot be read, was not
    signed by its own key or asks for what no certificate holds; KeyRefused for a key that is too weak."""
    request = _load(data)
    try:
        signed, key = request.is_signature_valid, request.public_key()
        names, other_names = alternative_names_read(request.extensions)
        subject, fields = request.subject.rfc4514_string(), subject_of(request.subject)
    except _UNREADABLE as error:
        raise _refused("The signing request holds a part that cannot be read.") from error
    if not signed:
        raise _refused("The signature of this request is not that of its own key.")
    if len(names) + len(other_names) > NAME_LIMIT:
        raise _refused(
            f"The request holds {len(names) + len(other_names)} names; at most {NAME_LIMIT} are taken.",
            "Divide them among several certificates.",
        )
    return CsrInfo(request, subject, fields, names, other_names, key_type_of(key), spki_sha256(key))


def subject_name(subject: Subject) -> x509.Name:
    """Raises InputError naming the field."""
    attributes = []
    for field, oid, label, longest in _FIELDS:
        value = getattr(subject, field).strip()
        if not value:
            continue
        if len(value) > longest or not value.isprintable():
            raise InputError(f"The {label} is too long or holds a control character.", advice=f"At most {longest}.")
        if field == "country" and not re.fullmatch(r"[A-Za-z]{2}", value):
            raise InputError("A country is two letters.", advice="For example US, DE or JP.", code="country")
        attributes.append(x509.NameAttribute(oid, value.upper() if field == "country" else value))
    return x509.Name(attributes)


def subject_of(name: x509.Name) -> Subject:
    """The fields that people fill in; of several of one kind the first."""
    found = {}
    for field, oid, _, _ in _FIELDS:
        if values := name.get_attributes_for_oid(oid):
            found[field] = str(values[0].value)[:_BOUND]
    return Subject(**found)


def alternative_names(names: Sequence[str]) -> x509.SubjectAlternativeName:
    """`names` are DNS names, addresses, e-mail addresses (with an @) and URIs (with a colon)."""
    return x509.SubjectAlternativeName([_general_name(name) for name in names])


def _general_name(name: str) -> x509.GeneralName:
    if is_address(name):
        return x509.IPAddress(ipaddress.ip_address(name))
    if ":" in name:
        return x509.UniformResourceIdentifier(name)
    return x509.RFC822Name(name) if "@" in name else x509.DNSName(name)


# The library's parsers raise these for parts of a request that are broken.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    KeyRefused,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def _load(data: bytes) -> x509.CertificateSigningRequest:
    if len(data) > SIZE_LIMIT:
        raise _refused(f"The signing request is larger than {SIZE_LIMIT // 1024} KiB.")
    block = _BLOCK.search(data)
    if block is None and data[:1] != b"\x30":
        begun = b"CERTIFICATE REQUEST-----" in data
        raise _refused("The signing request is cut off." if begun else "This is not a signing request.")
    try:
        der = data if block is None else b64decode(b"".join(block["body"].split()), validate=True)
        return x509.load_der_x509_csr(der)
    except _UNREADABLE as error:
        raise _refused("The signing request cannot be read.") from error


def _refused(
    message: str, advice: str = "Give the text that begins with -----BEGIN CERTIFICATE REQUEST-----."
) -> InputError:
    return InputError(message, advice=advice, code="csr")
