from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from certs.domain import keys
from certs.domain.csr import csr_make
from certs.domain.errors import KeyRefused
from tests.harness import pki

EC = keys.key_generate("ec-p256")
RSA = keys.key_generate("rsa-2048")
SMALL = rsa.generate_private_key(public_exponent=65537, key_size=1024)


def pem(key: object, form: PrivateFormat = PrivateFormat.PKCS8, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, form, encryption)  # type: ignore[attr-defined] # any private key


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048", "ed25519"])
def test_a_key_comes_back_from_its_forms(key_type: str) -> None:
    key = keys.key_generate(key_type)
    assert keys.key_type_of(key) == keys.key_type_of(key.public_key()) == key_type
    for again in (keys.key_from_der(keys.key_to_der(key)), keys.key_from_pem(keys.key_to_pem(key))):
        assert keys.spki_sha256(again.public_key()) == keys.spki_sha256(key.public_key())


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("key", [EC, RSA], ids=["SEC1", "PKCS#1"])
@pytest.mark.parametrize("password", [None, b"correct horse"])
def test_pem_of_every_usual_kind_is_read(form: PrivateFormat, key: keys.Key, password: bytes | None) -> None:
    text = pem(key, form, password)
    for variant in (
        text,
        text.replace(b"\n", b"\r\n"),
        b"  " + text.replace(b"\n", b"\n  "),
        b"Bag Attributes\n" + text,
    ):
        read = keys.key_from_pem(variant, password or b"not needed")
        assert keys.spki_sha256(read.public_key()) == keys.spki_sha256(key.public_key())


def test_a_key_is_found_among_certificates_and_parameters() -> None:
    bundle = pki.leaf(None, ["a.example"]).pem.encode()
    bundle += b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + pem(EC)
    assert keys.spki_sha256(keys.key_from_pem(bundle).public_key()) == keys.spki_sha256(EC.public_key())


@pytest.mark.parametrize(
    ("data", "password", "code", "says"),
    [
        (b"", None, "key-refused", "No private key was given"),
        (b"   \n", None, "key-refused", "No private key was given"),
        (b"hello", None, "key-refused", "not a private key in PEM form"),
        (pki.leaf(None, ["a.example"]).pem.encode(), None, "key-refused", "This is a certificate"),
        (keys.key_to_der(EC), None, "key-refused", "binary form"),
        (pem(EC)[:-30], None, "key-refused", "cut off"),
        (pem(EC).replace(b"\nM", b"\n*"), None, "key-refused", "damaged"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", None, "key-refused", "damaged"),
        (pem(EC, password=b"x"), None, "password-needed", "is encrypted. Give its password"),
        (pem(EC, password=b"x"), b"", "password-needed", "is encrypted"),
        (pem(EC, password=b"x"), b"y", "password-wrong", "cannot be opened with this password"),
        (pem(RSA, PrivateFormat.TraditionalOpenSSL, b"x"), b"y", "password-wrong", "cannot be opened"),
        (pem(EC, PrivateFormat.OpenSSH), None, "key-refused", "ssh-keygen"),
        (pem(SMALL), None, "key-refused", "has 1024 bits; between 2048"),
        (pem(dsa.generate_private_key(2048)), None, "key-refused", "DSA"),
        (pem(ed448.Ed448PrivateKey.generate()), None, "key-refused", "Ed448"),
        (pem(ec.generate_private_key(ec.SECP256K1())), None, "key-refused", "secp256k1"),
        (b"x" * (keys.SIZE_LIMIT + 1), None, "key-refused", "too large"),
        (
            b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 70000 + b"\n-----END PRIVATE KEY-----",
            None,
            "key-refused",
            "too large",
        ),
    ],
)
def test_what_is_no_usable_key_is_refused_with_advice(
    data: bytes, password: bytes | None, code: str, says: str
) -> None:
    with pytest.raises(KeyRefused) as refusal:
        keys.key_from_pem(data, password)
    assert refusal.value.code == code
    assert says in str(refusal.value)
    assert refusal.value.advice


@given(st.binary(max_size=200), st.integers(0, 240), st.none() | st.binary(max_size=5))
def test_no_text_brings_anything_but_a_key_or_a_refusal(noise: bytes, place: int, password: bytes | None) -> None:
    whole = pem(EC)
    for data in (noise, whole[:place] + noise + whole[place:], whole[:place] + noise):
        with suppress(KeyRefused):
            keys.key_from_pem(data, password)


def test_many_begin_lines_cost_no_time() -> None:
    with pytest.raises(KeyRefused, match="cut off"):
        keys.key_from_pem(b"-----BEGIN PRIVATE KEY-----\n" * 30000)


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(KeyRefused, match=r"“rsa-1024” is no key type\. Use one of ec-p256"):
        keys.key_generate("rsa-1024")


def test_a_damaged_stored_key_is_refused() -> None:
    with pytest.raises(KeyRefused):
        keys.key_from_der(b"\x30\x00")


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048", "ed25519"])
def test_a_request_has_its_names_in_the_san_and_no_subject(key_type: str) -> None:
    text = csr_make(keys.key_generate(key_type), ["a.example", "*.b.example", "192.0.2.7"])
    request = x509.load_pem_x509_csr(text.encode())
    assert request.is_signature_valid
    assert not list(request.subject)
    extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert extension.critical
    assert extension.value.get_values_for_type(x509.DNSName) == ["a.example", "*.b.example"]
    assert [str(one) for one in extension.value.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]
