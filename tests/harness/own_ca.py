"""Our own CAs for tests, and what openssl and GnuTLS say of what they sign."""

import subprocess
from pathlib import Path

from certs.domain.wishes import Wish
from certs.models import Authority, Certificate, PortalState
from certs.services.authorities import authority_create
from certs.services.portal_state import state_update
from portal import clock

BASE = "http://pki.example.com"
ROOT = Wish(subject="CN=Example Root,O=Example Ltd,C=DE", days=3650)
BELOW = Wish(subject="CN=Example Issuing,O=Example Ltd,C=DE", days=1825, path_length=0)
PASSPHRASE = "correct horse battery staple"


def address() -> None:
    """As a person has confirmed it."""
    if not PortalState.objects.filter(pki_base_url=BASE).exists():
        state_update(pki_base_url=BASE, pki_base_url_confirmed_at=clock.now())


def root(wish: Wish = ROOT, *, passphrase: str = "") -> Authority:
    address()
    return authority_create(wish, passphrase=passphrase, actor="test")


def below(parent: Authority, wish: Wish = BELOW, *, passphrase: str = "", parent_passphrase: str = "") -> Authority:
    return authority_create(
        wish, parent=parent, passphrase=passphrase, parent_passphrase=parent_passphrase, actor="test"
    )


def pem_of(row: Authority | Certificate) -> str:
    certificate = row.certificate if isinstance(row, Authority) else row
    assert certificate.current is not None
    return certificate.current.leaf_pem


def openssl_verify(place: Path, certificate: Certificate, anchor: str, *options: str) -> str:
    """ "ok", or what openssl says of the chain as a server sends it; `anchor` is the PEM of the one root it trusts."""
    assert certificate.current is not None
    return openssl_verify_pem(place, certificate.current.leaf_pem, certificate.current.chain_pem, anchor, *options)


def openssl_verify_pem(place: Path, leaf: str, chain: str, anchor: str, *options: str) -> str:
    for name, text in {"root": anchor, "chain": chain, "leaf": leaf}.items():
        (place / f"{name}.pem").write_text(text)
    untrusted = ("-untrusted", str(place / "chain.pem")) if chain else ()
    command = ["openssl", "verify", "-x509_strict", "-CAfile", str(place / "root.pem"), *untrusted, *options]
    run = subprocess.run([*command, str(place / "leaf.pem")], capture_output=True, text=True, check=False)
    return "ok" if run.returncode == 0 else run.stdout + run.stderr


def certtool_verify(place: Path, certificate: Certificate, anchor: str) -> str:
    """The same by GnuTLS."""
    assert certificate.current is not None
    (place / "anchor.pem").write_text(anchor)
    chain = certificate.current.fullchain_pem + ("" if certificate.current.fullchain_pem.endswith(anchor) else anchor)
    command = ["certtool", "--verify", "--load-ca-certificate", str(place / "anchor.pem"), "--verify-profile", "medium"]
    run = subprocess.run(command, input=chain, capture_output=True, text=True, check=False)
    return "ok" if run.returncode == 0 else run.stdout + run.stderr
