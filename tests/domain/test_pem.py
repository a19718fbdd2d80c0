"""Certificates as people hand them over, and a corpus of broken ones."""

from base64 import b64encode
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import permutations
from random import Random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.domain.certinfo import certificate_info, covers
from certs.domain.csr import csr_make
from certs.domain.errors import CertificateRefused
from certs.domain.keys import key_generate
from certs.domain.pem import (
    COUNT_LIMIT,
    SIZE_LIMIT,
    certificate_pem,
    certificates_read,
    chain_order,
    chain_prefer,
    pair_check,
)
from tests.harness import pki

ROOT = pki.authority("Root")
MIDDLE = pki.authority("Middle", ROOT)
LOWER = pki.authority("Lower", MIDDLE)
LEAF = pki.leaf(LOWER, ["a.example", "*.b.example", "192.0.2.7"])
OTHER = pki.leaf(pki.authority("Stranger"), ["other.example"])
ALONE = pki.leaf(None, ["alone.example"])


def read(*pairs: pki.Pair) -> list[x509.Certificate]:
    return certificates_read("".join(pair.pem for pair in pairs).encode())


@pytest.mark.parametrize("order", list(permutations((ROOT, MIDDLE, LOWER, LEAF))))
@pytest.mark.parametrize("with_key", [True, False])
def test_any_order_becomes_the_order_of_tls(order: tuple[pki.Pair, ...], with_key: bool) -> None:
    chain = chain_order(read(*order), LEAF.certificate.public_key() if with_key else None)
    assert chain.leaf == LEAF.certificate
    assert chain.intermediates == (LOWER.certificate, MIDDLE.certificate)
    assert chain.root == ROOT.certificate
    assert chain.leaf_pem + chain.chain_pem == LEAF.pem + LOWER.pem + MIDDLE.pem


def test_text_around_crlf_indentation_and_duplicates_do_no_harm() -> None:
    text = f"subject=CN = x\r\n{LEAF.pem}\nBag Attributes\n{LOWER.pem}{LEAF.pem}{LEAF.key_pem}".replace("\n", "\r\n  ")
    assert certificates_read(text.encode()) == [LEAF.certificate, LOWER.certificate]


def test_a_chain_without_its_root_or_with_a_gap_ends_where_it_ends() -> None:
    assert chain_order(read(LOWER, LEAF)).root is None
    key = LEAF.certificate.public_key()
    assert chain_order(read(ROOT, LEAF), key).intermediates == ()


def test_a_self_signed_certificate_is_its_own_leaf() -> None:
    chain = chain_order(read(ALONE), ALONE.key.public_key())
    assert (chain.leaf, chain.intermediates, chain.root) == (ALONE.certificate, (), None)
    assert certificate_info(chain.leaf).self_signed


def test_the_key_finds_its_leaf_among_strangers_and_predecessors() -> None:
    older = pki.leaf(LOWER, ["a.example"], key=LEAF.key, days=1)
    chain = chain_order(read(OTHER, older, ROOT, LEAF, LOWER), LEAF.key.public_key())
    assert chain.leaf == LEAF.certificate
    assert OTHER.certificate not in chain.intermediates


def test_of_two_ways_the_longer_is_taken() -> None:
    """The authority stands in the file twice: signed by itself, and cross-signed by an older root."""
    elder = pki.authority("Elder")
    crossed = (
        x509.CertificateBuilder()
        .subject_name(ROOT.certificate.subject)
        .issuer_name(elder.certificate.subject)
        .public_key(ROOT.key.public_key())
        .serial_number(7)
        .not_valid_before(ROOT.certificate.not_valid_before_utc)
        .not_valid_after(ROOT.certificate.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(elder.key, hashes.SHA256())
    )
    pems = [pair.pem for pair in (ROOT, elder, LOWER, LEAF, MIDDLE)] + [certificate_pem(crossed)]
    for seed in range(10):
        Random(seed).shuffle(pems)
        chain = chain_order(certificates_read("".join(pems).encode()))
        assert chain.intermediates == (LOWER.certificate, MIDDLE.certificate, crossed)
        assert chain.root == elder.certificate


def test_an_issuer_in_name_only_is_none() -> None:
    impostor = pki.authority("Lower", pki.authority("Elsewhere"))
    assert chain_order(read(impostor, LEAF), LEAF.key.public_key()).intermediates == ()


def test_two_leaves_without_a_key_are_refused() -> None:
    with pytest.raises(CertificateRefused, match="do not belong to one chain"):
        chain_order(read(LEAF, OTHER))


def test_a_foreign_key_is_refused() -> None:
    with pytest.raises(CertificateRefused, match="The key does not belong to this certificate"):
        chain_order(read(LEAF), OTHER.key.public_key())
    with pytest.raises(CertificateRefused, match="any of these 2 certificates"):
        chain_order(read(LEAF, LOWER), OTHER.key.public_key())
    with pytest.raises(CertificateRefused, match="The key does not belong to this certificate"):
        pair_check(LEAF.certificate, key_generate("ec-p256"))
    pair_check(LEAF.certificate, LEAF.key)  # type: ignore[arg-type] # an EC key
    with pytest.raises(CertificateRefused, match="No certificate"):
        chain_order([])


BODY = LEAF.pem.splitlines()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "No certificate was given"),
        (b" \r\n", "No certificate was given"),
        (b"hello", "not a certificate in PEM form"),
        (b"\xff\xfe\x00", "not a certificate in PEM form"),
        (LEAF.key_pem.encode(), "This is a private key"),
        (csr_make(key_generate("ec-p256"), ["a.example"]).encode(), "signing request"),
        (b"-----BEGIN PKCS7-----\nMA==\n-----END PKCS7-----", "PKCS#7"),
        (b"-----BEGIN TRUSTED CERTIFICATE-----\nMA==\n-----END TRUSTED CERTIFICATE-----", "OpenSSL's own form"),
        (LEAF.certificate.public_bytes(Encoding.DER), "binary form"),
        (LEAF.pem[:-40].encode(), "cut off"),
        (("\n".join(BODY[:3]) + "\n" + LOWER.pem).encode(), "cut off"),
        (("\n".join([BODY[0], *BODY[2:]])).encode(), "Certificate 1 of the text cannot be read"),
        ((LEAF.pem + "\n".join([BODY[0], "!!!!", BODY[-1]])).encode(), "Certificate 2 of the text cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "Certificate 1 of the text cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\n" * 30000, "cut off"),
        (b"x" * (SIZE_LIMIT + 1), "larger than 1 MiB"),
        (LEAF.pem.encode() * (COUNT_LIMIT + 1), "holds 51 certificates"),
    ],
)
def test_the_corpus_of_broken_texts_is_refused_with_advice(data: bytes, says: str) -> None:
    with pytest.raises(CertificateRefused) as refusal:
        certificates_read(data)
    assert says in str(refusal.value)
    assert refusal.value.advice


