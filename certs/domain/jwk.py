"""Public keys as JSON Web Keys (RFC 7517), for programs that check signatures made with them.

Members by RFC 7518 §6 (EC, RSA) and RFC 8037 §2 (Ed25519); `kid` is the thumbprint of RFC 7638, so it is the same in
every version with the same key.
"""

import hashlib
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certs.domain.errors import KeyRefused

MEDIA_TYPE = "application/jwk-set+json"  # RFC 7517 §8.5.2
# Curve of the library -> (crv, alg) of RFC 7518 §3.4 and §6.2.1.1.
_CURVES = {"secp256r1": ("P-256", "ES256"), "secp384r1": ("P-384", "ES384"), "secp521r1": ("P-521", "ES512")}
# What RFC 7638 §3.2 and RFC 8037 §2 take the thumbprint of.
_THUMBED = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}


def jwk_of(public_key: PublicKeyTypes, chain: Sequence[x509.Certificate] = ()) -> dict[str, Any]:
    """The JWK of a public key, with `x5c` and `x5t#S256` where it has certificates (the leaf first).

    Raises KeyRefused for a kind that JWS has no algorithm for.
    """
    members, algorithm = _members(public_key)
    jwk: dict[str, Any] = {**members, "kid": thumbprint(members), "use": "sig", "alg": algorithm}
    if chain:
        jwk["x5c"] = [b64encode(each.public_bytes(Encoding.DER)).decode("ascii") for each in chain]
        jwk["x5t#S256"] = _base64url(chain[0].fingerprint(hashes.SHA256()))
    return jwk


def thumbprint(members: dict[str, Any]) -> str:
    """RFC 7638: SHA-256 over the required members alone, sorted, without spaces; base64url."""
    required = {name: members[name] for name in _THUMBED[members["kty"]]}
    return _base64url(hashlib.sha256(json.dumps(required, sort_keys=True, separators=(",", ":")).encode()).digest())


def jwks_text(keys: Sequence[dict[str, Any]]) -> bytes:
    """The same keys make the same bytes, in whichever order they came; of two with one `kid` the first counts."""
    by_kid = {key["kid"]: key for key in reversed(keys)}
    return json.dumps({"keys": [by_kid[kid] for kid in sorted(by_kid)]}, sort_keys=True, indent=1).encode("ascii")


def _members(public_key: PublicKeyTypes) -> tuple[dict[str, str], str]:
    if isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.name in _CURVES:
        curve, algorithm = _CURVES[public_key.curve.name]
        length = (public_key.curve.key_size + 7) // 8  # leading zeros stay (RFC 7518 §6.2.1.2)
        numbers = public_key.public_numbers()
        x, y = (_base64url(number.to_bytes(length, "big")) for number in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": curve, "x": x, "y": y}, algorithm
    if isinstance(public_key, rsa.RSAPublicKey):
        modulus = public_key.public_numbers()
        return {"kty": "RSA", "n": _base64url_uint(modulus.n), "e": _base64url_uint(modulus.e)}, "RS256"
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": _base64url(_raw(public_key))}, "EdDSA"
    raise KeyRefused("A key of this kind signs nothing that JSON Web Keys know.", advice="Use RSA, EC or Ed25519.")


def _raw(public_key: ed25519.Ed25519PublicKey) -> bytes:
    return public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _base64url_uint(number: int) -> str:
    """Without leading zeros (RFC 7518 §2)."""
    return _base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
