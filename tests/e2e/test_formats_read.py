"""What leaves here is read by Java's keytool, openssl and GnuTLS; and what keytool writes is read here."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from certs.domain.formats.base import ALL, Material, format_find
from certs.domain.jks import Entry, KeyEntry, LockedEntry, TrustedEntry, jks_read, jks_write
from certs.domain.keys import Key, key_generate, spki_sha256
from certs.domain.options import options_read
from certs.domain.pem import Chain, certificates_read, chain_order
from certs.domain.pkcs12 import pkcs12_read
from tests.harness import pki

pytestmark = pytest.mark.e2e
NOW = datetime(2026, 11, 21, 22, tzinfo=UTC)
ROOT = pki.authority("Root CA")
MIDDLE = pki.authority("Middle CA", ROOT)
PASSWORD = "a pass-word 1"
KEYS: dict[str, Key] = {
    **{kind: key_generate(kind) for kind in ("ec-p256", "ec-p384", "ed25519", "rsa-2048")},
    "ec-p521": ec.generate_private_key(ec.SECP521R1()),
}
LEAVES = {kind: pki.leaf(MIDDLE, [f"{kind}.example.com"], key=key).certificate for kind, key in KEYS.items()}
Run = Callable[..., str]
QUICK = ("-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC", "-J-Xmx128m")  # a start of Java costs more than its work


def material(kind: str = "ec-p256") -> Material:
    chain = Chain(LEAVES[kind], (MIDDLE.certificate,), ROOT.certificate)
    return Material(f"{kind}.example.com", NOW, KEYS[kind].public_key(), chain, KEYS[kind])


def written(format_id: str, kind: str = "ec-p256", **options: Any) -> bytes:
    found = format_find(format_id)
    return found.make(material(kind), options_read(found.options, options))


def colons(certificate: Any) -> str:
    return str(certificate.fingerprint(hashes.SHA256()).hex(":")).upper()


def same(one: Key, other: Key) -> bool:
    return spki_sha256(one.public_key()) == spki_sha256(other.public_key())


@pytest.fixture
def run(tmp_path: Path, need: Callable[..., list[Path]]) -> Run:
    """One of the programs, in a directory of its own; what it printed."""

    def call(name: str, *arguments: str) -> str:
        (program,) = need(name)
        if name == "keytool":
            arguments = (*QUICK, *arguments)
        done = subprocess.run(
            [program, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{name} {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    return call


def test_java_lists_and_opens_our_key_store(run: Run, tmp_path: Path) -> None:
    """Every kind of key in one store, taken over by Java into a PKCS#12 of its own, which needs the keys opened."""
    entries: list[Entry] = [KeyEntry(kind, NOW, KEYS[kind], (LEAVES[kind], MIDDLE.certificate)) for kind in KEYS]
    entries += [TrustedEntry("root ä𝄞", NOW, ROOT.certificate)]
    (tmp_path / "ours.jks").write_bytes(jks_write(entries, PASSWORD))
    listed = run("keytool", "-J-Dfile.encoding=UTF-8", "-list", "-v", "-keystore", "ours.jks", "-storepass", PASSWORD)
    assert "Keystore type: JKS" in listed
    assert f"Your keystore contains {len(entries)} entries" in listed
    assert listed.count("Entry type: PrivateKeyEntry") == len(KEYS)
    assert listed.count("Entry type: trustedCertEntry") == 1
    assert listed.count("Certificate chain length: 2") == len(KEYS)
    for certificate in (*LEAVES.values(), ROOT.certificate):
        assert colons(certificate) in listed
    source = ("-srckeystore", "ours.jks", "-srcstorepass", PASSWORD, "-srcstoretype", "JKS")
    target = ("-destkeystore", "java.p12", "-deststorepass", PASSWORD, "-deststoretype", "PKCS12", "-noprompt")
    run("keytool", "-importkeystore", *source, *target)
    taken = pkcs12_read((tmp_path / "java.p12").read_bytes(), [PASSWORD])
    assert {each.alias for each in taken.keys} == set(KEYS)
    assert all(same(each.key, KEYS[each.alias]) for each in taken.keys)


def test_we_open_javas_key_store(run: Run, tmp_path: Path) -> None:
    """With capital letters in the alias, and a key whose password is another."""
    store = ("-keystore", "java.jks", "-storetype", "JKS", "-storepass", PASSWORD)
    made = ("-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN=Java", "-validity", "10")
    run("keytool", "-genkeypair", *store, *made, "-alias", "MyServer", "-keypass", "another-password")
    (tmp_path / "root.pem").write_text(ROOT.pem)
    run("keytool", "-importcert", *store, "-alias", "Root", "-file", "root.pem", "-noprompt")
    data = (tmp_path / "java.jks").read_bytes()
    by_alias = {entry.alias: entry for entry in jks_read(data, PASSWORD)}
    assert isinstance(by_alias["myserver"], LockedEntry)
    assert isinstance(trusted := by_alias["root"], TrustedEntry)
    assert trusted.certificate == ROOT.certificate
    by_alias = {entry.alias: entry for entry in jks_read(data, PASSWORD, ["another-password"])}
    assert isinstance(own := by_alias["myserver"], KeyEntry)
    assert own.chain[0].public_key() == own.key.public_key()
    # Written again by us with the locked key untouched, Java still opens it with that password.
    (tmp_path / "again.jks").write_bytes(jks_write(jks_read(data, PASSWORD), "new-password"))
    request = run(
        *("keytool", "-certreq", "-keystore", "again.jks", "-storepass", "new-password"),
        *("-alias", "MYSERVER", "-keypass", "another-password"),
    )
    assert "BEGIN NEW CERTIFICATE REQUEST" in request


