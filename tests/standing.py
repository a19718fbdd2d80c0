"""A portal that people reach at https://portal.example.com: its certificates, addresses and clock, as rows only."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings

from certs.models import Binding, Certificate, Listener
from certs.services.keys import key_import
from certs.services.nodes import node_name
from certs.services.portal_state import generation_bump, state_update
from certs.services.versions import version_add

HOST = "portal.example.com"
URL = f"https://{HOST}"


@dataclass(frozen=True)
class Ca:
    """A root as browsers accept them: with key usage, which the test harness's plain CA leaves out."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write_to(self, file: Path) -> str:
        from cryptography.hazmat.primitives.serialization import Encoding

        file.write_bytes(b"no PEM here\n" + self.certificate.public_bytes(Encoding.PEM))
        return str(file)


def ca_make(name: str = "A Root") -> Ca:
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    builder = (
        _builder(name, name, key.public_key(), days=3650)
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(usage, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    return Ca(builder.sign(key, hashes.SHA256()), key)


def certificate_make(
    ca: Ca | None, names: list[str], *, days: float = 90, is_test: bool = False, source: str = "acme"
) -> Certificate:
    """With its first version; self-signed without a CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = ca.certificate.subject.rfc4514_string().removeprefix("CN=") if ca else names[0]
    builder = (
        _builder(names[0], issuer, key.public_key(), days=days)
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    )
    if ca:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), False)
    leaf = builder.sign(ca.key if ca else key, hashes.SHA256())
    certificate = Certificate.objects.create(name=names[0], names=sorted(names), source=source, auto_renew=True)
    version_add(certificate, leaf=leaf, chain=[], key=key_import(key), is_test=is_test)
    return certificate


def certificate_bound(ca: Ca | None, names: list[str], *, server_name: str = "", **fields: object) -> Certificate:
    """Bound as it stands, past the checks of the service: rules must hold however it came to be."""
    certificate = certificate_make(ca, names, **fields)  # type: ignore[arg-type]
    Binding.objects.update_or_create(server_name=server_name, defaults={"certificate": certificate})
    generation_bump()
    return certificate


def stand(*, url: str = URL, http: int = 80, https: int = 443) -> None:
    """The public URL and the listeners of this node."""
    state_update(public_url=url)
    for protocol, port in (("http", http), ("https", https)):
        Listener.objects.update_or_create(
            node=node_name(), protocol=protocol, defaults={"addresses": ["0.0.0.0", "::"], "port": port}
        )


def clock_move(**by: float) -> None:
    """Move the portal's clock to that distance from real time: `clock_move(days=3)`; nothing moves it back to now."""
    settings.TEST_CLOCK_FILE.write_text(str(timedelta(**by).total_seconds()))


def _builder(subject: str, issuer: str, key: ec.EllipticCurvePublicKey, *, days: float) -> x509.CertificateBuilder:
    start = datetime.now(UTC) - timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
    )
