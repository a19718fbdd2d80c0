"""Certificate signing requests and the names inside them."""

import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certs.domain.keys import Key, signature_hash
from certs.domain.names import is_address


def csr_make(key: Key, names: Sequence[str]) -> str:
    """PEM of a PKCS#10 request with the names in the SAN and an empty subject (RFC 8555 §7.4)."""
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        # Critical where the subject is empty: RFC 5280 §4.2.1.6.
        .add_extension(alternative_names(names), critical=True)
        .sign(key, signature_hash(key))
    )
    return request.public_bytes(Encoding.PEM).decode("ascii")


def alternative_names(names: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_general_name(name) for name in names])


def _general_name(name: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(name)) if is_address(name) else x509.DNSName(name)