@pytest.mark.parametrize("encryption", ["modern", "legacy"])
def test_java_openssl_and_gnutls_open_our_pkcs12(run: Run, tmp_path: Path, encryption: str) -> None:
    data = written("pkcs12", encryption=encryption, password=PASSWORD, alias="Server 1", root=True)
    (tmp_path / "ours.p12").write_bytes(data)
    listed = run("keytool", "-list", "-v", "-keystore", "ours.p12", "-storetype", "PKCS12", "-storepass", PASSWORD)
    assert "Alias name: server 1" in listed
    assert "Certificate chain length: 3" in listed
    assert colons(LEAVES["ec-p256"]) in listed
    old = ["-legacy"] if encryption == "legacy" else []
    opened = run("openssl", "pkcs12", "-in", "ours.p12", "-passin", f"pass:{PASSWORD}", "-nodes", *old).encode()
    assert same(load_pem_private_key(opened, None), KEYS["ec-p256"])  # type: ignore[arg-type]
    assert chain_order(certificates_read(opened)).root == ROOT.certificate
    seen = run("certtool", "--p12-info", "--inder", "--infile", "ours.p12", "--password", PASSWORD)
    assert seen.count("BEGIN CERTIFICATE") == 3
    assert "PRIVATE KEY-----" in seen


def test_java_opens_our_trust_stores(run: Run, tmp_path: Path) -> None:
    for name, kind in (("truststore-p12", "PKCS12"), ("truststore-jks", "JKS")):
        (tmp_path / name).write_bytes(written(name, password=PASSWORD, what=ALL))
        listed = run("keytool", "-list", "-keystore", name, "-storetype", kind, "-storepass", PASSWORD)
        assert listed.count("trustedCertEntry") == 2, listed
        assert colons(ROOT.certificate) in listed


def test_openssl_reads_what_has_no_password_and_gnutls_the_bundle(run: Run, tmp_path: Path) -> None:
    (tmp_path / "open.p12").write_bytes(written("pkcs12", encryption="none"))
    opened = run("openssl", "pkcs12", "-in", "open.p12", "-passin", "pass:", "-nodes")
    assert same(load_pem_private_key(opened.encode(), None), KEYS["ec-p256"])  # type: ignore[arg-type]
    for form in ("der", "pem"):
        (tmp_path / "chain.p7b").write_bytes(written("pkcs7", form=form, root=True))
        printed = run("openssl", "pkcs7", "-print_certs", "-inform", form, "-in", "chain.p7b")
        assert set(certificates_read(printed.encode())) == {LEAVES["ec-p256"], MIDDLE.certificate, ROOT.certificate}
        inner = ["--inder"] if form == "der" else []
        assert run("certtool", "--p7-info", *inner, "--infile", "chain.p7b").count("BEGIN CERTIFICATE") == 3


@pytest.mark.parametrize("kind", sorted(KEYS))
def test_openssl_reads_every_kind_of_key_in_every_form(run: Run, tmp_path: Path, kind: str) -> None:
    forms: list[tuple[str, dict[str, str]]] = [("key", {}), ("key-encrypted", {"password": PASSWORD}), ("key-der", {})]
    if kind != "ed25519":
        forms.append(("key", {"form": "traditional"}))
    plain = KEYS[kind].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for number, (name, options) in enumerate(forms):
        file = f"{number}.key"
        (tmp_path / file).write_bytes(written(name, kind, **options))
        secret = ("-passin", f"pass:{PASSWORD}") if options.get("password") else ()
        inner = ("-inform", "der") if name == "key-der" else ()
        assert run("openssl", "pkey", "-in", file, *secret, *inner) == plain
    (tmp_path / "leaf.cer").write_bytes(written("der", kind))
    assert colons(LEAVES[kind]) in run(
        "openssl", "x509", "-inform", "der", "-in", "leaf.cer", "-noout", "-sha256", "-fingerprint"
    )
    (tmp_path / "ca.pem").write_bytes(written("trust-pem", kind))
    (tmp_path / "full.pem").write_bytes(written("fullchain", kind))
    assert "OK" in run("openssl", "verify", "-CAfile", "ca.pem", "-untrusted", "full.pem", "full.pem")
