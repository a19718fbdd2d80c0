"""Requests: made with a subject and every kind of name, read back, and refused where they are not what they say."""

from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.domain.csr import NAME_LIMIT, Subject, csr_make, csr_read
from certs.domain.errors import BinderyError, InputError, KeyRefused
from certs.domain.keys import key_generate, spki_sha256
from certs.domain.rc2 import rc2_cbc_decrypt

KEY = key_generate("ec-p256")
SUBJECT = Subject("a.example", "Example, Inc. ☃", "Web", "Köln", "NRW", "de")
DER = x509.load_pem_x509_csr(csr_make(KEY, ["a.example"], SUBJECT).encode()).public_bytes(Encoding.DER)


def test_what_is_asked_for_is_read_back() -> None:
    names = ["a.example", "*.b.example", "192.0.2.7", "2001:db8::1", "me@example.com", "spiffe://example/x", "urn:x:y"]
    found = csr_read(b"\xef\xbb\xbfwords\n" + csr_make(KEY, names, SUBJECT).encode())
    assert found.names == ["a.example", "*.b.example", "192.0.2.7", "2001:db8::1"]
    assert found.other_names == ["me@example.com", "spiffe://example/x", "urn:x:y"]
    assert found.fields == Subject("a.example", "Example, Inc. ☃", "Web", "Köln", "NRW", "DE")
    assert found.key_type == "ec-p256"
    assert found.spki_sha256 == spki_sha256(KEY.public_key())
    assert csr_read(found.pem.encode()) == found


@pytest.mark.parametrize("key_type", ["ec-p384", "ed25519", "rsa-2048"])
def test_every_kind_of_key(key_type: str) -> None:
    assert csr_read(csr_make(key_generate(key_type), ["a.example"]).encode()).key_type == key_type


def test_an_empty_subject_makes_the_names_critical() -> None:
    for subject, critical in ((None, True), (SUBJECT, False)):
        request = x509.load_pem_x509_csr(csr_make(KEY, ["a.example"], subject).encode())
        assert request.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical is critical


def test_der_and_no_names_at_all() -> None:
    request = x509.load_pem_x509_csr(csr_make(KEY, [], Subject("Someone")).encode())
    found = csr_read(request.public_bytes(Encoding.DER))
    assert (found.names, found.other_names, found.subject) == ([], [], "CN=Someone")


@pytest.mark.parametrize(
    ("subject", "says"),
    [
        (Subject(country="Germany"), "country"),
        (Subject(country="1a"), "two letters"),
        (Subject("x" * 65), "common name"),
        (Subject(organization="a\x00b"), "control character"),
    ],
)
def test_a_subject_that_cannot_be(subject: Subject, says: str) -> None:
    with pytest.raises(InputError, match=says):
        csr_make(KEY, ["a.example"], subject)


def test_a_signature_of_another_key_is_refused() -> None:
    octets = bytearray(DER)
    octets[octets.rindex(b"a.example")] ^= 1
    with pytest.raises(InputError, match="not that of its own key") as refused:
        csr_read(bytes(octets))
    assert refused.value.code == "csr"


def test_a_weak_key_and_too_many_names() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(weak, hashes.SHA256())
    with pytest.raises(KeyRefused, match="1024 bits"):
        csr_read(request.public_bytes(Encoding.PEM))
    with pytest.raises(InputError, match=f"at most {NAME_LIMIT}"):
        csr_read(csr_make(KEY, [f"{number}.example" for number in range(NAME_LIMIT + 1)]).encode())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a signing request"),
        (b"hello", "not a signing request"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB", "cut off"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----", "cannot be read"),
        (b"\x30\x82", "cannot be read"),
        (b"\x30" * 300_000, "larger than"),
    ],
)
def test_what_is_no_request(data: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        csr_read(data)


@given(st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_broken_request_is_a_sentence(data: st.DataObject) -> None:
    octets = bytearray(DER)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(octets) - 1))
        octets[place] = data.draw(st.integers(0, 255))
    with suppress(BinderyError):  # that, or it is read
        csr_read(bytes(octets))


@pytest.mark.parametrize(
    ("key", "cipher", "plain"),
    [
        ("ffffffffffffffff", "278b27e42e2f0d49", "ffffffffffffffff"),
        ("3000000000000000", "30649edf9be7d2c2", "1000000000000001"),
        ("88bca90e90875a7f0f79c384627bafb2", "2269552ab0f85ca6", "0000000000000000"),
    ],
)
def test_rc2_as_rfc_2268_section_5_has_it(key: str, cipher: str, plain: str) -> None:
    assert rc2_cbc_decrypt(bytes.fromhex(key), bytes(8), bytes.fromhex(cipher)).hex() == plain