DER = LEAF.certificate.public_bytes(Encoding.DER)


@pytest.mark.filterwarnings("ignore:Parsed a")  # the library frowns, then we refuse
@given(st.integers(0, len(DER) - 1), st.integers(1, 255))
@settings(max_examples=400, deadline=None)
def test_a_flipped_byte_brings_a_certificate_or_a_refusal(place: int, flip: int) -> None:
    damaged = DER[:place] + bytes([DER[place] ^ flip]) + DER[place + 1 :]
    text = b"-----BEGIN CERTIFICATE-----\n" + b64encode(damaged) + b"\n-----END CERTIFICATE-----\n"
    with suppress(CertificateRefused):
        chain_order(certificates_read(text))


def test_what_a_certificate_says() -> None:
    info = certificate_info(LEAF.certificate)
    assert info.names == ["a.example", "*.b.example", "192.0.2.7"]
    assert (info.self_signed, info.is_ca) == (False, False)
    assert info.fingerprint_sha256 == LEAF.fingerprint
    assert int(info.serial, 16) == LEAF.certificate.serial_number
    assert info.not_after.tzinfo is not None
    assert certificate_info(ROOT.certificate).is_ca
    assert certificate_info(ROOT.certificate).names == []
    assert certificate_info(ALONE.certificate).ari_id == ""
    assert [covers(info, host) for host in ("a.example", "x.b.example", "192.0.2.7", "b.example")] == [
        True,
        True,
        True,
        False,
    ]


def test_the_renewal_id_is_the_one_of_the_standard() -> None:
    """RFC 9773 §4.1: its serial has the high bit set, so its octets begin with a zero."""
    key_id = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ROOT.certificate.subject)
        .public_key(ROOT.key.public_key())
        .serial_number(0x87654321)
        .not_valid_before(ROOT.certificate.not_valid_before_utc)
        .not_valid_after(ROOT.certificate.not_valid_after_utc)
        .add_extension(x509.AuthorityKeyIdentifier(key_id, None, None), critical=False)
        .sign(ROOT.key, hashes.SHA256())
    )
    assert certificate_info(certificate).ari_id == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


@pytest.mark.parametrize("name", ["x" * 300 + ".example", "a\x00b.example"])
def test_names_that_no_database_column_holds_are_refused(name: str) -> None:
    key, subject = key_generate("ec-p256"), x509.Name([])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, start, start + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .sign(key, hashes.SHA256())
    )
    with pytest.raises(CertificateRefused, match="Certificate 1 of the text cannot be read"):
        certificates_read(certificate_pem(made).encode())


def test_the_preferred_chain_is_that_of_its_topmost_issuer() -> None:
    other_root = pki.authority("Other Root")
    # The same middle, signed by another root: a cross-sign.
    crossed = pki.cross_sign(MIDDLE, other_root)
    usual = chain_order(read(LEAF, LOWER, MIDDLE))
    other = chain_order(certificates_read(f"{LEAF.pem}{LOWER.pem}{certificate_pem(crossed)}".encode()))
    whole = chain_order(read(LEAF, LOWER, MIDDLE, ROOT))
    for name, chosen in (
        ("", usual),
        ("Other Root", other),
        ("  other root ", other),
        ("Root", usual),
        ("Middle", usual),  # not the topmost
        ("Nobody", usual),
    ):
        assert chain_prefer([usual, other], name) == chosen
    assert chain_prefer([other, whole], "Root") == whole
