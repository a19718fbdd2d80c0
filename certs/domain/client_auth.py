"""Client certificates (mutual TLS) on the portal's own listener."""

from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.x509.oid import NameOID

from certs.domain.certinfo import extension_of


class Mode(StrEnum):
    """Named as in Java's servers (`clientAuthentication`)."""

    OFF = "off"
    WANT = "want"
    REQUIRED = "required"

    @property
    def label(self) -> str:
        return {"off": "Off", "want": "Optional", "required": "Required"}[self.value]

    def is_stricter_than(self, other: "Mode") -> bool:
        order = list(Mode)
        return order.index(self) > order.index(other)


@dataclass(frozen=True)
class ClientAuth:
    """What a TLS context is told: the mode, and PEM of the authorities whose client certificates are accepted."""

    mode: Mode = Mode.OFF
    authorities_pem: str = ""


def emails_of(certificate: x509.Certificate) -> list[str]:
    """Whom a client certificate names, in lower case: the e-mail addresses of its SAN; without any, those of its
    subject (emailAddress, deprecated by RFC 5280 §4.1.2.6, then the common name)."""
    alternative = extension_of(certificate.extensions, x509.SubjectAlternativeName)
    found = alternative.get_values_for_type(x509.RFC822Name) if alternative else []
    for oid in (NameOID.EMAIL_ADDRESS, NameOID.COMMON_NAME):
        found = found or [str(each.value) for each in certificate.subject.get_attributes_for_oid(oid)]
    return list(dict.fromkeys(each.strip().lower() for each in found if "@" in each))
