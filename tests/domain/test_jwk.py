"""Public keys as JWK: the examples of the RFCs, and what is easily got wrong."""

import base64
import json

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.domain.errors import KeyRefused
from certs.domain.jwk import jwk_of, jwks_text
from certs.domain.keys import key_generate
from tests.harness import pki


def test_the_thumbprint_of_rfc_7638() -> None:
    """§3.1, an RSA key."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3okn"
        "jhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6q"
        "MQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awap"
        "JzKnqDKgw"
    )
    numbers = rsa.RSAPublicNumbers(65537, int.from_bytes(base64.urlsafe_b64decode(modulus + "=="), "big"))
    jwk = jwk_of(numbers.public_key())
    assert jwk["n"] == modulus
    assert jwk["e"] == "AQAB"
    assert jwk["kid"] == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_the_thumbprint_of_rfc_8037() -> None:
    """Appendix A.2 and A.3, an Ed25519 key."""
    x = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    jwk = jwk_of(ed25519.Ed25519PublicKey.from_public_bytes(x))
    assert jwk["kid"] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert (jwk["kty"], jwk["crv"], jwk["alg"], jwk["use"]) == ("OKP", "Ed25519", "EdDSA", "sig")


@given(st.sampled_from([ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]), st.integers(min_value=1, max_value=2**200))
@settings(max_examples=60, deadline=None)
def test_coordinates_keep_their_leading_zeros(curve: ec.EllipticCurve, secret: int) -> None:
    public = ec.derive_private_key(secret, curve).public_key()
    jwk = jwk_of(public)
    length = (curve.key_size + 7) // 8
    for name, number in (("x", public.public_numbers().x), ("y", public.public_numbers().y)):
        octets = base64.urlsafe_b64decode(jwk[name] + "==")
        assert len(octets) == length
        assert int.from_bytes(octets, "big") == number


def test_a_coordinate_that_begins_with_a_zero_was_among_them() -> None:
    short = next(
        public
        for number in range(1, 5000)
        if (public := ec.derive_private_key(number, ec.SECP256R1()).public_key()).public_numbers().x < 2**248
    )
    assert len(base64.urlsafe_b64decode(jwk_of(short)["x"] + "==")) == 32


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [("ec-p256", "ES256"), ("ec-p384", "ES384"), ("ec-p521", "ES512"), ("rsa-2048", "RS256"), ("ed25519", "EdDSA")],
)
def test_a_library_of_jwt_verifies_with_it(kind: str, algorithm: str) -> None:
    root = pki.authority()
    key = ec.generate_private_key(ec.SECP521R1()) if kind == "ec-p521" else key_generate(kind)
    leaf = pki.leaf(root, ["a.example"], key=key).certificate
    jwk = jwk_of(key.public_key(), [leaf, root.certificate])
    assert jwk["alg"] == algorithm
    token = jwt.encode({"sub": "me"}, key, algorithm=algorithm)
    assert jwt.decode(token, jwt.PyJWK(jwk).key, algorithms=[algorithm]) == {"sub": "me"}
    assert x509.load_der_x509_certificate(base64.b64decode(jwk["x5c"][0], validate=True)) == leaf
    assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(jwk)


def test_two_certificates_of_one_key_are_one_entry_and_order_does_not_count() -> None:
    root = pki.authority()
    first, other = pki.leaf(root, ["a.example"]), pki.leaf(root, ["b.example"])
    again = pki.leaf(root, ["a.example"], key=first.key)
    keys = [jwk_of(each.key.public_key(), [each.certificate]) for each in (first, other, again)]  # type: ignore[arg-type]
    told = json.loads(jwks_text(keys))["keys"]
    assert len(told) == 2
    assert keys[0] in told
    assert jwks_text([keys[0], keys[1]]) == jwks_text([keys[1], keys[0]])


def test_a_kind_without_an_algorithm_is_refused() -> None:
    with pytest.raises(KeyRefused):
        jwk_of(ed448.Ed448PrivateKey.generate().public_key())
    with pytest.raises(KeyRefused):
        jwk_of(ec.generate_private_key(ec.SECP256K1()).public_key())
