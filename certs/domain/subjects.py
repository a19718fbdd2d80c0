"""The subject of a certificate, as people write it (RFC 4514) and as certificates hold it (RFC 5280 §4.1.2.4)."""

import re

from cryptography import x509
from cryptography.x509.oid import NameOID

from certs.domain.errors import InputError

_ALSO = {"E": NameOID.EMAIL_ADDRESS, "EMAILADDRESS": NameOID.EMAIL_ADDRESS, "SERIALNUMBER": NameOID.SERIAL_NUMBER}
_LABELS = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.COUNTRY_NAME: "C",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.STREET_ADDRESS: "STREET",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.USER_ID: "UID",
    NameOID.EMAIL_ADDRESS: "E",
    NameOID.SERIAL_NUMBER: "SERIALNUMBER",
}
SHORT_NAMES = tuple(_LABELS.values())
# Upper bounds of RFC 5280 appendix A.1; the others are not bounded there.
_LONGEST = {"CN": 64, "O": 64, "OU": 64, "C": 2, "ST": 128, "L": 128, "E": 255, "SERIALNUMBER": 64}
_SPACED = re.compile(r"(?<!\\)\s*([,+])\s*(?=[A-Za-z0-9.]+\s*=)")
_EQUALS = re.compile(r"(^|[,+])\s*([A-Za-z][A-Za-z0-9]*|[0-9.]+)\s*=\s*")


def subject_parse(text: str) -> x509.Name:
    """`CN=…,O=…,C=…` with or without spaces after the commas; empty text is the empty name. Raises InputError."""
    plain = _EQUALS.sub(lambda found: f"{found[1]}{found[2].upper()}=", _SPACED.sub(r"\1", text.strip()))
    if not plain:
        return x509.Name([])
    try:
        name = x509.Name.from_rfc4514_string(plain, _ALSO)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"“{_short(text)}” is no subject{f': {error}' if str(error) else ''}.".replace("..", "."),
            advice="Write it like CN=server.example.com,O=Example Ltd,C=DE.",
            code="subject",
        ) from error
    _check(name)
    return name


def subject_text(name: x509.Name) -> str:
    """RFC 4514, with the short names that `subject_parse` reads."""
    return name.rfc4514_string({NameOID.EMAIL_ADDRESS: "E", NameOID.SERIAL_NUMBER: "SERIALNUMBER"})


def subject_values(name: x509.Name, label: str) -> list[str]:
    """What it says of CN, O, C and so on."""
    return [str(attribute.value) for attribute in name if _LABELS.get(attribute.oid) == label]


def common_name(value: str) -> x509.Name:
    """Just a common name, or the empty name where the value does not fit into one."""
    fits = value and len(value) <= _LONGEST["CN"]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, value)] if fits else [])


def _check(name: x509.Name) -> None:
    for attribute in name:
        label, value = _LABELS.get(attribute.oid, attribute.oid.dotted_string), str(attribute.value)
        longest = _LONGEST.get(label)
        if not value.strip() or not value.isprintable():
            raise InputError(f"{label} of the subject is empty or not printable.", code="subject")
        if longest and len(value) > longest:
            raise InputError(
                f"{label} of the subject has {len(value)} characters; at most {longest} are allowed.", code="subject"
            )
        if label == "C" and not re.fullmatch(r"[A-Z]{2}", value):
            raise InputError(f"C of the subject is “{value}”; a country is two capital letters.", code="subject")


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"
