"""What people hand over: recognised, put in order, paired; and what is broken is a sentence in good time."""

import random
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
from asn1crypto.keys import EncryptedPrivateKeyInfo
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.domain import der
from certs.domain.bundle import FILE_LIMIT, SIZE_LIMIT, TOTAL_LIMIT, bundle_read
from certs.domain.bundle_items import NAME_LIMIT, BundleRefused, GivenFile, Item, ItemKind
from certs.domain.bundle_order import Bundle
from certs.domain.certinfo import issuer_urls
from certs.domain.errors import BinderyError, InputError, StoreRefused
from certs.domain.pbe import Effort, Stretching, pkcs12_derive
from certs.domain.pkcs12 import pkcs12_read
from certs.domain.texts import text_of
from tests.harness import bundles, pki
from tests.harness.bundles import PASSWORD, Sample

NOW = datetime.now(UTC)
# A second of a machine that does nothing else; this one does, and a test must not fail by that.
SECONDS = 5.0
# Broken certificates make the library frown.
frowns = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def read(*given: bytes | str, password: str = PASSWORD, roots: tuple[pki.Pair, ...] = ()) -> Bundle:
    files = [
        GivenFile(f"{number}", one if isinstance(one, bytes) else one.encode()) for number, one in enumerate(given)
    ]
    return bundle_read(files, [password] if password else [], now=NOW, roots=[one.certificate for one in roots])


def only(bundle: Bundle) -> Item:
    assert len(bundle.items) == 1
    return bundle.items[0]


def refusal(*given: bytes) -> BinderyError | None:
    """What is said of them; None where they were read, and then all of it holds together. In good time, either way."""
    started = time.monotonic()
    refused: BinderyError | None = None
    try:
        found = bundle_read([GivenFile("x", each) for each in given], [PASSWORD], now=NOW)
    except BinderyError as error:
        refused = error
    assert time.monotonic() - started < SECONDS
    if refused is not None:
        assert refused.message.rstrip()[-1] in ".!?”"
        return refused
    for item in found.items:
        assert item.title
        if item.chain and item.key:
            assert item.key.public_key() == item.chain.leaf.public_key()
    return None


def codes(item: Item) -> set[str]:
    return {remark.code for remark in item.remarks}


@pytest.mark.parametrize("sample", bundles.samples(), ids=lambda sample: sample.name)
def test_every_form_is_recognised_by_its_content(sample: Sample) -> None:
    found = read(sample.data)
    chains = [item.chain for item in found.items if item.chain]
    certificates = {one for each in chains for one in (each.leaf, *each.intermediates, each.root) if one}
    assert len(certificates) == sample.certificates
    assert len([item for item in found.items if item.key]) == sample.keys
    assert not any(item.refused for item in found.items)
    if sample.certificates and sample.keys:
        pair = next(item for item in found.items if item.kind == ItemKind.PAIR)
        assert pair.chain is not None
        assert pair.chain.leaf == bundles.chain()[2].certificate


@pytest.mark.parametrize("sample", [one for one in bundles.samples() if one.is_locked], ids=lambda sample: sample.name)
def test_a_wrong_password_is_told_from_none_at_all(sample: Sample) -> None:
    with pytest.raises(BundleRefused) as missing:
        read(sample.data, password="")
    assert missing.value.code == "password-needed"
    with pytest.raises(BundleRefused) as wrong:
        read(sample.data, password="hunter3")
    assert wrong.value.code == "password-wrong"
    assert "hunter3" not in str(wrong.value)


