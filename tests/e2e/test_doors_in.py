"""Files as other programs write them: openssl in its modern and legacy ways, Java's keytool, GnuTLS' certtool."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certs.domain.bundle import bundle_read
from certs.domain.bundle_items import BundleRefused, GivenFile, ItemKind
from certs.domain.bundle_order import Bundle
from tests.harness import counterparts, pki
from tests.harness.need import need

pytestmark = pytest.mark.e2e
PASSWORD = "hünter2 €"  # BMPString and UTF-8 tell themselves apart by it
JAVA = "changeit"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doors")
    root = pki.authority("Doors Root")
    pair = pki.leaf(root, ["a.example.com"])
    (folder / "key.pem").write_text(pair.key_pem)
    (folder / "leaf.pem").write_text(pair.pem)
    (folder / "root.pem").write_text(root.pem)
    return folder


def run(place: Path, *words: str) -> None:
    program = counterparts.find(words[0])
    done = subprocess.run([program, *words[1:]], cwd=place, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout


def read(file: Path, *passwords: str) -> Bundle:
    return bundle_read([GivenFile(file.name, file.read_bytes())], passwords, now=datetime.now(UTC))


PKCS12 = {
    "modern": [],
    "modern without a MAC": ["-nomac"],
    "legacy": ["-legacy"],  # RC2 with 40 bits for the certificates
    "legacy 3DES": ["-legacy", "-descert"],
    "legacy RC2 and RC4": ["-legacy", "-keypbe", "PBE-SHA1-RC2-128", "-certpbe", "PBE-SHA1-RC4-128"],
    "many rounds": ["-iter", "50000"],
    "sha512": ["-macalg", "sha512"],
}


@pytest.mark.parametrize("kind", PKCS12)
def test_pkcs12_of_openssl(place: Path, kind: str) -> None:
    need("openssl")
    file = place / f"{kind}.p12"
    run(
        place,
        *("openssl", "pkcs12", "-export", "-inkey", "key.pem", "-in", "leaf.pem", "-certfile", "root.pem"),
        *("-name", "Größe", "-out", str(file), "-passout", f"pass:{PASSWORD}", *PKCS12[kind]),
    )
    (item,) = read(file, PASSWORD).items
    assert item.kind == ItemKind.PAIR
    assert item.alias == "Größe"
    assert item.chain is not None
    assert item.chain.root is not None
    with pytest.raises(BundleRefused) as wrong:
        read(file, "another")
    assert wrong.value.code == "password-wrong"


@pytest.mark.parametrize("options", [[], ["-keypbe", "NONE", "-certpbe", "NONE", "-nomac"]])
def test_pkcs12_of_openssl_without_a_password(place: Path, options: list[str]) -> None:
    need("openssl")
    file = place / "open.p12"
    run(
        place,
        *("openssl", "pkcs12", "-export", "-inkey", "key.pem", "-in", "leaf.pem", "-out", str(file)),
        *("-passout", "pass:", *options),
    )
    assert read(file).items[0].kind == ItemKind.PAIR


KEYS = {
    "pkcs8": ["pkcs8", "-topk8"],
    "pkcs8 der": ["pkcs8", "-topk8", "-outform", "der"],
    "pkcs8 scrypt": ["pkcs8", "-topk8", "-scrypt"],
    "pkcs8 of before": ["pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES"],
    "pkcs8 of long before": ["pkcs8", "-topk8", "-v1", "PBE-MD5-DES", "-provider", "legacy", "-provider", "default"],
    "traditional": ["ec", "-aes256"],
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_openssl(place: Path, kind: str) -> None:
    need("openssl")
    file = place / kind
    words = ["openssl", *KEYS[kind], "-in", "key.pem", "-out", str(file), "-passout", f"pass:{PASSWORD}"]
    run(place, *words)
    leaf = GivenFile("leaf", (place / "leaf.pem").read_bytes())
    key = GivenFile("key", file.read_bytes())
    (item,) = bundle_read([key, leaf], ["another", PASSWORD], now=datetime.now(UTC)).items
    assert item.kind == ItemKind.PAIR
    with pytest.raises(BundleRefused) as wrong:
        bundle_read([key, leaf], ["another"], now=datetime.now(UTC))
    assert wrong.value.code == "password-wrong"


def test_pkcs7_and_trusted_certificates_of_openssl(place: Path) -> None:
    need("openssl")
    both = ["-certfile", "leaf.pem", "-certfile", "root.pem"]
    run(place, "openssl", "crl2pkcs7", "-nocrl", *both, "-outform", "der", "-out", "all.p7b")
    trusted = ["-trustout", "-addtrust", "serverAuth", "-setalias", "shop", "-out", "trusted.pem"]
    run(place, "openssl", "x509", "-in", "leaf.pem", *trusted)
    (item,) = read(place / "all.p7b").items
    assert item.chain is not None
    assert item.chain.root is not None
    assert read(place / "trusted.pem").items[0].title == "a.example.com"


@pytest.fixture(scope="module")
def java(place: Path) -> Path:
    """A PKCS#12 of keytool with two keys and a trusted certificate, and the same as JKS and JCEKS."""
    need("keytool")
    store = ["-keystore", "java.p12", "-storepass", JAVA]
    for name in "ab":
        made = ["-genkeypair", "-alias", f"Key {name}", "-keyalg", "EC", "-dname", f"CN={name}.test"]
        run(place, "keytool", *made, "-ext", f"san=dns:{name}.test", *store)
    run(place, "keytool", "-importcert", "-noprompt", "-alias", "Our Root", "-file", "root.pem", *store)
    for kind in ("JKS", "JCEKS"):
        target = ["-destkeystore", f"java.{kind.lower()}", "-deststoretype", kind, "-deststorepass", JAVA]
        run(place, "keytool", "-importkeystore", "-srckeystore", "java.p12", "-srcstorepass", JAVA, *target)
    return place


@pytest.mark.parametrize("file", ["java.p12", "java.jks"])
def test_every_entry_of_a_java_key_store(java: Path, file: str) -> None:
    items = {item.title: item for item in read(java / file, JAVA).items}
    assert items.keys() == {"a.test", "b.test", "Doors Root"}
    assert items["a.test"].kind == items["b.test"].kind == ItemKind.PAIR
    assert items["Doors Root"].kind == ItemKind.TRUST
    assert items["a.test"].alias == "key a"
    assert items["Doors Root"].alias.lower() == "our root"
    assert all(item.wanted for item in items.values())
    for passwords, code in (((), "password-needed"), (("another",), "password-wrong")):
        with pytest.raises(BundleRefused) as refused:
            read(java / file, *passwords)
        assert refused.value.code == code


def test_a_jceks_store_is_refused_with_what_to_do(java: Path) -> None:
    with pytest.raises(BundleRefused, match="keytool -importkeystore"):
        read(java / "java.jceks", JAVA)


def test_pkcs12_of_gnutls(place: Path) -> None:
    need("certtool")
    run(
        place,
        *("certtool", "--to-p12", "--load-privkey", "key.pem", "--load-certificate", "leaf.pem", "--p12-name", "shop"),
        *("--password", JAVA, "--outder", "--outfile", "gnutls.p12"),
    )
    (item,) = read(place / "gnutls.p12", JAVA).items
    assert item.kind == ItemKind.PAIR
    assert item.alias == "shop"
