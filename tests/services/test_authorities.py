"""Our own CAs, judged by openssl and GnuTLS."""

import subprocess
from pathlib import Path

import pytest

from certs.domain.authority import Wish
from certs.models import Authority, Certificate, IssuedCertificate
from certs.services.authorities import authority_create, authority_issue
from certs.services.pki import pki_base_url_confirm

pytestmark = pytest.mark.django_db
ROOT = Wish(subject="CN=Example Root,O=Example Ltd,C=DE", days=3650)
BELOW = Wish(subject="CN=Example Issuing,O=Example Ltd,C=DE", days=1825, path_length=0)


@pytest.fixture(autouse=True)
def _address() -> None:
    pki_base_url_confirm("http://pki.example.com", actor="test")


def verify(tmp_path: Path, certificate: Certificate, root: Authority, *options: str) -> str:
    """What openssl says of the chain as a server sends it; it trusts the root alone."""
    version, anchor = certificate.current, root.certificate.current
    assert version is not None
    assert anchor is not None
    files = {"root": anchor.leaf_pem, "chain": version.chain_pem, "leaf": version.leaf_pem}
    for name, text in files.items():
        (tmp_path / f"{name}.pem").write_text(text)
    untrusted = ("-untrusted", str(tmp_path / "chain.pem")) if version.chain_pem else ()
    command = ["openssl", "verify", "-x509_strict", "-CAfile", str(tmp_path / "root.pem"), *untrusted, *options]
    run = subprocess.run([*command, str(tmp_path / "leaf.pem")], capture_output=True, text=True, check=False)
    return "ok" if run.returncode == 0 else run.stdout + run.stderr


def test_a_root_and_an_intermediate_issue_a_server_certificate(tmp_path: Path) -> None:
    root = authority_create(ROOT, actor="test")
    below = authority_create(BELOW, parent=root, actor="test")
    made = authority_issue(below, Wish(hosts=("www.example.com", "10.0.0.7")), actor="test")
    assert verify(tmp_path, made, root, "-purpose", "sslserver", "-verify_hostname", "www.example.com") == "ok"
    assert made.current is not None
    assert made.current.key is not None
    assert made.names == ["www.example.com", "10.0.0.7"]
    assert IssuedCertificate.objects.filter(authority=below, serial=made.current.serial).exists()