class TestOrder:
    def test_the_chain_is_put_in_order_whatever_file_it_is_in(self) -> None:
        root, middle, leaf = bundles.chain()
        item = only(read(root.pem, leaf.key_pem, middle.pem, leaf.pem))
        assert item.chain is not None
        assert item.chain.leaf == leaf.certificate
        assert item.chain.intermediates == (middle.certificate,)
        assert item.chain.root == root.certificate
        assert item.kind == ItemKind.PAIR
        assert not item.missing
        assert not item.remarks

    def test_a_missing_issuer_is_named_unless_it_is_known(self) -> None:
        root, middle, leaf = bundles.chain()
        item = only(read(leaf.pem))
        assert item.missing == "Bundle Intermediate"
        assert "incomplete" in codes(item)
        assert only(read(leaf.pem, middle.pem)).missing == "Bundle Root"
        assert not only(read(leaf.pem, middle.pem, roots=(root,))).missing

    def test_a_root_of_the_same_name_that_did_not_sign_completes_nothing(self) -> None:
        _, middle, leaf = bundles.chain()
        assert only(read(leaf.pem, middle.pem, roots=(pki.authority("Bundle Root"),))).missing == "Bundle Root"

    def test_several_leaves_are_several_items_with_their_own_keys(self) -> None:
        root, *_ = bundles.chain()
        pairs = [pki.leaf(root, [f"{name}.example"]) for name in "abc"]
        found = read(*[one.key_pem for one in reversed(pairs)], *[one.pem for one in pairs], root.pem)
        assert [item.title for item in found.items] == ["a.example", "b.example", "c.example"]
        assert all(item.kind == ItemKind.PAIR and item.chain and item.chain.root for item in found.items)

    def test_a_key_that_fits_nothing_is_not_saved_unasked(self) -> None:
        _, _, leaf = bundles.chain()
        stray = pki.leaf(None, ["x.example"])
        certificate, key = read(leaf.pem, stray.key_pem).items
        assert "key-missing" in codes(certificate)
        assert key.kind == ItemKind.KEY
        assert not key.wanted
        assert only(read(stray.key_pem)).wanted

    def test_a_second_root_is_not_saved_unasked(self) -> None:
        _, _, leaf = bundles.chain()
        stray = pki.authority("Stray")
        first, second = read(leaf.pem, leaf.key_pem, stray.pem).items
        assert first.wanted
        assert not second.wanted
        assert "companion" in codes(second)
        assert only(read(stray.pem)).wanted

    def test_an_authority_with_its_key_stands_for_itself_beside_what_it_issued(self) -> None:
        root, middle, leaf = bundles.chain()
        found = read(leaf.pem, middle.pem, middle.key_pem, root.pem)
        assert {item.title for item in found.items} == {"a.example.com", "Bundle Intermediate"}

    def test_of_two_certificates_of_one_key_the_later_is_meant(self) -> None:
        root, *_ = bundles.chain()
        key = ec.generate_private_key(ec.SECP256R1())
        old, new = (pki.leaf(root, ["a.example"], days=days, key=key) for days in (10, 90))
        first, second = read(old.pem, new.pem, new.key_pem).items
        assert (first.wanted, second.wanted) == (False, True)
        assert "superseded" in codes(first)
        assert first.key is not None

    def test_the_same_certificate_twice_is_one(self) -> None:
        _, _, leaf = bundles.chain()
        only(read(leaf.pem, leaf.pem + leaf.key_pem, leaf.certificate.public_bytes(Encoding.DER)))


class TestRemarks:
    def test_expired_and_not_yet_valid(self) -> None:
        root, *_ = bundles.chain()
        past = pki.leaf(root, ["a.example"], days=1, start=NOW - timedelta(days=9))
        future = pki.leaf(root, ["a.example"], start=NOW + timedelta(days=9))
        assert codes(only(read(past.pem, root.pem))) == {"expired"}
        assert codes(only(read(future.pem, root.pem))) == {"not-yet-valid"}

    def test_a_key_too_weak_is_refused_with_its_certificate_named(self) -> None:
        weak = rsa.generate_private_key(65537, 1024)
        item = only(read(pki.leaf(None, ["a.example"], key=weak).pem))
        assert "1024 bits" in item.refused

    def test_more_names_than_anybody_uses(self) -> None:
        item = only(read(bundles.with_names(NAME_LIMIT + 1).pem, bundles.chain()[0].pem))
        assert f"{NAME_LIMIT + 1} names" in item.refused

    def test_where_the_issuer_is_said_to_be(self) -> None:
        assert issuer_urls(bundles.chain()[2].certificate) == []


