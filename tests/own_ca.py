"""Authorities of our own for tests, and openssl as their client."""

import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from certs.domain.pem import certificates_read
from certs.domain.wishes import Wish
from certs.models import Authority, Certificate, CertificateVersion
from certs.services.authorities import authority_create
from certs.services.issued import authority_issue
from certs.services.pki import pki_base_url, pki_base_url_confirm

BASE = "http://pki.example.com"
PASSPHRASE = "correct horse battery staple"


def root(name: str = "Our Root", *, passphrase: str = "", crl_days: int = 7, base: str = BASE) -> Authority:
    """Its address is confirmed where none is yet."""
    if not pki_base_url():
        pki_base_url_confirm(base, actor="test")
    wish = Wish(profile="root", subject=f"CN={name}", days=3650)
    return authority_create(wish, passphrase=passphrase, crl_days=crl_days, actor="test")


def below(parent: Authority, name: str = "Our Intermediate", *, parent_passphrase: str = "") -> Authority:
    wish = Wish(profile="intermediate", subject=f"CN={name}", days=1825)
    return authority_create(wish, parent=parent, parent_passphrase=parent_passphrase, actor="test")


def leaf(
    authority: Authority, name: str = "www.example.com", *, passphrase: str = "", auto_renew: bool = False
) -> Certificate:
    wish = Wish(hosts=(name,), days=90)
    return authority_issue(authority, wish, passphrase=passphrase, auto_renew=auto_renew, actor="test")


def version(certificate: Certificate) -> CertificateVersion:
    found = Certificate.objects.select_related("current__key", "current__certificate").get(pk=certificate.pk).current
    assert found is not None
    return found


def parsed(certificate: Certificate) -> x509.Certificate:
    return certificates_read(version(certificate).leaf_pem.encode())[0]


def crl(authority: Authority) -> x509.CertificateRevocationList:
    authority.refresh_from_db()
    assert authority.crl_der is not None
    return x509.load_der_x509_crl(bytes(authority.crl_der))


def on_list(authority: Authority, certificate: Certificate) -> bool:
    return crl(authority).get_revoked_certificate_by_serial_number(parsed(certificate).serial_number) is not None


def asked(authority: Authority, certificate: Certificate, *, nonce: bytes | None = None, sha256: bool = False) -> bytes:
    digest = hashes.SHA256() if sha256 else hashes.SHA1()
    builder = ocsp.OCSPRequestBuilder().add_certificate(parsed(certificate), parsed(authority.certificate), digest)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def openssl(*words: str | Path, cwd: Path) -> str:
    """What it prints, whether it is content or not."""
    run = subprocess.run(
        ["openssl", *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=30, check=False
    )
    return run.stdout + run.stderr