# What people hand over instead, or broken: the data, and words of the sentence.
_DSA = dsa.generate_private_key(1024)
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "Nothing was given"),
    "blank": (b" \n\t", "Nothing was given"),
    "zip": (b"PK\x03\x04" + b"x" * 100, "ZIP archive"),
    "gzip": (b"\x1f\x8b" + b"x" * 100, "compressed"),
    "tar": (b"a.pem".ljust(257, b"\0") + b"ustar\0" + b"-----BEGIN CERTIFICATE-----", "tar archive"),
    "pdf": (b"%PDF-1.7", "PDF"),
    "web page": (b"<!DOCTYPE html><html>", "web page"),
    "json": (b'{"chain": ""}', "JSON"),
    "putty": (b"PuTTY-User-Key-File-3: ssh-rsa", "PuTTY"),
    "ssh public": (b"ssh-ed25519 AAAA", "SSH"),
    "openssh": (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----", "ssh-keygen"),
    "jceks": (b"\xce\xce\xce\xce" + b"\0" * 60, "JCEKS"),
    "jks cut": (b"\xfe\xed\xfe\xed\0\0\0\2", ""),
    "noise": (random.Random(1).randbytes(5000), "no form of certificate"),
    "words": ("Grüße".encode("latin-1"), "no form of certificate"),
    "begin only": (b"-----BEGIN CERTIFICATE-----\nMIIB", "cut off"),
    "end only": (b"MIIB\n-----END CERTIFICATE-----", "cut off at its beginning"),
    "end of another": (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END PRIVATE KEY-----", "cut off"),
    "letters": (b"-----BEGIN CERTIFICATE-----\nM\xfcIB!\n-----END CERTIFICATE-----", "do not belong"),
    "not base64": (b"-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----", "damaged"),
    "not a certificate": (b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", "cannot be read"),
    "many begins": (b"-----BEGIN CERTIFICATE-----\n" * 20_000, "cut off"),
    "cut der": (bundles.chain()[2].certificate.public_bytes(Encoding.DER)[:200], "cut off"),
    "public key": (
        bundles.chain()[2].key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "public key",
    ),
    "a key of another kind": (_DSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "cannot be used"),
    "p12 mac bomb": (bundles.p12_rounds(2**31 - 1, part="mac"), "rounds"),
    "p12 content bomb": (bundles.p12_rounds(2**31 - 1, part="content"), "rounds"),
    "p12 no rounds": (bundles.p12_rounds(0, part="mac"), "rounds"),
    "p12 negative rounds": (bundles.p12_rounds(-5, part="mac"), "rounds"),
    "pbmac1 without a length": (bundles.p12_pbmac1(length=None), "damaged"),
    "p12 nested": (bundles.p12_nested(8), "deep"),
    "p12 nested a thousand times": (bundles.p12_nested(1000), ""),
    "p12 of many": (bundles.p12_many(40_000), "entries"),
    "p12 cut": (bundles.p12()[:-40], "cut off"),
    "too large": (b"\x30" * (SIZE_LIMIT + 1), "larger than 1 MiB"),
    "zeros": (bytes(SIZE_LIMIT), "no form"),
    "dashes": (b"-" * SIZE_LIMIT, "no form"),
    "base64 without end": (b"A" * SIZE_LIMIT, "no form"),
    "deep der": (b"\x30\x80" * 100_000, ""),
    "entangled": ("".join(one.public_bytes(Encoding.PEM).decode() for one in bundles.namesakes(45)).encode(), ""),
    "ten thousand names": (b"", "Nothing was given"),
}


@frowns
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_a_sentence_in_good_time(name: str) -> None:
    data, words = REFUSED[name]
    refused = refusal(data)
    assert words in str(refused)
    assert refused is not None or not words


def test_ten_thousand_names_are_a_sentence_in_good_time() -> None:
    data = bundles.with_names(10_000).pem.encode()
    assert refusal(data) is None
    assert "10000 names" in only(read(data)).refused


def test_a_whole_trust_store_is_read_in_good_time() -> None:
    roots = [pki.authority(f"Root {number}").pem for number in range(150)]
    started = time.monotonic()
    assert len(read("".join(roots), bundles.chain()[2].pem).items) == 151
    assert time.monotonic() - started < SECONDS


def test_a_damaged_p12_is_told_from_a_wrong_password() -> None:
    data = bytearray(bundles.p12())
    data[len(data) // 2] ^= 1
    with pytest.raises(BundleRefused, match="changed on its way"):
        read(bytes(data))


def test_an_encrypted_key_that_asks_for_too_much_is_refused_before_the_work() -> None:
    _, _, leaf = bundles.chain()
    sealed = next(one.data for one in bundles.samples() if one.name == "key-sealed-der")
    info = EncryptedPrivateKeyInfo.load(sealed)
    info["encryption_algorithm"]["parameters"]["key_derivation_func"]["parameters"]["iteration_count"] = 2**31 - 1
    sealed = info.dump(force=True)
    with pytest.raises(BundleRefused, match="rounds"):
        read(sealed)
    pem = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + b64encode(sealed) + b"\n-----END ENCRYPTED PRIVATE KEY-----"
    with pytest.raises(BundleRefused, match="rounds"):
        read(leaf.pem, pem)


def test_all_files_of_an_upload_share_the_rounds() -> None:
    effort = Effort(left=9000)
    for _ in range(2):  # 2,048 for the MAC, 1,000 for the certificates and for the key
        pkcs12_read(bundles.p12(), [PASSWORD], effort)
    assert effort.left == 904
    with pytest.raises(StoreRefused, match="rounds"):
        pkcs12_read(bundles.p12(), [PASSWORD], effort)


def test_a_long_result_of_a_derivation_is_paid_by_its_length() -> None:
    """Each digest's worth of it takes all the rounds again."""
    effort = Effort(left=10_000)
    stretching = Stretching(b"salt", 3000, "sha1")
    pkcs12_derive("x", stretching, 20, 1, effort)
    assert effort.left == 7000
    pkcs12_derive("x", stretching, 24, 2, effort)
    assert effort.left == 1000


def test_more_files_or_more_of_them_than_allowed() -> None:
    _, _, leaf = bundles.chain()
    with pytest.raises(InputError, match=f"at most {FILE_LIMIT}"):
        read(*[leaf.pem] * (FILE_LIMIT + 1))
    with pytest.raises(InputError, match="4 MiB"):
        read(*[b"x" * (TOTAL_LIMIT // 4 - 10)] * 5)


def test_the_name_of_a_file_is_shown_without_what_is_not_printable() -> None:
    with pytest.raises(BundleRefused) as refused:
        bundle_read([GivenFile("../a\n\x1b[31m.pem", b"words")], now=NOW)
    assert "“../a[31m.pem”" in str(refused.value)


def test_text_in_every_coding() -> None:
    for coding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        assert text_of("-----BEGIN".encode(coding)) == b"-----BEGIN"


@pytest.mark.parametrize("sample", bundles.samples(), ids=lambda sample: sample.name)
def test_every_cut_of_a_file_is_a_sentence(sample: Sample) -> None:
    size = len(sample.data)
    for length in range(0, size, max(size // 12, 1)):
        refusal(sample.data[:length])


@frowns
@pytest.mark.parametrize("seed", range(6))
def test_broken_files_are_a_sentence_or_read(seed: int) -> None:
    _rounds(random.Random(seed), 200)


@frowns
@pytest.mark.proof
@pytest.mark.parametrize("seed", range(40))
def test_many_broken_files_are_a_sentence_or_read(seed: int) -> None:
    _rounds(random.Random(1000 + seed), 2500)


@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_bytes_at_all(data: bytes) -> None:
    refusal(data)
    refusal(b"\x30" + data)
    der.kind_of(b"\x30" + data)


def _rounds(chance: random.Random, count: int) -> None:
    for _ in range(count):
        data = bundles.broken(chance.choice(bundles.samples()).data, chance)
        others = [bundles.chain()[2].key_pem.encode()] if chance.random() < 0.2 else []
        refusal(data, *others)
